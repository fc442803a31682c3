using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;
using Introspect.Rules.Responses;

namespace Introspect.Rules.Pump;

/// <summary>What a pump has enabled on a monitor: enabling it all, and taking it all back, piece by piece.</summary>
internal sealed partial class PumpAttachment(IMonitor monitor, SubscriptionPlan plan, DomainId domain, MemoryAccessStepper watching)
{
    private readonly List<MonitorEvent> _enabled = [];
    private readonly List<RightsRun> _restricted = [];
    private SubscriptionPlan _plan = plan;
    private PumpView? _view;
    private bool _emulatesEachRep;
    private bool _holdsWritesBack;

    /// <summary>What is enabled.</summary>
    public IReadOnlyList<MonitorEvent> Enabled => _enabled;

    /// <summary>Enables what the plan says. The caller holds the domain paused.</summary>
    /// <param name="leftOut">Is told of optional events that the hypervisor refused.</param>
    /// <exception cref="PumpStartException">The hypervisor refused; what was enabled before is for <see cref="Detach"/>.</exception>
    public void Attach(Action<string> leftOut)
    {
        HoldWritesBack(_plan);
        EmulateEachRep(_plan.EmulateEachRep);
        foreach (var monitorEvent in _plan.Events)
        {
            Enable(monitorEvent, _plan, leftOut);
        }

        Watch(_plan);
    }

    /// <summary>Disables everything, but single steps where asked to keep them. The caller holds the domain paused.</summary>
    /// <param name="stepper">Knows which events are disabled already.</param>
    /// <param name="keepSteps">A vCPU is in a step whose end must still be told.</param>
    /// <param name="attempt">Does a thing and tells what went wrong.</param>
    public void Detach(MemoryAccessStepper? stepper, bool keepSteps, Func<string, Action, bool> attempt)
    {
        // First, so that none of them runs into an event that is not enabled any more.
        _view?.Leave(attempt);
        watching.Breakpoints.RemoveAll(attempt);
        for (var i = _enabled.Count - 1; i >= 0; i--)
        {
            var monitorEvent = _enabled[i];
            if (keepSteps && monitorEvent is MonitorEvent.SingleStep)
            {
                continue;
            }

            _enabled.RemoveAt(i);
            if (stepper?.IsSuspended(monitorEvent) != true)
            {
                attempt($"disabling {monitorEvent}", () => monitor.Disable(monitorEvent));
            }
        }

        GiveRightsBack(attempt);
        if (_emulatesEachRep)
        {
            _emulatesEachRep = false;
            attempt("ending the emulation of each REP iteration", () => monitor.EmulateEachRep(false));
        }
    }

    private void HoldWritesBack(SubscriptionPlan plan)
    {
        if (plan.MayDeny && !_holdsWritesBack)
        {
            Do("holding back register writes, which denying needs (Xen 4.14 or later)", monitor.ControlRegisters);
            _holdsWritesBack = true;
        }
    }

    private void EmulateEachRep(bool wanted)
    {
        if (wanted != _emulatesEachRep)
        {
            Do("emulating each iteration of REP instructions", () => monitor.EmulateEachRep(wanted));
            _emulatesEachRep = wanted;
        }
    }

    // False: it was left out, as it may be.
    private bool Enable(MonitorEvent monitorEvent, SubscriptionPlan plan, Action<string> leftOut)
    {
        try
        {
            monitor.Enable(monitorEvent);
            _enabled.Add(monitorEvent);
            return true;
        }
        catch (HypervisorException refused) when (refused.Error == Errno.EOPNOTSUPP && plan.IsOptional(monitorEvent))
        {
            leftOut($"{monitorEvent} is left out: {refused.Message}");
            return false;
        }
        catch (HypervisorException refused)
        {
            throw Refused($"enabling {monitorEvent}", refused);
        }
    }

    // Rights and breakpoints, in a view or in the host's own table.
    private void Watch(SubscriptionPlan plan)
    {
        if (watching.View is { } view)
        {
            _view = view;
            Do("making an altp2m view", view.Enter);
            return;
        }

        foreach (var run in plan.Rights.Runs)
        {
            // Noted first: a refused call may have changed some of its pages.
            _restricted.Add(run);
            var (first, count, access) = run;
            Do($"restricting {count} pages from {new Gfn(first)} to {access}", () => monitor.SetMemoryAccess(new(first), count, access));
        }

        var at = default(GuestPhysical);
        try
        {
            watching.Breakpoints.InsertAll(address => at = address);
        }
        catch (HypervisorException refused)
        {
            throw Refused($"putting a breakpoint at {at}", refused);
        }
    }

    private void GiveRightsBack(Func<string, Action, bool> attempt)
    {
        for (var i = _restricted.Count - 1; i >= 0; i--)
        {
            var (first, count, _) = _restricted[i];
            attempt($"giving back the rights of {count} pages from {new Gfn(first)}", () => monitor.SetMemoryAccess(new(first), count, MemoryAccess.Rwx));
        }

        _restricted.Clear();
    }

    private void Do(string what, Action action)
    {
        try
        {
            action();
        }
        catch (HypervisorException refused)
        {
            throw Refused(what, refused);
        }
    }

    private PumpStartException Refused(string what, HypervisorException refused) =>
        new($"{what} on domain {domain} was refused: {refused.Message}", refused);
}
