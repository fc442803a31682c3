using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;
using Introspect.Rules.Pump;

namespace Introspect.Rules.Responses;

/// <summary>
/// Gets vCPUs past what is watched: lifts the rights of a page, takes out a breakpoint, or suspends an event, for one
/// single step of a vCPU, and restores it afterwards. Knows for each vCPU whether it steps in hardware, since a response
/// can only toggle it.
/// </summary>
/// <remarks>
/// One instruction may touch several watched pages: each faults in turn while the vCPU is still in its step, and all
/// are restored when the step is done. Where the hypervisor can hold single vCPUs, the others are held meanwhile, and an
/// event of theirs that is already in the ring comes again afterwards. Where it cannot, a page that two vCPUs step over
/// is restored by the last.
/// </remarks>
internal sealed partial class MemoryAccessStepper
{
    /// <summary>
    /// Pages that one instruction may have lifted at a time: two of the fetch and four of the data of the widest
    /// ordinary instructions, each with a page-table walk. An instruction that gathers from more is emulated.
    /// </summary>
    internal const int MaxLifted = 16;

    private readonly IDomain _domain;
    private readonly IGuestMemory _memory;
    private readonly IMonitor _monitor;
    private readonly VcpuHold _hold;
    private readonly Action<string, HypervisorException> _failed;
    private readonly VcpuSteps[] _vcpus;
    private SubscriptionPlan _plan;

    public MemoryAccessStepper(IDomain domain, IMonitor monitor, SubscriptionPlan plan, int vcpus, Action<string, HypervisorException> failed)
    {
        _domain = domain;
        _memory = domain.Memory;
        _monitor = monitor;
        _plan = plan;
        _failed = failed;
        _hold = new(domain, vcpus, failed);
        Breakpoints = new(_memory, plan.Breakpoints);
        View = plan.UsesView ? new(domain, monitor, plan, Breakpoints) : null;
        _vcpus = new VcpuSteps[vcpus];
        for (var i = 0; i < vcpus; i++)
        {
            _vcpus[i].Lifted = new LiftedPage[MaxLifted];
        }
    }

    /// <summary>An event that is suspended for a step.</summary>
    [Flags]
    public enum Suspended : byte
    {
        None = 0,
        DescriptorAccess = 1,
        IoInstruction = 2,
    }

    /// <summary>The breakpoints that the pump puts into the guest's code.</summary>
    public BreakpointTable Breakpoints { get; private set; }

    /// <summary>The view in which the pump watches; null when it watches in the host's own table.</summary>
    public PumpView? View { get; private set; }

    /// <summary>True when there are other vCPUs, which could get past while one steps.</summary>
    public bool HasOthers => _vcpus.Length > 1;

    /// <summary>True when a vCPU steps in hardware.</summary>
    public bool AnyStepping => Array.Exists(_vcpus, vcpu => vcpu.StepsInHardware);

    /// <summary>True when a handler wants the steps of the vCPU.</summary>
    public bool HandlerWantsSteps(uint vcpu) => _vcpus[vcpu].HandlerWants;

    public void SetHandlerWantsSteps(uint vcpu, bool wanted) => _vcpus[vcpu].HandlerWants = wanted;

    /// <summary>
    /// Whether an event must come again: its vCPU is held for another one's step, and getting past it now would let the
    /// other past more than its one instruction. A bare answer makes the instruction run again when the hold is over.
    /// </summary>
    public bool MustComeAgain(ref readonly VmEvent request) =>
        _hold.IsHeld(request.VcpuId)
        && (request.Flags & VmEventFlags.VcpuPaused) != 0
        && request.Reason is VmEventReason.MemAccess or VmEventReason.SoftwareBreakpoint or VmEventReason.DescriptorAccess or VmEventReason.IoInstruction;

    /// <summary>Holds the other vCPUs for a step of this one, which lasts until the step is done.</summary>
    /// <returns>False when the hypervisor cannot.</returns>
    public bool TryHold(uint vcpu) => _hold.TryTake(vcpu);

    /// <summary>Remembers what the hypervisor was told to emulate, for the case that it has no code for it.</summary>
    public void Emulating(uint vcpu, ulong gfn, Suspended instead)
    {
        _vcpus[vcpu].EmulatedGfn = gfn;
        _vcpus[vcpu].EmulatedInstead = instead;
        _vcpus[vcpu].EmulatedBreakpoint = -1;
        _vcpus[vcpu].HasEmulated = true;
        _vcpus[vcpu].EmulatedAltered = false;
    }

    /// <summary>Remembers that the hypervisor was told to emulate the instruction under a breakpoint.</summary>
    public void EmulatingBreakpoint(uint vcpu, int breakpoint)
    {
        Emulating(vcpu, 0, Suspended.None);
        _vcpus[vcpu].EmulatedBreakpoint = breakpoint;
    }

    /// <summary>Remembers that the hypervisor was told to emulate with another outcome than the instruction's own.</summary>
    public void EmulatingAltered(uint vcpu)
    {
        _vcpus[vcpu].HasEmulated = false;
        _vcpus[vcpu].EmulatedAltered = true;
    }

    /// <summary>Whether the last emulation was such that running the instruction instead would be wrong. Asked once.</summary>
    public bool TakeWasAltered(uint vcpu)
    {
        var altered = _vcpus[vcpu].EmulatedAltered;
        _vcpus[vcpu].EmulatedAltered = false;
        return altered;
    }

    /// <summary>Steps over what the emulator had no code for.</summary>
    /// <returns>False when nothing is known that could be stepped over.</returns>
    public bool TryStepOverEmulated(uint vcpu)
    {
        ref var steps = ref _vcpus[vcpu];
        if (!steps.HasEmulated)
        {
            return false;
        }

        steps.HasEmulated = false;
        return steps.EmulatedBreakpoint >= 0 ? TryStepOver(vcpu, steps.EmulatedBreakpoint)
            : steps.EmulatedInstead != Suspended.None ? TrySuspend(vcpu, steps.EmulatedInstead) : TryLift(vcpu, steps.EmulatedGfn);
    }

    /// <summary>Lifts the rights of a page until the vCPU has made one step.</summary>
    /// <returns>False when the vCPU cannot step, has too many pages lifted, or the hypervisor refuses.</returns>
    public bool TryLift(uint vcpu, ulong gfn)
    {
        ref var steps = ref _vcpus[vcpu];
        if (!_plan.CanStep || IndexOf(in steps, gfn) < 0 && steps.LiftedCount == MaxLifted)
        {
            LetGoUnlessStepping(vcpu);
            return false;
        }

        if (IndexOf(in steps, gfn) >= 0)
        {
            return true;
        }

        if (View is not null)
        {
            // The vCPU leaves the view; nobody else gets more rights.
            steps.Lifted[steps.LiftedCount++] = new(gfn, MemoryAccess.Rwx);
            return true;
        }

        try
        {
            var restore = RightsOf(gfn);
            if (!IsLiftedByAnother(vcpu, gfn))
            {
                _monitor.SetMemoryAccess(new(gfn), 1, MemoryAccess.Rwx);
            }

            steps.Lifted[steps.LiftedCount++] = new(gfn, restore);
            return true;
        }
        catch (HypervisorException refused)
        {
            _failed("lifting the rights of a page", refused);
            LetGoUnlessStepping(vcpu);
            return false;
        }
    }

    /// <summary>Takes a breakpoint out until the vCPU has made one step.</summary>
    /// <returns>False when the vCPU cannot step, or the guest's memory cannot be written.</returns>
    public bool TryStepOver(uint vcpu, int breakpoint)
    {
        ref var steps = ref _vcpus[vcpu];
        if (!_plan.CanStep || (steps.HasBreakpoint && steps.Breakpoint != breakpoint))
        {
            LetGoUnlessStepping(vcpu);
            return false;
        }

        try
        {
            if (View is null)
            {
                Breakpoints.Remove(breakpoint);
            }

            steps.Breakpoint = breakpoint;
            steps.HasBreakpoint = true;
            return true;
        }
        catch (HypervisorException refused)
        {
            _failed("taking out a breakpoint for a step", refused);
            LetGoUnlessStepping(vcpu);
            return false;
        }
    }

    /// <summary>Suspends an event until the vCPU has made one step.</summary>
    public bool TrySuspend(uint vcpu, Suspended which)
    {
        ref var steps = ref _vcpus[vcpu];
        if (!_plan.CanStep || EventOf(which) is not { } monitorEvent)
        {
            return false;
        }

        if ((steps.Suspends & which) != 0)
        {
            return true;
        }

        try
        {
            if (!IsSuspendedByAnother(vcpu, which))
            {
                _monitor.Disable(monitorEvent);
            }

            steps.Suspends |= which;
            return true;
        }
        catch (HypervisorException refused)
        {
            _failed("suspending an event for a step", refused);
            return false;
        }
    }

    /// <summary>A step was reported: restores what was lifted and suspended for it.</summary>
    public void StepDone(uint vcpu)
    {
        ref var steps = ref _vcpus[vcpu];
        steps.StepsInHardware = true;
        while (steps.LiftedCount > 0)
        {
            var page = steps.Lifted[--steps.LiftedCount];
            if (View is not null)
            {
                Refresh(page.Gfn);
            }
            else if (!IsLiftedByAnother(vcpu, page.Gfn))
            {
                Restore(page);
            }
        }

        if (steps.HasBreakpoint)
        {
            steps.HasBreakpoint = false;
            if (View is null)
            {
                Reinsert(steps.Breakpoint);
            }
        }

        Resume(vcpu, Suspended.DescriptorAccess);
        Resume(vcpu, Suspended.IoInstruction);
        LetGoUnlessStepping(vcpu);
    }

    /// <summary>
    /// Whether a response of the vCPU must toggle its single stepping. Only a response to a vCPU that waits can; the
    /// caller sends it.
    /// </summary>
    public bool ShouldToggle(uint vcpu)
    {
        ref var steps = ref _vcpus[vcpu];
        var wanted = steps.HandlerWants || IsSteppedOver(in steps);
        if (wanted == steps.StepsInHardware)
        {
            return false;
        }

        steps.StepsInHardware = wanted;
        return true;
    }

    /// <summary>
    /// Whether a response of the vCPU must move it between the pump's view and the host's. The caller sends it.
    /// </summary>
    public bool ShouldSwitchView(uint vcpu, out ushort view)
    {
        view = 0;
        if (View is null)
        {
            return false;
        }

        ref var steps = ref _vcpus[vcpu];
        var wanted = steps.LiftedCount > 0 ? ViewUse.Host : steps.HasBreakpoint ? ViewUse.WithoutBreakpoints : ViewUse.Watching;
        if (wanted == steps.View)
        {
            return false;
        }

        steps.View = wanted;
        view = wanted switch
        {
            ViewUse.Host => ViewId.Host.Value,
            ViewUse.WithoutBreakpoints => View.WithoutBreakpoints.Value,
            _ => View.Id.Value,
        };
        return true;
    }

    /// <summary>
    /// Forgets every wish to step: the rights and events are no longer there to be restored, and the next response
    /// of each vCPU stops it stepping.
    /// </summary>
    public void Abandon()
    {
        foreach (ref var steps in _vcpus.AsSpan())
        {
            steps.HandlerWants = false;
            steps.HasEmulated = false;
            steps.EmulatedAltered = false;
            steps.LiftedCount = 0;
            steps.HasBreakpoint = false;
            steps.View = ViewUse.Watching;
            steps.Suspends = Suspended.None;
        }

        View = null;
        _hold.Release();
    }

    /// <summary>True when the event is disabled at the moment, for some vCPU's step.</summary>
    public bool IsSuspended(MonitorEvent monitorEvent) =>
        (ReferenceEquals(monitorEvent, _plan.DescriptorAccess) && Array.Exists(_vcpus, vcpu => (vcpu.Suspends & Suspended.DescriptorAccess) != 0))
        || (ReferenceEquals(monitorEvent, _plan.IoInstruction) && Array.Exists(_vcpus, vcpu => (vcpu.Suspends & Suspended.IoInstruction) != 0));

    private static int IndexOf(ref readonly VcpuSteps steps, ulong gfn)
    {
        for (var i = 0; i < steps.LiftedCount; i++)
        {
            if (steps.Lifted[i].Gfn == gfn)
            {
                return i;
            }
        }

        return -1;
    }

    private static bool IsSteppedOver(ref readonly VcpuSteps steps) =>
        steps.LiftedCount > 0 || steps.HasBreakpoint || steps.Suspends != Suspended.None;

    private void LetGoUnlessStepping(uint vcpu)
    {
        if (!IsSteppedOver(in _vcpus[vcpu]) && !_hold.IsHeld(vcpu))
        {
            _hold.Release();
        }
    }

    private void Refresh(ulong gfn)
    {
        try
        {
            View!.Refresh(gfn);
        }
        catch (HypervisorException refused)
        {
            _failed("copying a page with breakpoints", refused);
        }
    }

    private void Reinsert(int breakpoint)
    {
        if (Array.Exists(_vcpus, vcpu => vcpu.HasBreakpoint && vcpu.Breakpoint == breakpoint))
        {
            return;
        }

        try
        {
            Breakpoints.Insert(breakpoint);
        }
        catch (HypervisorException refused)
        {
            _failed("putting a breakpoint back", refused);
        }
    }

    private MonitorEvent? EventOf(Suspended which) => which == Suspended.IoInstruction ? _plan.IoInstruction : _plan.DescriptorAccess;

    // A page that faulted although no handler watches it has rights of someone else's making, which are kept.
    private MemoryAccess RightsOf(ulong gfn)
    {
        var planned = _plan.Rights[gfn];
        if (planned != MemoryAccess.Rwx)
        {
            return planned;
        }

        foreach (ref readonly var steps in _vcpus.AsSpan())
        {
            var index = IndexOf(in steps, gfn);
            if (index >= 0)
            {
                return steps.Lifted[index].Restore;
            }
        }

        return _monitor.GetMemoryAccess(new(gfn));
    }

    private bool IsLiftedByAnother(uint vcpu, ulong gfn)
    {
        for (var i = 0; i < _vcpus.Length; i++)
        {
            if (i != vcpu && IndexOf(in _vcpus[i], gfn) >= 0)
            {
                return true;
            }
        }

        return false;
    }

    private bool IsSuspendedByAnother(uint vcpu, Suspended which)
    {
        for (var i = 0; i < _vcpus.Length; i++)
        {
            if (i != vcpu && (_vcpus[i].Suspends & which) != 0)
            {
                return true;
            }
        }

        return false;
    }

    private void Restore(LiftedPage page)
    {
        try
        {
            _monitor.SetMemoryAccess(new(page.Gfn), 1, page.Restore);
        }
        catch (HypervisorException refused)
        {
            _failed("restoring the rights of a page", refused);
        }
    }

    private void Resume(uint vcpu, Suspended which)
    {
        ref var steps = ref _vcpus[vcpu];
        if ((steps.Suspends & which) == 0)
        {
            return;
        }

        steps.Suspends &= ~which;
        if (IsSuspendedByAnother(vcpu, which))
        {
            return;
        }

        try
        {
            _monitor.Enable(EventOf(which)!);
        }
        catch (HypervisorException refused)
        {
            _failed("enabling an event again after a step", refused);
        }
    }

    /// <summary>Where a vCPU runs when the pump watches in a view.</summary>
    private enum ViewUse : byte
    {
        Watching,
        WithoutBreakpoints,
        Host,
    }

    private readonly record struct LiftedPage(ulong Gfn, MemoryAccess Restore);

    private struct VcpuSteps
    {
        public LiftedPage[] Lifted;
        public int LiftedCount;
        public Suspended Suspends;
        public int Breakpoint;
        public bool HasBreakpoint;
        public ViewUse View;
        public bool HandlerWants;
        public bool StepsInHardware;
        public bool HasEmulated;
        public bool EmulatedAltered;
        public Suspended EmulatedInstead;
        public ulong EmulatedGfn;
        public int EmulatedBreakpoint;
    }
}
