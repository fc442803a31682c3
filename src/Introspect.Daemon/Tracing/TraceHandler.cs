using Introspect.Daemon.Hypervisors;
using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;
using Introspect.Rules.Handlers;

namespace Introspect.Daemon.Tracing;

/// <summary>
/// Asks for the events of a selection, so that each becomes a record, and has no opinion on any; but steps through
/// the instructions after a breakpoint or a guest request when it was asked to, and on the demo guest through the
/// sequence that this has for the purpose.
/// </summary>
/// <param name="selection">What is watched.</param>
/// <param name="steps">Instructions to step each time; 0 for none.</param>
/// <param name="optional">What the hypervisor cannot send is left out instead of refused.</param>
/// <param name="demo">Where the demo guest's sequence is, where that is watched.</param>
/// <param name="from">The only place where stepping begins, a breakpoint of the selection; null: at the guest's own events.</param>
internal sealed class TraceHandler(EventSelection selection, int steps, bool optional, DemoPlan? demo, GuestPhysical? from = null) : IEventHandler
{
    /// <summary>The handler's name in records.</summary>
    public const string HandlerName = "trace";

    // Steps left, by vCPU; touched by the pump thread alone.
    private readonly Dictionary<uint, int> _left = [];

    private readonly HashSet<GuestPhysical> _breakpoints = [.. selection.Breakpoints];

    /// <inheritdoc/>
    public string Name => HandlerName;

    /// <inheritdoc/>
    public void Subscribe(SubscriptionBuilder subscription)
    {
        foreach (var wanted in selection.Events)
        {
            Subscribe(subscription, wanted);
        }

        foreach (var (first, count, watched) in selection.Memory)
        {
            subscription.Memory(first, count, watched);
        }

        foreach (var breakpoint in selection.Breakpoints)
        {
            subscription.Breakpoint(breakpoint);
        }

        if (selection.InView)
        {
            subscription.InView();
        }

        if (selection.Interrupts)
        {
            subscription.Interrupt(optional);
        }

        subscription.InAddressSpaces([.. selection.AddressSpaces]);
        subscription.ObserveDecided();
    }

    /// <inheritdoc/>
    public Verdict Handle(ref readonly VmEvent request, ref HandlerContext context)
    {
        if (steps == 0 || context.IsDecided || !context.IsSync)
        {
            return Verdict.Pass;
        }

        switch (request.Reason)
        {
            case VmEventReason.Singlestep:
                return Step(request.VcpuId, request.Registers.Rip) ? Verdict.Pass : Verdict.Allow.WithSinglestepOff();
            case VmEventReason.SoftwareBreakpoint when IsOwn(in request, out var place):
                return (from is null || from == place) && Begin(request.VcpuId) ? Verdict.Allow.WithSinglestepOn() : Verdict.Pass;
            case var _ when from is not null:
                return Verdict.Pass;
            case VmEventReason.Cpuid when demo is not null && request.Registers.Rip + request.Cpuid.InsnLength == demo.StepStart:
                return Begin(request.VcpuId) ? Verdict.Allow.WithSinglestepOn() : Verdict.Pass;
            case VmEventReason.SoftwareBreakpoint when demo is null:
                // To decide means to answer for the breakpoint, too: it is the guest's own.
                return Begin(request.VcpuId) ? Verdict.Reinject.WithSinglestepOn() : Verdict.Pass;
            case VmEventReason.GuestRequest when demo is null:
                return Begin(request.VcpuId) ? Verdict.Allow.WithSinglestepOn() : Verdict.Pass;
            default:
                return Verdict.Pass;
        }
    }

    private bool IsOwn(ref readonly VmEvent request, out GuestPhysical place)
    {
        place = new Gfn(request.Debug.Gfn).Address + ((request.Registers.CsBase + request.Registers.Rip) & (Gfn.PageSize - 1));
        return _breakpoints.Contains(place);
    }

    private bool Begin(uint vcpu)
    {
        // An event inside of a stepped sequence begins no new one.
        if (_left.GetValueOrDefault(vcpu) > 0)
        {
            return false;
        }

        _left[vcpu] = steps;
        return true;
    }

    private bool Step(uint vcpu, ulong rip)
    {
        var left = _left.GetValueOrDefault(vcpu) - 1;
        _left[vcpu] = demo is not null && rip == demo.StepEnd ? 0 : Math.Max(0, left);
        return _left[vcpu] > 0;
    }

    private void Subscribe(SubscriptionBuilder subscription, MonitorEvent wanted)
    {
        _ = wanted switch
        {
            MonitorEvent.ControlRegister e => subscription.ControlRegister(e.Register, e.WatchMask, e.Sync, optional: optional, onChangeOnly: e.OnChangeOnly),
            MonitorEvent.Msr e => subscription.Msr(e.Number, e.OnChangeOnly, optional: optional),
            MonitorEvent.Cpuid => subscription.Cpuid(optional),
            MonitorEvent.SoftwareBreakpoint => subscription.SoftwareBreakpoint(optional),
            MonitorEvent.DebugException e => subscription.DebugException(e.Sync, optional),
            MonitorEvent.GuestRequest e => subscription.GuestRequest(e.Sync, e.AllowUserspace, optional),
            MonitorEvent.SingleStep => subscription.Singlestep(optional),
            MonitorEvent.DescriptorAccess => subscription.DescriptorAccess(optional),
            MonitorEvent.VmExit e => subscription.VmExit(e.Sync, optional),
            MonitorEvent.IoInstruction e => subscription.IoInstruction(e.Sync, optional),
            MonitorEvent.EmulUnimplemented => subscription.EmulUnimplemented(optional),
            _ => throw new NotSupportedException($"an event of type {wanted.GetType().Name} cannot be selected"),
        };
    }
}
