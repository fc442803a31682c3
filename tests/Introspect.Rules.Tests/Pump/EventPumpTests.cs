using Introspect.Hypervisor.Abi;
using Introspect.Rules.Handlers;
using Introspect.Rules.Pump;
using Introspect.Rules.Tests.Mocks;

namespace Introspect.Rules.Tests.Pump;

public class EventPumpTests
{
    [Fact]
    public void A_full_ring_is_drained_at_one_wake_up_with_one_notification()
    {
        var handler = PumpRig.Handler("a", Verdict.Pass);
        using var rig = new PumpRig(handler).Start();

        rig.Exchange([.. Enumerable.Range(0, MockMonitor.Slots).Select(_ => Requests.Cpuid())]);

        Assert.Equal(MockMonitor.Slots, handler.Calls);
        Assert.Equal(1, rig.Monitor.Notifications);
        Assert.Equal(1, rig.Pump.Statistics.Batches);
        Assert.Equal(1, rig.Pump.Statistics.RingFullCount);
        Assert.Equal(MockMonitor.Slots, rig.Pump.Statistics.MaxRingOccupancy);
    }

    [Fact]
    public void The_answer_is_written_after_the_handler_and_before_the_notification()
    {
        MockDomain? domain = null;
        var handler = PumpRig.Handler("a", (ref readonly VmEvent _, ref HandlerContext _) =>
        {
            domain!.Log.Called("Handle");
            return Verdict.Pass;
        });
        using var rig = new PumpRig(handler);
        domain = rig.Domain;
        rig.Start();

        rig.Exchange(Requests.Cpuid(), Requests.Cpuid());

        var calls = rig.Domain.Log.Calls.Where(call => call is "TryTake" or "Handle" or "Notify" || call.StartsWith("Respond", StringComparison.Ordinal));
        Assert.Equal(["TryTake", "Handle", "Respond Cpuid", "TryTake", "Handle", "Respond Cpuid", "TryTake", "Notify"], calls.Take(8));
    }

    [Fact]
    public void Handlers_are_asked_by_order_then_by_name_and_the_first_opinion_wins()
    {
        var asked = new List<string>();
        HandlerRegistration Register(string name, int order, Verdict verdict) => new(
            PumpRig.Handler(name, (ref readonly VmEvent _, ref HandlerContext _) =>
            {
                asked.Add(name);
                return verdict;
            }),
            order);
        using var rig = new PumpRig(
            new PumpOptions(),
            Register("d", 5, Verdict.Allow),
            Register("c", 1, Verdict.Deny),
            Register("b", 1, Verdict.Pass),
            Register("a", 2, Verdict.Allow),
            Register("e", -1, Verdict.Pass)).Start();

        var response = Assert.Single(rig.Exchange(PumpRig.Cr4Write()));

        Assert.Equal(["e", "b", "c"], asked);
        Assert.Equal(VmEventFlags.VcpuPaused | VmEventFlags.Deny, response.Flags);
        Assert.Equal(["e", "b", "c", "a", "d"], rig.Pump.Statistics.Handlers.Select(handler => handler.Name));
        Assert.Equal("c", Assert.Single(rig.DrainRecords()).Handler);
    }

    [Fact]
    public void An_observer_sees_what_was_decided_and_cannot_change_it()
    {
        var seen = new List<(bool, Verdict)>();
        var first = PumpRig.Handler("a", (ref readonly VmEvent _, ref HandlerContext context) =>
        {
            context.Registers.Rax = 1;
            return Verdict.Allow.WithRegisters();
        });
        var observer = new TestHandler("b", subscription => subscription.Cpuid().ObserveDecided(), (ref readonly VmEvent _, ref HandlerContext context) =>
        {
            seen.Add((context.IsDecided, context.DecidedVerdict));
            context.Registers.Rax = 2;
            context.SetEmulationReadData([9]);
            return Verdict.Deny;
        });
        using var rig = new PumpRig(first, observer).Start();

        var response = Assert.Single(rig.Exchange(Requests.Cpuid()));

        Assert.Equal([(true, Verdict.Allow.WithRegisters())], seen);
        Assert.Equal(1ul, response.Registers.Rax);
        Assert.Equal(Requests.Rip + 2, response.Registers.Rip);
    }

    [Fact]
    public void What_a_handler_that_passes_wrote_does_not_reach_the_next_one()
    {
        ulong seen = 0;
        var first = PumpRig.Handler("a", (ref readonly VmEvent _, ref HandlerContext context) =>
        {
            context.Registers.Rax = 1;
            return Verdict.Pass;
        });
        var second = PumpRig.Handler("b", (ref readonly VmEvent request, ref HandlerContext context) =>
        {
            seen = context.Registers.Rax;
            return Verdict.Allow.WithRegisters();
        });
        using var rig = new PumpRig(first, second).Start();

        rig.Exchange(Requests.Cpuid());

        Assert.Equal(Requests.Cpuid().Registers.Rax, seen);
    }

    [Fact]
    public void A_handler_sees_only_what_it_subscribed_to()
    {
        var wide = new TestHandler("wide", subscription => subscription.ControlRegister(ControlRegisterIndex.Cr4), Verdict.Pass);
        var narrow = new TestHandler("narrow", subscription => subscription.ControlRegister(ControlRegisterIndex.Cr4, 1 << 20), Verdict.Pass);
        using var rig = new PumpRig(wide, narrow).Start();

        rig.Exchange(Requests.ControlRegister(ControlRegisterIndex.Cr4, 1 << 7, 0), Requests.ControlRegister(ControlRegisterIndex.Cr4, 1 << 20, 0));

        Assert.Equal(2, wide.Calls);
        Assert.Equal(1, narrow.Calls);
    }

    [Fact]
    public void A_record_tells_the_event_and_what_became_of_it()
    {
        using var rig = new PumpRig(PumpRig.Handler("judge", Verdict.Deny)).Start();

        rig.Exchange(PumpRig.Cr4Write(vcpu: 1), Requests.Cpuid(leaf: 7, sync: false));

        var records = rig.DrainRecords();
        Assert.Equal([1ul, 2ul], records.Select(record => record.Sequence));
        Assert.All(records, record => Assert.Equal(7, record.Domain.Value));
        var denied = records[0];
        Assert.Equal(VmEventReason.WriteCtrlreg, denied.Reason);
        Assert.Equal(1u, denied.Vcpu.Value);
        Assert.Equal(Verdict.Deny, denied.Verdict);
        Assert.Equal("judge", denied.Handler);
        Assert.Equal(VmEventFlags.VcpuPaused | VmEventFlags.Deny, denied.ResponseFlags);
        Assert.Equal(0x300000ul, denied.Event.WriteCtrlreg.OldValue);
        Assert.Equal(DateTimeKind.Utc, denied.Time.Kind);
        Assert.True(denied.IsSync);
        Assert.True(denied.PausedTime >= denied.HandlingTime);
        Assert.False(records[1].IsSync);
        Assert.Equal(TimeSpan.Zero, records[1].PausedTime);
        Assert.Equal(7u, records[1].Event.Cpuid.Leaf);
    }

    [Fact]
    public void Times_of_records_follow_the_clock()
    {
        var clock = new ManualClock();
        var handler = PumpRig.Handler("a", (ref readonly VmEvent _, ref HandlerContext _) =>
        {
            clock.Advance(TimeSpan.FromMilliseconds(1));
            return Verdict.Pass;
        });
        using var rig = new PumpRig(new PumpOptions { Clock = clock }, new HandlerRegistration(handler)).Start();

        rig.Exchange(Requests.Cpuid(), Requests.Cpuid(), Requests.Cpuid());

        var records = rig.DrainRecords();
        Assert.All(records, record => Assert.Equal(TimeSpan.FromMilliseconds(1), record.HandlingTime));

        // All three were in the ring at the wake-up, and none goes on before the notification.
        Assert.All(records, record => Assert.Equal(TimeSpan.FromMilliseconds(3), record.PausedTime));
        Assert.Equal([0.0, 1.0, 2.0], records.Select(record => record.Elapsed.TotalMilliseconds));
        Assert.Equal(TimeSpan.FromMilliseconds(9), rig.Pump.Statistics.VcpuPausedTime);
        Assert.Equal(TimeSpan.FromMilliseconds(3), rig.Pump.Statistics.HandlingTime);
        Assert.Equal(3, rig.Pump.Statistics.HandlingBucket(PumpStatistics.HandlingBounds.IndexOf(1e-3)));
    }

    [Fact]
    public void The_pumps_own_steps_and_unwatched_accesses_are_shown_to_nobody()
    {
        var handler = new TestHandler("a", subscription => subscription.Memory(new(0x10), 1, MemAccessFlags.Write).Singlestep(), Verdict.Pass);
        using var rig = new PumpRig(handler).Start();

        rig.Exchange(Requests.MemAccess(0x10, MemAccessFlags.Write));
        rig.Exchange(Requests.Step());
        rig.Exchange(Requests.MemAccess(0x10, MemAccessFlags.Read));
        rig.Exchange(Requests.Step());

        Assert.Equal(1, handler.Calls);
        Assert.Equal(3, rig.Pump.Statistics.InternalEvents);
        Assert.Equal(4, rig.Pump.Statistics.TotalEvents);
        Assert.Equal(MemoryAccess.Rx, rig.Monitor.Access[0x10]);
        Assert.Single(rig.DrainRecords());
    }

    [Fact]
    public void Steps_that_a_handler_asked_for_are_shown_to_it_until_it_ends_them()
    {
        var steps = 0;
        var handler = new TestHandler("a", subscription => subscription.GuestRequest().Singlestep(), (ref readonly VmEvent request, ref HandlerContext _) =>
            request.Reason == VmEventReason.GuestRequest ? Verdict.Allow.WithSinglestepOn()
            : ++steps == 3 ? Verdict.Allow.WithSinglestepOff()
            : Verdict.Allow);
        using var rig = new PumpRig(handler).Start();

        rig.Exchange(Requests.Make(VmEventReason.GuestRequest));
        Assert.True(rig.Monitor.IsStepping(0));
        for (var i = 0; i < 3; i++)
        {
            rig.Exchange(Requests.Step());
        }

        Assert.False(rig.Monitor.IsStepping(0));
        Assert.Equal(3, steps);
    }

    [Theory]
    [InlineData(VmEventReason.Cpuid, 2u)]
    [InlineData(VmEventReason.MemAccess, uint.MaxValue)]
    [InlineData(VmEventReason.Unknown, 0u)]
    [InlineData((VmEventReason)17, 0u)]
    [InlineData((VmEventReason)uint.MaxValue, 1u)]
    public void A_request_that_makes_no_sense_is_echoed_and_counted(VmEventReason reason, uint vcpu)
    {
        var handler = PumpRig.Handler("a", Verdict.Deny);
        using var rig = new PumpRig(handler).Start();

        var response = Assert.Single(rig.Exchange(Requests.Make(reason, vcpu)));

        Assert.Equal(VmEventFlags.VcpuPaused, response.Flags & ~VmEventFlags.SetRegisters);
        Assert.Equal(vcpu, response.VcpuId);
        Assert.Equal(0, handler.Calls);
        Assert.Equal(1, rig.Pump.Statistics.MalformedRequests);
    }

    [Fact]
    public void Requests_that_the_monitor_skipped_count_as_malformed()
    {
        using var rig = new PumpRig(PumpRig.Handler("a", Verdict.Pass)).Start();
        rig.Monitor.MalformedRequests = 3;
        rig.Exchange(Requests.Cpuid());
        rig.Monitor.MalformedRequests = 5;
        rig.Exchange(Requests.Cpuid());

        rig.Pump.Stop();

        Assert.Equal(5, rig.Pump.Statistics.MalformedRequests);
    }

    [Fact]
    public void A_verdict_without_a_meaning_is_counted_for_its_handler_and_told_ever_more_rarely()
    {
        using var rig = new PumpRig(PumpRig.Handler("odd", Verdict.Emulate)).Start();

        for (var i = 0; i < 5; i++)
        {
            var response = Assert.Single(rig.Exchange(Requests.Cpuid()));
            Assert.Equal(VmEventFlags.VcpuPaused | VmEventFlags.SetRegisters, response.Flags);
        }

        Assert.Equal(5, rig.Pump.Statistics.IgnoredVerdicts);
        Assert.Equal(5, Assert.Single(rig.Pump.Statistics.Handlers).IgnoredVerdicts);
        Assert.Equal([1L, 2L, 4L], rig.Diagnostics.Of(PumpDiagnosticKind.VerdictIgnored).Select(diagnostic => diagnostic.Count));
    }

    [Fact]
    public void Statistics_count_by_reason_and_by_flag()
    {
        using var rig = new PumpRig(PumpRig.Handler("a", Verdict.Deny)).Start();

        rig.Exchange(PumpRig.Cr4Write(), PumpRig.Cr4Write(), Requests.Cpuid(), Requests.Breakpoint());
        rig.Pump.Stop();

        var statistics = rig.Pump.Statistics;
        Assert.Equal(2, statistics.Events(VmEventReason.WriteCtrlreg));
        Assert.Equal(1, statistics.Events(VmEventReason.Cpuid));
        Assert.Equal(0, statistics.Events(VmEventReason.MovToMsr));
        Assert.Equal(4, statistics.TotalEvents);
        Assert.Equal(4, statistics.TotalResponses);
        Assert.Equal(2, statistics.Responses(VmEventFlags.Deny));
        Assert.Equal(1, statistics.Responses(VmEventFlags.SetRegisters));
        Assert.Equal(4, statistics.Responses(VmEventFlags.VcpuPaused));
        Assert.Equal(1, statistics.InjectedTraps);
        Assert.Equal(4, Enumerable.Range(0, PumpStatistics.HandlingBounds.Length + 1).Sum(statistics.HandlingBucket));
        Assert.Throws<ArgumentOutOfRangeException>(() => statistics.Responses(VmEventFlags.Deny | VmEventFlags.Emulate));
        Assert.Throws<ArgumentOutOfRangeException>(() => statistics.Responses(VmEventFlags.None));
        var handler = Assert.Single(statistics.Handlers);
        Assert.Equal(3, handler.Calls);
        Assert.Equal(3, handler.Decisions);
    }

    [Fact]
    public void Two_handlers_of_one_name_are_refused()
    {
        using var domain = new MockDomain();

        var refused = Assert.Throws<ArgumentException>(() =>
            new EventPump(domain, [new(PumpRig.Handler("twin", Verdict.Pass)), new(PumpRig.Handler("twin", Verdict.Pass))]));

        Assert.Contains("2 handlers are called twin", refused.Message, StringComparison.Ordinal);
        Assert.Empty(domain.Log.Calls);
    }
}
