using Introspect.Hypervisor.Abi;

namespace Introspect.Hypervisor;

/// <summary>
/// A domain's monitor ring, enabled. One thread uses it. <see cref="IDisposable.Dispose"/> is the promise of the
/// product: whatever happened before, afterwards no event is enabled, no request is unanswered and no vCPU is
/// paused by us.
/// </summary>
public interface IMonitor : IDisposable
{
    /// <summary>What can be monitored on this domain, as the hypervisor tells it.</summary>
    MonitorCapabilities Capabilities { get; }

    /// <summary>Requests in the ring that were not taken yet.</summary>
    int UnconsumedRequests { get; }

    /// <summary>Slots in the ring.</summary>
    int RingSize { get; }

    /// <summary>
    /// Takes the next request, copied once out of the shared page. The copy is checked: a request with an
    /// unknown version is consumed, counted in <see cref="MalformedRequests"/> and skipped.
    /// </summary>
    /// <returns>False when the ring is empty.</returns>
    bool TryTake(out VmEvent request);

    /// <summary>Puts the response of a request taken before into the ring. <see cref="Notify"/> makes it seen.</summary>
    void Respond(in VmEvent response);

    /// <summary>Signals the event channel: the hypervisor looks at the responses.</summary>
    void Notify();

    /// <summary>Waits for the hypervisor's signal. Returns at once when requests are in the ring.</summary>
    /// <returns>False when the time passed or the token was cancelled.</returns>
    bool Wait(TimeSpan timeout, CancellationToken cancellationToken);

    /// <summary>Requests that could not be understood and were skipped.</summary>
    long MalformedRequests { get; }

    /// <summary>Enables an event.</summary>
    /// <exception cref="HypervisorException">EEXIST: already so; EINVAL, EOPNOTSUPP, ENXIO, ENODEV as Xen gives them.</exception>
    void Enable(MonitorEvent monitorEvent);

    /// <summary>Disables an event; the value says which one, its options do not matter.</summary>
    /// <exception cref="HypervisorException">EINVAL or EEXIST as Xen gives them: it is not enabled.</exception>
    void Disable(MonitorEvent monitorEvent);

    /// <summary>Sets the rights of guest pages in the host p2m.</summary>
    /// <exception cref="HypervisorException">EINVAL: no such access; ESRCH: no such page; ENODEV: no ring.</exception>
    void SetMemoryAccess(Gfn first, uint count, MemoryAccess access);

    /// <summary>Sets the rights of many pages at once, each to its own (<c>xc_set_mem_access_multi</c>).</summary>
    /// <exception cref="HypervisorException">EINVAL: no such access, and the pages after it are as they were; ENODEV: no ring.</exception>
    void SetMemoryAccess(ReadOnlySpan<Gfn> gfns, ReadOnlySpan<MemoryAccess> access)
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(access.Length, gfns.Length, nameof(access));
        for (var i = 0; i < gfns.Length; i++)
        {
            SetMemoryAccess(gfns[i], 1, access[i]);
        }
    }

    /// <summary>Reads the rights of a guest page.</summary>
    MemoryAccess GetMemoryAccess(Gfn gfn);

    /// <summary>Sets the rights that pages populated from now on get (pfn ~0 in Xen).</summary>
    void SetDefaultAccess(MemoryAccess access);

    /// <summary>The domain's altp2m views. What is done with them by this monitor is undone when it is disposed of.</summary>
    IAltp2m Views { get; }

    /// <summary>
    /// Says whether a violation that no monitor listens to crashes the domain instead of lifting the rights
    /// (<c>XEN_DOMCTL_set_access_required</c>). Disposing takes it back.
    /// </summary>
    void SetAccessRequired(bool required) =>
        throw new HypervisorException(Errno.EOPNOTSUPP, "whether a listener is required cannot be set here");

    /// <summary>Asks for DENY to be honoured on control-register and MSR writes (XEN_DOMCTL_MONITOR_OP_CONTROL_REGISTERS).</summary>
    void ControlRegisters();

    /// <summary>Makes REP instructions be emulated one iteration at a time.</summary>
    void EmulateEachRep(bool enable);
}

/// <summary>Reads and writes a guest's memory. Nothing of the guest's memory itself leaves the implementation.</summary>
public interface IGuestMemory
{
    /// <summary>Reads guest-physical memory.</summary>
    /// <exception cref="HypervisorException">EFAULT: a page in the range is not there.</exception>
    void ReadPhysical(GuestPhysical address, Span<byte> destination);

    /// <summary>
    /// Reads guest-physical memory that may not be there, for those whom a guest could lead to any address and who should
    /// not pay for an exception each time.
    /// </summary>
    /// <returns>False when a page in the range is not there; what is in the destination then means nothing.</returns>
    bool TryReadPhysical(GuestPhysical address, Span<byte> destination)
    {
        try
        {
            ReadPhysical(address, destination);
            return true;
        }
        catch (HypervisorException e) when (e.Error == Errno.EFAULT)
        {
            return false;
        }
    }

    /// <summary>Writes guest-physical memory.</summary>
    /// <exception cref="HypervisorException">EFAULT: a page in the range is not there.</exception>
    void WritePhysical(GuestPhysical address, ReadOnlySpan<byte> source);

    /// <summary>Translates a guest-virtual address by walking the guest's page tables.</summary>
    /// <param name="space">The address space.</param>
    /// <param name="address">Linear address.</param>
    /// <param name="physical">Guest-physical address, when mapped.</param>
    /// <returns>False when it is not mapped.</returns>
    bool TryTranslate(in AddressSpace space, GuestVirtual address, out GuestPhysical physical);

    /// <summary>Reads guest-virtual memory.</summary>
    /// <exception cref="HypervisorException">EFAULT: a page in the range is not mapped.</exception>
    void ReadVirtual(in AddressSpace space, GuestVirtual address, Span<byte> destination);

    /// <summary>Writes guest-virtual memory, whatever the page tables' write bits say.</summary>
    /// <exception cref="HypervisorException">EFAULT: a page in the range is not mapped.</exception>
    void WriteVirtual(in AddressSpace space, GuestVirtual address, ReadOnlySpan<byte> source);
}

/// <summary>How a guest walks its page tables.</summary>
public enum PagingMode
{
    /// <summary>CR0.PG is clear: linear addresses are physical.</summary>
    None,

    /// <summary>32-bit, two levels, 4 KiB pages and with CR4.PSE 4 MiB ones.</summary>
    Legacy32,

    /// <summary>PAE, three levels.</summary>
    Pae,

    /// <summary>Long mode, four levels.</summary>
    FourLevel,

    /// <summary>Long mode with CR4.LA57, five levels.</summary>
    FiveLevel,
}

/// <summary>An address space of a guest: what a page-table walk starts from.</summary>
/// <param name="Mode">How the tables are walked.</param>
/// <param name="Root">CR3 (the PCID and flag bits are ignored).</param>
/// <param name="PageSizeExtension">CR4.PSE, which matters to <see cref="PagingMode.Legacy32"/>.</param>
public readonly record struct AddressSpace(PagingMode Mode, ulong Root, bool PageSizeExtension = true)
{
    /// <summary>The bits of <see cref="Root"/> that say where the tables are: the others are PCID and flags.</summary>
    public ulong RootMask => Mode switch
    {
        PagingMode.Pae => 0xffff_ffe0,
        PagingMode.Legacy32 => 0xffff_f000,
        _ => 0x000f_ffff_ffff_f000,
    };

    /// <summary>The address space that control registers describe.</summary>
    public static AddressSpace FromControlRegisters(ulong cr0, ulong cr3, ulong cr4, ulong efer)
    {
        var mode = (cr0 & (1UL << 31)) == 0 ? PagingMode.None
            : (efer & (1UL << 10)) != 0 ? ((cr4 & (1UL << 12)) != 0 ? PagingMode.FiveLevel : PagingMode.FourLevel)
            : (cr4 & (1UL << 5)) != 0 ? PagingMode.Pae : PagingMode.Legacy32;
        return new(mode, cr3, (cr4 & (1UL << 4)) != 0);
    }
}
