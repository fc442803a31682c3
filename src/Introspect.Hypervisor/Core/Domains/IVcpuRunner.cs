using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Cpu;

namespace Introspect.Hypervisor.Core.Domains;

/// <summary>
/// What runs behind a <see cref="Vcpu"/>: the CPU, its platform and the handling of its exits. Made by
/// <see cref="IDomainPlatform.CreateRunner"/>. Unless said otherwise the members are called on the vCPU's own
/// thread, or on another while the vCPU is paused and out of the guest.
/// </summary>
internal interface IVcpuRunner : IDisposable
{
    /// <summary>The architectural state, in native memory. <see cref="CpuState.Async"/> may be set from any thread.</summary>
    ref CpuState State { get; }

    /// <summary>RFLAGS with the lazy flags folded in.</summary>
    ulong Rflags { get; set; }

    /// <summary>The guest's TSC now.</summary>
    ulong Tsc { get; set; }

    /// <summary>Work that is due before the guest is entered: deferred register writes, set registers, injected events (hvm_do_resume).</summary>
    void BeforeEntry();

    /// <summary>
    /// Runs the guest and handles its exits, until the scheduler is to look again: an exit was handled that may
    /// have paused, blocked or stopped the vCPU, the budget is used up, or <see cref="AsyncEvents.Kick"/> was set.
    /// </summary>
    /// <param name="instructions">Instructions to run at most.</param>
    /// <returns>False when the guest did nothing that ended the run: the budget was used up, or somebody kicked.</returns>
    bool Run(long instructions);

    /// <summary>Instructions that the vCPU retired.</summary>
    ulong Retired { get; }

    /// <summary>True once after the guest gave its turn away, by SCHEDOP_yield or by PAUSE in a loop.</summary>
    bool TakeYield();

    /// <summary>
    /// <see cref="State"/> was written from outside (hvm context, a monitor's registers): what is derived from it
    /// (CPL, mode, TLB) is to be made anew.
    /// </summary>
    void StateReplaced();

    /// <summary>XCR0 bits that the CPUID policy allows; 0 without XSAVE.</summary>
    ulong SupportedXcr0 { get; }

    /// <summary>
    /// What reached the vCPU and waits for its next entry, but is no part of a saved state, is done now (INIT, SIPI):
    /// a context is to be saved or loaded.
    /// </summary>
    void Settle()
    {
    }

    /// <summary>Refuses a state that no CPU would take, before it is written (CR0, CR4, EFER against the CPUID policy).</summary>
    bool IsLoadable(in HvmHwCpu context);

    /// <summary>Makes an event pending for the next entry (dm_op inject_event). Any thread.</summary>
    /// <returns>EBUSY: one is pending already.</returns>
    Errno InjectEvent(in DmOpInjectEvent injected);

    /// <summary>
    /// Drops what was decoded of a page, which was written from outside the guest. On the vCPU's own thread, out of
    /// the guest.
    /// </summary>
    /// <param name="machinePage">Machine address divided by 4096.</param>
    void DropCode(ulong machinePage);

    /// <summary>What is monitored changed, or is to be seen for the first time: intercepts follow. The domain is paused.</summary>
    void MonitorStateChanged();

    /// <summary>A monitor ring came (<c>vm_event_init_domain</c>): room for deferred writes and emulation data is there from now on.</summary>
    void MonitorAttached();

    /// <summary>The ring went (<c>vm_event_cleanup_domain</c>): deferred writes and pending emulation data are dropped. The domain is paused.</summary>
    void MonitorDetached();

    /// <summary>
    /// Takes from a response what the vCPU does when it goes on: emulation, denial, single-step, registers, view.
    /// Called on the resuming thread, for a vCPU which a vm_event paused, before it is unpaused.
    /// </summary>
    void ApplyResponse(in VmEvent response);
}

/// <summary>What a domain has beside memory and vCPUs: devices, console, clock. Attached to each new domain.</summary>
internal interface IDomainPlatform : IDisposable
{
    /// <summary>Makes what runs behind a new vCPU.</summary>
    IVcpuRunner CreateRunner(Vcpu vcpu);

    /// <summary>A parameter was set (the check is done, the value is stored): callback vector, viridian, console page.</summary>
    /// <returns>EINVAL: the value cannot be; EEXIST: it cannot be any more. The old one stays.</returns>
    Errno HvmParamSet(uint index, ulong value);

    /// <summary>Takes a free event channel port of the domain's for the monitor ring (<c>alloc_unbound_xen_event_channel</c>).</summary>
    /// <returns>ENOSPC: every port is taken.</returns>
    Errno AllocateMonitorPort(out uint port);

    /// <summary>Gives a port of <see cref="AllocateMonitorPort"/> back.</summary>
    void FreeMonitorPort(uint port);

    /// <summary>The memory map that the guest reads (<c>XENMEM_memory_map</c>) is another one from now on.</summary>
    void SetMemoryMap(ReadOnlySpan<E820Entry> map)
    {
    }

    /// <summary>Takes what the guest wrote to its console since <paramref name="position"/>, and moves the position on.</summary>
    int ReadConsole(ref ulong position, Span<byte> destination);

    /// <summary>The domain goes on after it shut down. Before its vCPUs do, and under the domain's lock.</summary>
    void Resumed()
    {
    }

    /// <summary>The domain was paused, shut down, or goes on: what runs by itself may have to stand still as well. Any thread.</summary>
    void HoldChanged()
    {
    }

    /// <summary>Who decides on the turns of vCPUs which run on one thread; null when each has a thread of its own.</summary>
    ITurnOrder? Turns => null;

    /// <summary>The domain's state is about to be replaced by its parent's: what runs by itself (timers) stands still until it is. The vCPUs do.</summary>
    void BeforeStateCopy()
    {
    }

    /// <summary>Makes the pages that the platform gave the guest, or the guest the platform, what the parent's are.</summary>
    void CopyPages(IDomainPlatform parent)
    {
    }

    /// <summary>Stops what runs by itself (timers). The vCPUs have stopped.</summary>
    void Stop();
}
