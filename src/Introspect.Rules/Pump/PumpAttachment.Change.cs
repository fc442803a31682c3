using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;

namespace Introspect.Rules.Pump;

/// <content>From one plan to another on a domain that stays watched.</content>
internal sealed partial class PumpAttachment
{
    /// <summary>True when memory can change hands only while no vCPU is in a step: the views are made anew.</summary>
    public bool MustStandStill(SubscriptionPlan next) =>
        (_plan.UsesView || next.UsesView)
        && (_plan.UsesView != next.UsesView || !_plan.Breakpoints.SequenceEqual(next.Breakpoints) || _plan.Rights.Differences(next.Rights).Count != 0);

    /// <summary>
    /// Enables what another plan wants and this one has not, and disables what it wants no more. What both want is not
    /// touched. The caller holds the domain paused.
    /// </summary>
    /// <param name="next">The other plan; in force when this returns.</param>
    /// <param name="leftOut">Is told of optional events that the hypervisor refused.</param>
    /// <param name="attempt">Does a thing and tells what went wrong.</param>
    /// <exception cref="PumpStartException">The hypervisor refused; everything is as it was.</exception>
    public void Change(SubscriptionPlan next, Action<string> leftOut, Func<string, Action, bool> attempt)
    {
        var undo = new Stack<(string What, Action Action)>();
        List<MonitorEvent> gone;
        var hasSpareSteps = false;
        try
        {
            HoldWritesBack(next);
            ChangeRep(next, undo);
            gone = ChangeEvents(next, leftOut, undo);
            if (MustStandStill(next))
            {
                WatchAnew(next, attempt, undo);
            }
            else if (!next.UsesView)
            {
                ChangeRights(next, undo);
                ChangeBreakpoints(next, undo, attempt);
            }
        }
        catch
        {
            while (undo.TryPop(out var step))
            {
                attempt(step.What, step.Action);
            }

            throw;
        }

        // From here on nothing is taken back: what cannot be disabled is told, and its events are answered.
        watching.RetireBreakpoints(next.Breakpoints, attempt);
        foreach (var monitorEvent in gone)
        {
            if (monitorEvent is MonitorEvent.SingleStep && watching.AnyStepping)
            {
                // The end of a step that has begun must still be told.
                hasSpareSteps = true;
                continue;
            }

            _enabled.Remove(monitorEvent);
            if (!watching.IsSuspended(monitorEvent))
            {
                attempt($"disabling {monitorEvent}", () => monitor.Disable(monitorEvent));
            }
        }

        HasSpareSteps = hasSpareSteps;
        watching.Plan = next;
        _plan = next;
    }

    /// <summary>Single steps are enabled for the sake of steps that were under way at a change.</summary>
    public bool HasSpareSteps { get; private set; }

    /// <summary>Disables single steps when no step under way needs them any more.</summary>
    public void DropSpareSteps(Func<string, Action, bool> attempt)
    {
        if (watching.AnyStepping)
        {
            return;
        }

        HasSpareSteps = false;
        if (_enabled.Find(e => e is MonitorEvent.SingleStep) is { } spare)
        {
            _enabled.Remove(spare);
            attempt($"disabling {spare}", () => monitor.Disable(spare));
        }
    }

    private static bool IsSameEvent(MonitorEvent a, MonitorEvent b) => (a, b) switch
    {
        (MonitorEvent.ControlRegister one, MonitorEvent.ControlRegister other) => one.Register == other.Register,
        (MonitorEvent.Msr one, MonitorEvent.Msr other) => one.Number == other.Number,
        _ => a.GetType() == b.GetType(),
    };

    private void ChangeRep(SubscriptionPlan next, Stack<(string What, Action Action)> undo)
    {
        var before = _emulatesEachRep;
        EmulateEachRep(next.EmulateEachRep);
        undo.Push(("emulating REP instructions as before", () => EmulateEachRep(before)));
    }

    private List<MonitorEvent> ChangeEvents(SubscriptionPlan next, Action<string> leftOut, Stack<(string What, Action Action)> undo)
    {
        var gone = _enabled.FindAll(old => !next.Events.Any(wanted => IsSameEvent(old, wanted)));
        foreach (var wanted in next.Events)
        {
            var index = _enabled.FindIndex(old => IsSameEvent(old, wanted));
            if (index < 0)
            {
                if (Enable(wanted, next, leftOut))
                {
                    undo.Push(($"forgetting {wanted}", () => _enabled.Remove(wanted)));
                    undo.Push(($"disabling {wanted}", () => monitor.Disable(wanted)));
                }

                continue;
            }

            var old = _enabled[index];
            if (old != wanted && !watching.IsSuspended(old))
            {
                // Xen refuses to enable what is enabled, whatever the options.
                Do($"disabling {old}", () => monitor.Disable(old));
                undo.Push(($"enabling {old}", () => monitor.Enable(old)));
                Do($"enabling {wanted}", () => monitor.Enable(wanted));
                undo.Push(($"disabling {wanted}", () => monitor.Disable(wanted)));
            }

            // Also an equal one, since the stepper knows its events by reference.
            _enabled[index] = wanted;
            undo.Push(($"remembering {old}", () => _enabled[index] = old));
        }

        return gone;
    }

    private void ChangeRights(SubscriptionPlan next, Stack<(string What, Action Action)> undo)
    {
        var differences = _plan.Rights.Differences(next.Rights);
        if (differences.Count == 0)
        {
            return;
        }

        undo.Push(("lifting pages that are stepped over", watching.LiftAgain));
        foreach (var run in differences)
        {
            // Noted first: a refused call may have changed some of its pages.
            undo.Push(($"giving back the rights of {run.Count} pages from {new Gfn(run.First)}", () => SetAccess(run.First, run.Count, page => _plan.Rights[page])));
            Do($"restricting {run.Count} pages from {new Gfn(run.First)} to {run.Access}", () => monitor.SetMemoryAccess(new(run.First), run.Count, run.Access));
        }

        // A vCPU that was let past an access must not fault on it again.
        Do("lifting pages that are stepped over", watching.LiftAgain);
        List<RightsRun> before = [.. _restricted];
        undo.Push(("remembering the rights", () => Remember(before)));
        Remember([.. next.Rights.Runs]);

        void Remember(List<RightsRun> runs)
        {
            _restricted.Clear();
            _restricted.AddRange(runs);
        }
    }

    private void SetAccess(ulong first, uint count, Func<ulong, MemoryAccess> rights)
    {
        for (var i = 0u; i < count; i++)
        {
            monitor.SetMemoryAccess(new(first + i), 1, rights(first + i));
        }
    }

    private void ChangeBreakpoints(SubscriptionPlan next, Stack<(string What, Action Action)> undo, Func<string, Action, bool> attempt)
    {
        if (_plan.Breakpoints.SequenceEqual(next.Breakpoints))
        {
            return;
        }

        var added = next.Breakpoints.Except(_plan.Breakpoints).ToArray();
        watching.AddBreakpoints(added);
        undo.Push(("taking out new breakpoints", () => watching.RetireBreakpoints(_plan.Breakpoints, attempt)));
        foreach (var address in added)
        {
            Do($"putting a breakpoint at {new GuestPhysical(address)}", () => watching.Breakpoints.InsertAt(address));
        }
    }

    // No vCPU steps, so that nothing of the old views is in use.
    private void WatchAnew(SubscriptionPlan next, Func<string, Action, bool> attempt, Stack<(string What, Action Action)> undo)
    {
        var old = _plan;
        undo.Push(("watching as before", () => Rewatch(old)));
        Rewatch(next);

        void Rewatch(SubscriptionPlan plan)
        {
            StopWatching(attempt);
            watching.Restart(plan);
            Watch(plan);
        }
    }

    private void StopWatching(Func<string, Action, bool> attempt)
    {
        _view?.Leave(attempt);
        _view = null;
        watching.Breakpoints.RemoveAll(attempt);
        GiveRightsBack(attempt);
    }
}
