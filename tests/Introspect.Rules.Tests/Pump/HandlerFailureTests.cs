using Introspect.Hypervisor.Abi;
using Introspect.Rules.Handlers;
using Introspect.Rules.Pump;
using Introspect.Rules.Tests.Mocks;

namespace Introspect.Rules.Tests.Pump;

public class HandlerFailureTests
{
    private const VmEventFlags Paused = VmEventFlags.VcpuPaused;

    private readonly ManualClock _clock = new();

    [Fact]
    public void A_handler_that_throws_is_answered_for_and_the_next_is_asked()
    {
        var next = PumpRig.Handler("b", Verdict.Deny);
        using var rig = Rig(Throwing("a"), FailPolicy.Open, next);

        var response = Assert.Single(rig.Exchange(PumpRig.Cr4Write()));

        Assert.Equal(Paused | VmEventFlags.Deny, response.Flags);
        Assert.Equal(1, next.Calls);
        Assert.Equal(1, rig.Pump.Statistics.HandlerFailures);
        var told = Assert.Single(rig.Diagnostics.Of(PumpDiagnosticKind.HandlerFailed));
        Assert.Equal("a", told.Handler);
        Assert.Equal(VmEventReason.WriteCtrlreg, told.Reason);
        Assert.IsType<FormatException>(told.Exception);
    }

    [Fact]
    public void A_closed_handler_that_throws_denies()
    {
        var next = PumpRig.Handler("b", Verdict.Allow);
        using var rig = Rig(Throwing("a"), FailPolicy.Closed, next);

        Assert.Equal(Paused | VmEventFlags.Deny, Assert.Single(rig.Exchange(PumpRig.Cr4Write())).Flags);

        Assert.Equal(0, next.Calls);
        Assert.Equal("a", Assert.Single(rig.DrainRecords()).Handler);
    }

    [Fact]
    public void Where_denying_is_not_possible_a_closed_handler_is_open_and_that_is_not_its_fault()
    {
        using var rig = Rig(Throwing("a"), FailPolicy.Closed);

        Assert.Equal(Paused | VmEventFlags.SetRegisters, Assert.Single(rig.Exchange(Requests.Cpuid())).Flags);

        Assert.Equal(0, rig.Pump.Statistics.IgnoredVerdicts);
    }

    [Fact]
    public void What_a_handler_wrote_before_it_threw_is_undone()
    {
        var handler = PumpRig.Handler("a", (ref readonly VmEvent _, ref HandlerContext context) =>
        {
            context.Registers.Rax = 0xbad;
            throw new FormatException("half done");
        });
        using var rig = Rig(handler, FailPolicy.Open);

        var response = Assert.Single(rig.Exchange(PumpRig.Cr4Write()));

        Responses.Bench.SameBytes(PumpRig.Cr4Write(), response);
    }

    [Fact]
    public void A_late_verdict_counts_and_so_does_the_overrun()
    {
        using var rig = Rig(Slow("a", TimeSpan.FromMilliseconds(6), Verdict.Deny), FailPolicy.Open);

        Assert.Equal(Paused | VmEventFlags.Deny, Assert.Single(rig.Exchange(PumpRig.Cr4Write())).Flags);

        Assert.Equal(1, rig.Pump.Statistics.HandlerOverruns);
        Assert.Equal(1, rig.Pump.Statistics.Handlers[0].Overruns);
        Assert.Contains("took 6 ms", Assert.Single(rig.Diagnostics.Of(PumpDiagnosticKind.HandlerOverran)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_handler_within_its_budget_is_not_counted()
    {
        using var rig = Rig(Slow("a", TimeSpan.FromMilliseconds(5), Verdict.Deny), FailPolicy.Open);

        rig.Exchange(PumpRig.Cr4Write());

        Assert.Equal(0, rig.Pump.Statistics.HandlerOverruns);
    }

    [Fact]
    public void A_handler_may_have_a_budget_of_its_own()
    {
        var options = new PumpOptions { Clock = _clock };
        using var rig = new PumpRig(options, new HandlerRegistration(Slow("a", TimeSpan.FromMilliseconds(6), Verdict.Pass), Budget: TimeSpan.FromMilliseconds(10))).Start();

        rig.Exchange(PumpRig.Cr4Write());

        Assert.Equal(0, rig.Pump.Statistics.HandlerOverruns);
    }

    [Fact]
    public void A_handler_that_keeps_failing_is_disabled_tried_again_and_back_when_it_works()
    {
        var works = false;
        var handler = PumpRig.Handler("a", (ref readonly VmEvent _, ref HandlerContext _) => works ? Verdict.Deny : throw new FormatException("no"));
        using var rig = Rig(handler, FailPolicy.Open);
        var statistics = rig.Pump.Statistics.Handlers[0];

        for (var i = 0; i < 5; i++)
        {
            rig.Exchange(PumpRig.Cr4Write());
        }

        Assert.Equal(3, handler.Calls);
        Assert.True(statistics.IsDisabled);
        Assert.Equal(1, statistics.BreakerTrips);

        _clock.Advance(TimeSpan.FromSeconds(30));
        rig.Exchange(PumpRig.Cr4Write(), PumpRig.Cr4Write());
        Assert.Equal(4, handler.Calls);
        Assert.Equal(2, statistics.BreakerTrips);
        Assert.True(statistics.IsDisabled);

        _clock.Advance(TimeSpan.FromSeconds(30));
        works = true;
        Assert.All(rig.Exchange(PumpRig.Cr4Write(), PumpRig.Cr4Write()), response => Assert.Equal(Paused | VmEventFlags.Deny, response.Flags));
        Assert.Equal(6, handler.Calls);
        Assert.False(statistics.IsDisabled);
        Assert.Equal(2, rig.Diagnostics.Of(PumpDiagnosticKind.HandlerDisabled).Count());
        Assert.Equal(3, rig.Diagnostics.Of(PumpDiagnosticKind.HandlerEnabled).Count());
    }

    [Fact]
    public void A_disabled_closed_handler_goes_on_denying()
    {
        var handler = Throwing("a");
        using var rig = Rig(handler, FailPolicy.Closed);

        for (var i = 0; i < 6; i++)
        {
            Assert.Equal(Paused | VmEventFlags.Deny, Assert.Single(rig.Exchange(PumpRig.Cr4Write())).Flags);
        }

        Assert.Equal(3, handler.Calls);
    }

    [Fact]
    public void A_slow_handler_is_disabled_too()
    {
        var handler = Slow("a", TimeSpan.FromMilliseconds(400), Verdict.Pass);
        using var rig = Rig(handler, FailPolicy.Open);

        for (var i = 0; i < 5; i++)
        {
            rig.Exchange(PumpRig.Cr4Write());
        }

        Assert.Equal(3, handler.Calls);
    }

    [Fact]
    public void A_handler_that_is_a_little_late_now_and_then_is_asked_all_the_same()
    {
        var handler = Slow("a", TimeSpan.FromMilliseconds(6), Verdict.Pass);
        using var rig = Rig(handler, FailPolicy.Open);

        for (var i = 0; i < 20; i++)
        {
            rig.Exchange(PumpRig.Cr4Write());
        }

        Assert.Equal((20, 20, 0), (handler.Calls, rig.Pump.Statistics.HandlerOverruns, rig.Pump.Statistics.BreakerTrips));
    }

    [Fact]
    public void A_failing_observer_changes_nothing_of_what_was_decided()
    {
        var observer = new TestHandler("b", subscription => subscription.Cpuid().ControlRegister(ControlRegisterIndex.Cr4).ObserveDecided(), (ref readonly VmEvent _, ref HandlerContext _) => throw new FormatException("no"));
        using var rig = Rig(PumpRig.Handler("a", Verdict.Deny), FailPolicy.Open, observer);

        Assert.Equal(Paused | VmEventFlags.Deny, Assert.Single(rig.Exchange(PumpRig.Cr4Write())).Flags);

        Assert.Equal("a", Assert.Single(rig.DrainRecords()).Handler);
    }

    [Fact]
    public void An_exception_that_throws_when_it_is_read_does_no_harm()
    {
        using var rig = Rig(PumpRig.Handler("a", (ref readonly VmEvent _, ref HandlerContext _) => throw new HostileException()), FailPolicy.Open);

        Assert.Equal(Paused, Assert.Single(rig.Exchange(PumpRig.Cr4Write())).Flags);
        Assert.Equal(Paused, Assert.Single(rig.Exchange(PumpRig.Cr4Write())).Flags);

        Assert.Equal(2, rig.Pump.Statistics.HandlerFailures);
    }

    [Fact]
    public void A_listener_that_throws_is_ignored()
    {
        using var domain = new MockDomain();
        using var pump = new EventPump(domain, [new(Throwing("a"))], new PumpOptions(), new ThrowingDiagnostics());
        pump.Start();

        domain.Monitor.Push(PumpRig.Cr4Write());
        domain.Monitor.WaitForResponses(1);
        pump.Stop();

        Assert.Equal(1, pump.Statistics.HandlerFailures);
        Assert.True(domain.Monitor.IsDisposed);
    }

    private static TestHandler Throwing(string name) =>
        PumpRig.Handler(name, (ref readonly VmEvent _, ref HandlerContext _) => throw new FormatException("cannot"));

    private TestHandler Slow(string name, TimeSpan time, Verdict verdict) => PumpRig.Handler(name, (ref readonly VmEvent _, ref HandlerContext _) =>
    {
        _clock.Advance(time);
        return verdict;
    });

    private PumpRig Rig(TestHandler handler, FailPolicy policy, params TestHandler[] others) => new PumpRig(
        new PumpOptions { Clock = _clock, BreakerThreshold = 3 },
        [new HandlerRegistration(handler, FailPolicy: policy), .. others.Select(other => new HandlerRegistration(other))]).Start();

    private sealed class HostileException : Exception
    {
        public override string Message => throw new FormatException("no text either");
    }

    private sealed class ThrowingDiagnostics : IPumpDiagnostics
    {
        public void Report(PumpDiagnostic diagnostic) => throw new FormatException("no");
    }
}
