using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;
using Introspect.Rules.Pump;

namespace Introspect.Rules.Responses;

/// <content>Another plan while vCPUs may be in the middle of a step.</content>
internal sealed partial class MemoryAccessStepper
{
    /// <summary>The plan in force. A step under way ends by the rights of the new one.</summary>
    public SubscriptionPlan Plan
    {
        get => _plan;
        set
        {
            var old = _plan;
            _plan = value;
            foreach (ref var steps in _vcpus.AsSpan())
            {
                for (var i = 0; i < steps.LiftedCount; i++)
                {
                    var page = steps.Lifted[i];

                    // Rights that are not the old plan's are someone else's, and come back as they were.
                    if (old.Rights[page.Gfn] != MemoryAccess.Rwx || value.Rights[page.Gfn] != MemoryAccess.Rwx)
                    {
                        steps.Lifted[i] = page with { Restore = value.Rights[page.Gfn] };
                    }
                }

                steps.Suspends &= (value.DescriptorAccess is null ? ~Suspended.DescriptorAccess : ~Suspended.None)
                    & (value.IoInstruction is null ? ~Suspended.IoInstruction : ~Suspended.None);
                if (steps.HasEmulated && steps.EmulatedInstead != Suspended.None && EventOf(steps.EmulatedInstead) is null)
                {
                    steps.HasEmulated = false;
                }
            }
        }
    }

    /// <summary>Gives pages that are stepped over all rights again, after the rights around them were set.</summary>
    public void LiftAgain()
    {
        if (View is not null)
        {
            return;
        }

        foreach (ref readonly var steps in _vcpus.AsSpan())
        {
            for (var i = 0; i < steps.LiftedCount; i++)
            {
                _monitor.SetMemoryAccess(new(steps.Lifted[i].Gfn), 1, MemoryAccess.Rwx);
            }
        }
    }

    /// <summary>Makes room for breakpoints, which are not in memory yet.</summary>
    public void AddBreakpoints(IReadOnlyList<ulong> addresses) => UseTable(Breakpoints.With(addresses));

    /// <summary>Takes out every breakpoint but these, whatever is refused meanwhile.</summary>
    public void RetireBreakpoints(IReadOnlyList<ulong> kept, Func<string, Action, bool> attempt)
    {
        if (View is null)
        {
            UseTable(Breakpoints.Without(kept, attempt));
        }
    }

    /// <summary>True for an event of a breakpoint that a change took away after the vCPU had run into it.</summary>
    public bool IsLateBreakpoint(ref readonly VmEvent request) => Breakpoints.IsLate(in request);

    /// <summary>True for an event of a page that nobody watches any more.</summary>
    public bool IsLateAccess(ulong gfn)
    {
        try
        {
            return _plan.Rights[gfn] == MemoryAccess.Rwx && View is null && _monitor.GetMemoryAccess(new(gfn)) == MemoryAccess.Rwx;
        }
        catch (HypervisorException)
        {
            // The page itself has gone: there is nothing that an emulator could do better than the processor.
            return true;
        }
    }

    /// <summary>Begins anew with other rights, breakpoints and views. No vCPU is in a step.</summary>
    public void Restart(SubscriptionPlan plan)
    {
        _plan = plan;
        UseTable(new BreakpointTable(_memory, plan.Breakpoints, Breakpoints));
        View = plan.UsesView ? new(_domain, _monitor, plan, Breakpoints) : null;
        foreach (ref var steps in _vcpus.AsSpan())
        {
            steps.View = ViewUse.Watching;
        }
    }

    /// <summary>Ends the steps that handlers asked for which are no longer there.</summary>
    public void EndHandlersSteps()
    {
        foreach (ref var steps in _vcpus.AsSpan())
        {
            steps.HandlerWants = false;
        }
    }

    private void UseTable(BreakpointTable next)
    {
        var old = Breakpoints;
        Breakpoints = next;
        foreach (ref var steps in _vcpus.AsSpan())
        {
            if (steps.HasBreakpoint)
            {
                steps.Breakpoint = next.IndexOf(old.AddressAt(steps.Breakpoint));
                steps.HasBreakpoint = steps.Breakpoint >= 0;
            }

            if (steps.HasEmulated && steps.EmulatedBreakpoint >= 0)
            {
                steps.EmulatedBreakpoint = next.IndexOf(old.AddressAt(steps.EmulatedBreakpoint));
                steps.HasEmulated = steps.EmulatedBreakpoint >= 0;
            }
        }
    }
}
