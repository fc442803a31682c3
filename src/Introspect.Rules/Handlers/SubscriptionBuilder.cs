using System.Globalization;
using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;

namespace Introspect.Rules.Handlers;

/// <summary>
/// Collects the events that a handler wants. The pump merges the wishes of all handlers and asks the hypervisor for
/// no more than their union; each handler sees what it asked for itself.
/// </summary>
/// <remarks>
/// An event marked <c>optional</c> is left out, with a diagnostic, where the hypervisor cannot send it; any other
/// keeps the pump from starting. Sync events stop the vCPU until they are answered; an event is sync when any handler
/// wants it so. Mistakes that can be known here (<c>mayDeny</c> on what cannot be denied) are an <see cref="ArgumentException"/>.
/// </remarks>
public sealed class SubscriptionBuilder
{
    private readonly string _handler;
    private readonly HandlerSubscription _subscription = new();

    internal SubscriptionBuilder(string handler) => _handler = handler;

    /// <summary>Writes of a control register that change a watched bit.</summary>
    /// <param name="register">The register.</param>
    /// <param name="watchMask">Bits whose change matters.</param>
    /// <param name="sync">The vCPU waits.</param>
    /// <param name="mayDeny">The handler may deny the write: makes the hypervisor hold it back. Sync only; XCR0 cannot be denied, nor on VMX the CLTS among the writes of CR0, which the pump tells when it starts.</param>
    /// <param name="optional">Leave it out where it is unsupported.</param>
    /// <param name="onChangeOnly">Not the writes of the value that is there, which most hypervisors do not tell of anyway.</param>
    public SubscriptionBuilder ControlRegister(ControlRegisterIndex register, ulong watchMask = ~0UL, bool sync = true, bool mayDeny = false, bool optional = false, bool onChangeOnly = false)
    {
        if ((uint)register > (uint)ControlRegisterIndex.Xcr0)
        {
            throw Refuse($"there is no control register with index {(uint)register}; use CR0, CR3, CR4 or XCR0");
        }

        if (watchMask == 0)
        {
            throw Refuse($"watching no bit of {register} would never give an event; name the bits in the watch mask");
        }

        if (mayDeny && !sync)
        {
            throw Refuse($"an async write of {register} has happened when it is told; ask for sync to deny it");
        }

        if (mayDeny && register == ControlRegisterIndex.Xcr0)
        {
            throw Refuse("the hypervisor cannot deny writes of XCR0; watch them without mayDeny");
        }

        _subscription.ControlRegisters.Add(new(register, watchMask, sync, mayDeny, optional, onChangeOnly));
        return this;
    }

    /// <summary>Writes of a model specific register; always sync.</summary>
    /// <param name="number">The MSR: 0–0x1fff, 0x40000000–0x40001fff or 0xc0000000–0xc0001fff.</param>
    /// <param name="onChangeOnly">Only writes that change the value.</param>
    /// <param name="mayDeny">The handler may deny the write.</param>
    /// <param name="optional">Leave it out where it is unsupported.</param>
    public SubscriptionBuilder Msr(uint number, bool onChangeOnly = false, bool mayDeny = false, bool optional = false)
    {
        if ((number & ~0xc0001fffu) != 0 || number >> 30 == 2)
        {
            throw Refuse($"MSR 0x{number.ToString("x", CultureInfo.InvariantCulture)} has no bit in the hypervisor's map; it holds 0-0x1fff, 0x40000000-0x40001fff and 0xc0000000-0xc0001fff");
        }

        _subscription.Msrs.Add(new(number, onChangeOnly, mayDeny, optional));
        return this;
    }

    /// <summary>CPUID instructions; always sync. Their results are in the event's registers.</summary>
    public SubscriptionBuilder Cpuid(bool optional = false) => Simple(VmEventReason.Cpuid, true, optional);

    /// <summary>int3; always sync. Without a verdict the guest gets it as its own.</summary>
    public SubscriptionBuilder SoftwareBreakpoint(bool optional = false) => Simple(VmEventReason.SoftwareBreakpoint, true, optional);

    /// <summary>
    /// A breakpoint of the monitor's own: an int3 over the first byte of an instruction, which the pump puts there, steps
    /// over, and takes out at the end. Without <see cref="SoftwareBreakpoint"/> the handler sees only these.
    /// </summary>
    /// <param name="address">Where the instruction begins. It is a breakpoint in every address space that maps the page.</param>
    /// <remarks>
    /// A verdict that sets RIP, injects or switches the view says what happens instead of the instruction; denying has no
    /// meaning. Where the guest has an int3 of its own, the guest gets it. The guest can see the int3 when it reads its code.
    /// </remarks>
    public SubscriptionBuilder Breakpoint(GuestPhysical address)
    {
        _subscription.Breakpoints.Add(address.Value);
        return this;
    }

    /// <summary>
    /// Memory and breakpoints, of all handlers, are watched in an altp2m view that the pump makes: no vCPU is held while
    /// another steps, and breakpoints are in copies of the guest's pages that the guest can run and not read. Needs a
    /// hypervisor with such views (Xen on VMX).
    /// </summary>
    public SubscriptionBuilder InView()
    {
        _subscription.InView = true;
        return this;
    }

    /// <summary>The handler sees only what happens in these address spaces.</summary>
    /// <param name="roots">Values of CR3; PCID and flag bits do not matter.</param>
    public SubscriptionBuilder InAddressSpaces(params ReadOnlySpan<ulong> roots)
    {
        _subscription.AddressSpaces.AddRange(roots);
        return this;
    }

    /// <summary>
    /// The next interrupt that a vCPU takes, again and again: every answer to the vCPU arms it anew. Where no other sync
    /// event is wanted, CR3 writes are watched to arm the first.
    /// </summary>
    public SubscriptionBuilder Interrupt(bool optional = false) => Simple(VmEventReason.Interrupt, true, optional);

    /// <summary>#DB exceptions. When sync, the guest gets them after the response.</summary>
    public SubscriptionBuilder DebugException(bool sync = true, bool optional = false) => Simple(VmEventReason.DebugException, sync, optional);

    /// <summary>Requests of the guest itself (<c>HVMOP_guest_request_vm_event</c>).</summary>
    /// <param name="sync">The vCPU waits.</param>
    /// <param name="allowUserspace">CPL 3 may ask, too.</param>
    /// <param name="optional">Leave it out where it is unsupported.</param>
    public SubscriptionBuilder GuestRequest(bool sync = true, bool allowUserspace = false, bool optional = false)
    {
        _subscription.UserspaceRequests |= allowUserspace;
        return Simple(VmEventReason.GuestRequest, sync, optional);
    }

    /// <summary>
    /// The handler may switch single stepping on in its verdicts, and sees the steps of vCPUs that a handler switched
    /// it on for. Without this, <see cref="Verdict.WithSinglestepOn"/> has no effect.
    /// </summary>
    public SubscriptionBuilder Singlestep(bool optional = false) => Simple(VmEventReason.Singlestep, true, optional);

    /// <summary>Loads and stores of GDTR, IDTR, LDTR and TR; always sync.</summary>
    public SubscriptionBuilder DescriptorAccess(bool optional = false) => Simple(VmEventReason.DescriptorAccess, true, optional);

    /// <summary>Port input and output (Xen 4.18). When sync, the access happens after the response.</summary>
    public SubscriptionBuilder IoInstruction(bool sync = true, bool optional = false) => Simple(VmEventReason.IoInstruction, sync, optional);

    /// <summary>Every vmexit. Sync ones are never handled by the hypervisor: for guests that are reset afterwards.</summary>
    public SubscriptionBuilder VmExit(bool sync = false, bool optional = false) => Simple(VmEventReason.VmExit, sync, optional);

    /// <summary>Instructions that the hypervisor's emulator has no code for.</summary>
    public SubscriptionBuilder EmulUnimplemented(bool optional = false) => Simple(VmEventReason.EmulUnimplemented, true, optional);

    /// <summary>Accesses to guest pages.</summary>
    /// <param name="first">First page.</param>
    /// <param name="count">Number of pages.</param>
    /// <param name="watched">Read, write, execute, or more than one of them.</param>
    /// <param name="pageTableWalks">Accesses of the processor's own page-table walks matter, too.</param>
    public SubscriptionBuilder Memory(Gfn first, uint count, MemAccessFlags watched, bool pageTableWalks = true)
    {
        const MemAccessFlags Rights = MemAccessFlags.Read | MemAccessFlags.Write | MemAccessFlags.Execute;
        if (watched == MemAccessFlags.None || (watched & ~Rights) != 0)
        {
            throw Refuse($"an access to watch is read, write, execute or more than one of them, not {watched}");
        }

        if (count == 0 || first.Value > ulong.MaxValue - count)
        {
            throw Refuse($"{count} pages from {first} are not a range; give a count of at least 1");
        }

        _subscription.Ranges.Add(new(first.Value, count, watched, pageTableWalks));
        return this;
    }

    /// <summary>REP instructions on watched pages are emulated one iteration at a time.</summary>
    public SubscriptionBuilder EmulateEachRep()
    {
        _subscription.EmulateEachRep = true;
        return this;
    }

    /// <summary>The handler also sees events that an earlier handler decided; its verdict on them has no effect.</summary>
    public SubscriptionBuilder ObserveDecided()
    {
        _subscription.ObservesDecided = true;
        return this;
    }

    /// <summary>
    /// Events that no other handler sees become no records, unless this one decides about them or asks for it by
    /// <see cref="HandlerContext.IsRecorded"/>.
    /// </summary>
    public SubscriptionBuilder Unrecorded()
    {
        _subscription.IsUnrecorded = true;
        return this;
    }

    internal HandlerSubscription Build()
    {
        _subscription.Freeze();
        return _subscription;
    }

    private SubscriptionBuilder Simple(VmEventReason reason, bool sync, bool optional)
    {
        _subscription.Simple.Add(new(reason, sync, optional));
        return this;
    }

    private ArgumentException Refuse(string why) => new($"handler {_handler}: {why}");
}
