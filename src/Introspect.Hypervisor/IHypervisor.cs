namespace Introspect.Hypervisor;

/// <summary>
/// The seam: a hypervisor whose domains can be watched. Implemented by the core (in this process or over a
/// socket) and by real Xen. Every refused operation is a <see cref="HypervisorException"/> with Xen's errno.
/// </summary>
public interface IHypervisor : IDisposable
{
    /// <summary>What stands behind the seam.</summary>
    HypervisorInfo Info { get; }

    /// <summary>The domains that exist now, by number.</summary>
    IReadOnlyList<DomainInfo> ListDomains();

    /// <summary>Opens a domain.</summary>
    /// <exception cref="HypervisorException">ESRCH: no such domain; EPERM: not allowed to control it.</exception>
    IDomain Open(DomainRef domain);

    /// <summary>Every domain that exists, then every change, until cancelled.</summary>
    IAsyncEnumerable<DomainChange> WatchAsync(CancellationToken cancellationToken);
}

/// <summary>One domain, seen from the control domain. Disposing lets go of it and leaves it as it is.</summary>
public interface IDomain : IDisposable
{
    /// <summary>The domain's number.</summary>
    DomainId Id { get; }

    /// <summary>What the toolstack knows of the domain, asked anew at each call.</summary>
    /// <exception cref="HypervisorException">ESRCH: the domain is gone.</exception>
    DomainInfo GetInfo();

    /// <summary>Pauses the domain and returns when no vCPU runs. Pauses nest.</summary>
    void Pause();

    /// <summary>Undoes one <see cref="Pause"/>.</summary>
    /// <exception cref="HypervisorException">EINVAL: the domain is not paused by a control tool.</exception>
    void Unpause();

    /// <summary>
    /// Holds one vCPU of a domain that is paused, so that it stays where it is when the domain goes on
    /// (<c>XEN_DOMCTL_gdbsx_pausevcpu</c>). Holds nest.
    /// </summary>
    /// <exception cref="HypervisorException">EBUSY: the domain is not paused; EINVAL: no such vCPU; EOPNOTSUPP: this hypervisor cannot.</exception>
    void PauseVcpu(VcpuId vcpu) =>
        throw new HypervisorException(Errno.EOPNOTSUPP, $"holding vCPU {vcpu} of domain {Id}: this hypervisor cannot hold single vCPUs");

    /// <summary>Undoes one <see cref="PauseVcpu"/>; the domain must be paused meanwhile.</summary>
    /// <exception cref="HypervisorException">EBUSY: the domain is not paused; EINVAL: no such vCPU, or nobody holds it.</exception>
    void UnpauseVcpu(VcpuId vcpu) =>
        throw new HypervisorException(Errno.EOPNOTSUPP, $"letting go of vCPU {vcpu} of domain {Id}: this hypervisor cannot hold single vCPUs");

    /// <summary>
    /// Gives the domain one more page, at a frame behind all others, which the guest was told nothing of: for altp2m views
    /// that lead there. The domain's limit grows by it.
    /// </summary>
    /// <exception cref="HypervisorException">ENOMEM: there is none; EOPNOTSUPP: this hypervisor cannot.</exception>
    Gfn AddFrame() => throw new HypervisorException(Errno.EOPNOTSUPP, $"giving domain {Id} a page: this hypervisor cannot");

    /// <summary>Takes a page of <see cref="AddFrame"/> back. No view may lead there any more.</summary>
    /// <exception cref="HypervisorException">EINVAL: it is not there.</exception>
    void RemoveFrame(Gfn gfn) => throw new HypervisorException(Errno.EOPNOTSUPP, $"taking a page of domain {Id}: this hypervisor cannot");

    /// <summary>The guest's memory, by physical and by virtual address.</summary>
    IGuestMemory Memory { get; }

    /// <summary>Reads a vCPU's architectural state. A running vCPU is stopped for the moment of reading.</summary>
    /// <exception cref="HypervisorException">ENOENT: no such vCPU; ENODATA: it is not up.</exception>
    VcpuState ReadVcpu(VcpuId vcpu);

    /// <summary>Writes a vCPU's architectural state; the domain should be paused.</summary>
    /// <exception cref="HypervisorException">EINVAL: no such vCPU, or a value that no CPU would take.</exception>
    void WriteVcpu(VcpuId vcpu, in VcpuState state);

    /// <summary>Makes the vCPU take a trap when it goes on (<c>xc_hvm_inject_trap</c>).</summary>
    /// <exception cref="HypervisorException">EBUSY: one is pending already; EINVAL: no such vCPU.</exception>
    void InjectTrap(VcpuId vcpu, in TrapInjection trap);

    /// <summary>
    /// Enables the monitor ring, with the domain paused around the whole of it, so that no event is lost
    /// between the hypervisor's enabling and the monitor's initialising of the ring.
    /// </summary>
    /// <exception cref="HypervisorException">EBUSY: another monitor has it, or a dead one had: see <see cref="Recover"/>.</exception>
    IMonitor EnableMonitor();

    /// <summary>
    /// Adopts what a dead monitor left behind: takes the ring over, answers every vCPU that waits for it, and
    /// switches monitoring off. Afterwards no vCPU is paused by a monitor.
    /// </summary>
    RecoveryReport Recover();

    /// <summary>
    /// Makes a fork: a new domain that begins in this one's state and with its memory, of which it copies what it
    /// writes to (<c>xc_domain_create</c>, <c>xc_memshr_fork</c>). This domain stands still as long as it has forks. A fork
    /// can be forked. The new domain is paused once: let it go by <see cref="Unpause"/>, and end it by <see cref="Destroy"/>.
    /// </summary>
    /// <exception cref="HypervisorException">
    /// EOPNOTSUPP: not on this vendor's processors (Xen forks on Intel's alone), or not by this hypervisor; ENODEV: without
    /// hardware-assisted paging; EXDEV: a device is assigned; EINVAL: this domain is being destroyed; ENOMEM.
    /// </exception>
    IDomain Fork(ForkOptions? options = null) =>
        throw new HypervisorException(Errno.EOPNOTSUPP, $"domain {Id} cannot be forked: its hypervisor has no forks");

    /// <summary>
    /// Takes a fork back to its parent (<c>xc_memshr_fork_reset</c>): its vCPUs and devices to the parent's state, its
    /// memory to the parent's memory, or both. It takes time for each page that the fork wrote to. What is monitored stays.
    /// A response with <see cref="Abi.VmEventFlags.ResetForkState"/> or <see cref="Abi.VmEventFlags.ResetForkMemory"/> does the same.
    /// </summary>
    /// <param name="state">Registers, MSRs, timers, event channels, parameters and the pages shared with the hypervisor.</param>
    /// <param name="memory">Every page that is the fork's own is dropped, with its access rights.</param>
    /// <exception cref="HypervisorException">EINVAL: neither is asked for, or the parent was destroyed; ENOSYS: this is no fork.</exception>
    void ResetFork(bool state, bool memory) =>
        throw new HypervisorException(Errno.EOPNOTSUPP, $"domain {Id} cannot be reset: its hypervisor has no forks");

    /// <summary>
    /// Ends the domain and gives its memory back (<c>xc_domain_destroy</c>). A parent goes on when its last fork is gone.
    /// The forks of a destroyed parent keep the pages that they have, and find no others.
    /// </summary>
    /// <exception cref="HypervisorException">ESRCH: the domain is gone.</exception>
    void Destroy() =>
        throw new HypervisorException(Errno.EOPNOTSUPP, $"domain {Id} cannot be destroyed through this hypervisor");
}

/// <summary>How a fork is made.</summary>
public sealed record ForkOptions
{
    /// <summary>Name; none unless given.</summary>
    public string Name { get; init; } = "";

    /// <summary>UUID; a new one unless given.</summary>
    public Guid? Uuid { get; init; }

    /// <summary>No interrupt reaches the fork, which then runs without timers and devices, as a fuzzer wants it.</summary>
    public bool BlockInterrupts { get; init; }

    /// <summary>A parent with an assigned device may be forked; the fork must not use the device.</summary>
    public bool AllowIommu { get; init; }
}

/// <summary>What <see cref="IDomain.Recover"/> found and did.</summary>
/// <param name="WasEnabled">A monitor ring was still enabled.</param>
/// <param name="UnansweredRequests">
/// Requests that the dead monitor had not answered and that held a vCPU. Async ones hold nobody, and nobody can count them: their
/// ring page is out of reach.
/// </param>
/// <param name="ReleasedVcpus">vCPUs that those requests held, and that go on now. One that is down is released uncounted.</param>
/// <param name="UndonePauses">Control-tool pauses of the domain that were undone.</param>
public sealed record RecoveryReport(bool WasEnabled, int UnansweredRequests, int ReleasedVcpus, int UndonePauses)
{
    /// <summary>
    /// False: the hypervisor (real Xen) does not tell which vCPUs were held. Every vCPU was told to go on then, and is
    /// counted as released; no request is counted.
    /// </summary>
    public bool TellsHeldVcpus { get; init; } = true;
}

/// <summary>A trap to inject (<c>xen_dm_op_inject_event</c>).</summary>
/// <param name="Vector">Vector, 0–255.</param>
/// <param name="Type">HVMOP_TRAP_*: 0 external interrupt, 2 NMI, 3 hardware exception, 4 software interrupt, 5 privileged software exception, 6 software exception.</param>
/// <param name="InsnLength">Instruction length in bytes, for the software types.</param>
/// <param name="ErrorCode">Error code, or ~0 for none.</param>
/// <param name="Cr2">Faulting address of a page fault, else 0.</param>
public readonly record struct TrapInjection(byte Vector, byte Type, byte InsnLength, uint ErrorCode, ulong Cr2)
{
    /// <summary>The value of <see cref="ErrorCode"/> that means none.</summary>
    public const uint NoErrorCode = ~0u;

    /// <summary>A breakpoint as int3 would have raised it.</summary>
    public static TrapInjection Breakpoint(byte insnLength) => new(3, 6, insnLength, NoErrorCode, 0);
}
