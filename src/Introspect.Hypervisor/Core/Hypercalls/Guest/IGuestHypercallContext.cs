using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Hypercalls.Toolstack;
using Introspect.Hypervisor.Core.Platform;
using Introspect.Hypervisor.Core.Policies;

namespace Introspect.Hypervisor.Core.Hypercalls.Guest;

/// <summary>
/// The vCPU that makes a hypercall, and its domain, as hypercalls need them. Who may ask for what is decided before
/// a member is called; results of type <c>int</c> are 0 (or more) or a negated errno.
/// </summary>
internal interface IGuestHypercallContext : IGuestMemoryOperations, IGuestVcpuOperations
{
    /// <summary>Number of the domain.</summary>
    ushort DomainId { get; }

    /// <summary>The domain's UUID in the order of <c>xen_domain_handle_t</c>, 16 bytes.</summary>
    ReadOnlySpan<byte> DomainHandle { get; }

    /// <summary>The domain's roles.</summary>
    DomainRoles Roles { get; }

    /// <summary>The domain as one that asks for something to be done to others.</summary>
    ToolstackCaller Caller { get; }

    /// <summary>
    /// The toolstack's door, for the calls of a control domain: with the rights of <see cref="Caller"/>, and without
    /// waiting (ERESTART: it is another one's turn).
    /// </summary>
    IToolstack Toolstack { get; }

    /// <summary>Vendor personality.</summary>
    CpuVendor Vendor { get; }

    /// <summary>Privilege level of the caller: 0–3; 3 in virtual-8086 mode, 0 in real mode.</summary>
    int Cpl { get; }

    /// <summary>True when a monitor allowed guest requests from user space.</summary>
    bool GuestRequestFromUserspace { get; }

    /// <summary>System time in nanoseconds.</summary>
    ulong SystemTime { get; }

    /// <summary>The domain's console.</summary>
    GuestConsole Console { get; }

    /// <summary>The domain's event channels.</summary>
    EventChannelTable Events { get; }

    /// <summary>The domain's shared page.</summary>
    SharedInfoPage Shared { get; }

    /// <summary>The domain's timers.</summary>
    DomainTimers Timers { get; }

    /// <summary>True when there is a domain of that number.</summary>
    bool DomainExists(ushort domainId);

    /// <summary>Another domain's event channels, or null when there is no such domain.</summary>
    EventChannelTable? FindEvents(ushort domainId);

    /// <summary>Reads a HVM parameter as it is stored.</summary>
    ulong ReadHvmParam(uint index);

    /// <summary>Stores a HVM parameter and does what follows from it; its value and the guest's right were checked.</summary>
    int WriteHvmParam(uint index, ulong value);

    /// <summary>The guest asks its monitor for attention (HVMOP_guest_request_vm_event).</summary>
    void RaiseGuestRequest();

    /// <summary>How a domain stands to altp2m: whether it is on, and who may use it. False: there is no such domain.</summary>
    bool TryReadAltP2m(ushort domainId, out bool active, out AltP2mMode mode);

    /// <summary>
    /// An altp2m operation of the guest on itself, whose header, mode and rights were checked; the structure may be
    /// changed. ERESTART: there is more to do, and the structure says from where on.
    /// </summary>
    Errno AltP2m(ref HvmAltP2mOp operation);

    /// <summary>As <see cref="AltP2m"/>, for <c>set_mem_access_multi</c>, whose lists are in the caller's memory.</summary>
    Errno SetViewAccess(ref HvmAltP2mOp operation);

    /// <summary>Shuts the domain down: no vCPU of it runs any more.</summary>
    void Shutdown(ShutdownReason reason);

    /// <summary>Keeps a reason for the shutdown that follows, unless one is kept already.</summary>
    void SetShutdownCode(ShutdownReason reason);
}

/// <summary>What a guest's hypercalls do with its memory.</summary>
internal interface IGuestMemoryOperations
{
    /// <summary>Copies from the caller's linear addresses; false when a page is not there.</summary>
    bool CopyFromGuest(ulong linearAddress, Span<byte> destination);

    /// <summary>Copies to the caller's linear addresses; false when a page is not there or not writable.</summary>
    bool CopyToGuest(ulong linearAddress, ReadOnlySpan<byte> source);

    /// <summary>The memory map that the toolstack gave the domain; empty when it gave none.</summary>
    ReadOnlySpan<E820Entry> MemoryMap { get; }

    /// <summary>Gives the domain a memory map, in place of the one that it had.</summary>
    void SetMemoryMap(ReadOnlySpan<E820Entry> map);

    /// <summary>Highest gfn in use.</summary>
    ulong MaximumGfn { get; }

    /// <summary>Highest machine frame plus one, what XENMEM_maximum_ram_page tells.</summary>
    ulong MaximumRamPage { get; }

    /// <summary>Pages that the domain has.</summary>
    ulong TotalPages { get; }

    /// <summary>Pages that the domain may have.</summary>
    ulong MaximumPages { get; }

    /// <summary>True when RAM of the domain is at the gfn.</summary>
    bool IsRam(ulong gfn);

    /// <summary>Type of a gfn as HVMOP_get_mem_type tells it.</summary>
    HvmMemType MemoryType(ulong gfn);

    /// <summary>Maps the shared_info page at a gfn, in place of what was there, and takes it from where it was.</summary>
    int MapSharedInfo(ulong gfn);

    /// <summary>Maps a frame of the grant table at a gfn, in place of what was there; the table grows up to it.</summary>
    int MapGrantFrame(ulong index, ulong gfn);

    /// <summary>Moves a page of RAM from one gfn to another, in place of what was there.</summary>
    int MoveFrame(ulong fromGfn, ulong toGfn);

    /// <summary>Gives the domain a new page of zeroes at a gfn. ENOMEM: it may have no more.</summary>
    int PopulateFrame(ulong gfn);

    /// <summary>Takes a page from the domain. ENOENT: nothing is there.</summary>
    int RemoveFrame(ulong gfn);

    /// <summary>Frames that the grant table has.</summary>
    uint GrantFrames { get; }

    /// <summary>Frames that the grant table may have.</summary>
    uint MaximumGrantFrames { get; }

    /// <summary>Lets the grant table have at least so many frames.</summary>
    int GrowGrantTable(uint frames);

    /// <summary>Where a frame of the grant table is mapped, or all ones.</summary>
    ulong GrantFrameGfn(uint index);

    /// <summary>Flushes the TLBs of every vCPU.</summary>
    void FlushTlbs();
}

/// <summary>Where a vCPU spent its time: <c>struct vcpu_runstate_info</c>.</summary>
/// <param name="State">0 running, 1 runnable, 2 blocked, 3 offline.</param>
/// <param name="EntryTime">System time at which it entered that state.</param>
/// <param name="Running">Nanoseconds running.</param>
/// <param name="Runnable">Nanoseconds runnable.</param>
/// <param name="Blocked">Nanoseconds blocked.</param>
/// <param name="Offline">Nanoseconds offline.</param>
internal readonly record struct Runstate(
    int State, ulong EntryTime, ulong Running, ulong Runnable, ulong Blocked, ulong Offline);

/// <summary>What a guest's hypercalls do with its vCPUs.</summary>
internal interface IGuestVcpuOperations
{
    /// <summary>Number of the calling vCPU.</summary>
    uint VcpuId { get; }

    /// <summary>How many vCPUs the domain has.</summary>
    uint VcpuCount { get; }

    /// <summary>The caller lets others run.</summary>
    void Yield();

    /// <summary>The caller waits for an event; it goes on at once when one is pending.</summary>
    void Block();

    /// <summary>
    /// The caller waits for a port (<see cref="EventChannelTable.StartPoll"/> was called) until
    /// <see cref="IEventChannelHost.WakePoller"/>, an upcall or its poll timer.
    /// </summary>
    void BlockInPoll();

    /// <summary>True when the vCPU is not down.</summary>
    bool IsVcpuUp(uint vcpuId);

    /// <summary>Sets a vCPU's registers. EEXIST: it has them already.</summary>
    int InitialiseVcpu(uint vcpuId, in VcpuHvmContext context);

    /// <summary>Lets a vCPU run. EINVAL: it has no registers yet.</summary>
    int BringVcpuUp(uint vcpuId);

    /// <summary>Stops a vCPU.</summary>
    void TakeVcpuDown(uint vcpuId);

    /// <summary>Where a vCPU spends its time.</summary>
    Runstate ReadRunstate(uint vcpuId);

    /// <summary>
    /// Moves a vCPU's <c>vcpu_info</c> to a page of RAM, contents included. EINVAL: it was moved before, or no
    /// writable RAM is there. The caller sees to the events.
    /// </summary>
    int MoveVcpuInfo(uint vcpuId, ulong gfn, uint offset);

    /// <summary>Keeps a linear address at which the vCPU's runstate is written whenever it is scheduled.</summary>
    void RegisterRunstateArea(uint vcpuId, ulong linearAddress, bool is64);

    /// <summary>Keeps a linear address at which the vCPU's time is written, beside its <c>vcpu_info</c>.</summary>
    void RegisterTimeArea(uint vcpuId, ulong linearAddress);

    /// <summary>The time in a vCPU's <c>vcpu_info</c> and time area is to be written anew.</summary>
    void RefreshTime(uint vcpuId);

    /// <summary>Runstate areas tell when they are being changed (VMASST_TYPE_runstate_update_flag).</summary>
    bool RunstateUpdateFlag { get; set; }

    /// <summary>Sends a vCPU an NMI.</summary>
    void SendNmi(uint vcpuId);

    /// <summary>Chooses the vector that tells a vCPU of events, in place of the domain's callback.</summary>
    void SetUpcallVector(uint vcpuId, byte vector);
}

/// <summary>Whom a guest's call is about, and whether it may.</summary>
internal static class GuestTargets
{
    /// <summary>The call is about the guest itself, by name or by number.</summary>
    public static bool IsSelf(this IGuestHypercallContext context, ushort domain) =>
        domain == SpecialDomain.Self || domain == context.DomainId;

    /// <summary>Whether there is such a domain (ESRCH) and the caller has a right over it (EPERM).</summary>
    public static Errno Check(this IGuestHypercallContext context, ushort domain, CallRight right) => context.IsSelf(domain)
        ? CallerRights.Check(context.Caller, context.DomainId, right)
        : CallerRights.Check(context.Caller, domain, context.DomainExists(domain), right);
}
