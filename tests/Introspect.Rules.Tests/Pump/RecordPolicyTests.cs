using Introspect.Hypervisor.Abi;
using Introspect.Rules.Handlers;
using Introspect.Rules.Pump;
using Introspect.Rules.Tests.Mocks;

namespace Introspect.Rules.Tests.Pump;

public class RecordPolicyTests
{
    private static HandlerRegistration Handler => new(PumpRig.Handler("a", Verdict.Pass));

    [Fact]
    public void The_newest_records_are_dropped_and_counted_and_the_guest_is_not_slowed()
    {
        using var rig = new PumpRig(new PumpOptions { RecordCapacity = 3 }, Handler).Start();

        rig.Exchange([.. Enumerable.Range(0, 8).Select(_ => Requests.Cpuid())]);
        rig.Pump.Stop();

        Assert.Equal([1ul, 2ul, 3ul], rig.DrainRecords().Select(record => record.Sequence));
        Assert.Equal(3, rig.Pump.Statistics.PublishedRecords);
        Assert.Equal(5, rig.Pump.Statistics.DroppedRecords);
    }

    [Fact]
    public void A_gap_in_the_sequence_tells_what_was_dropped()
    {
        using var rig = new PumpRig(new PumpOptions { RecordCapacity = 2 }, Handler).Start();
        rig.Exchange(Requests.Cpuid(), Requests.Cpuid(), Requests.Cpuid());
        Assert.True(SpinWait.SpinUntil(() => rig.Pump.Statistics.DroppedRecords == 1, TimeSpan.FromSeconds(30)));

        var early = rig.ReadRecords();
        rig.Exchange(Requests.Cpuid());
        rig.Pump.Stop();

        Assert.Equal([1ul, 2ul], early.Select(record => record.Sequence));
        Assert.Equal([4ul], rig.DrainRecords().Select(record => record.Sequence));
    }

    [Fact]
    public async Task Back_pressure_loses_nothing_and_answers_before_it_waits()
    {
        const int Events = 500;
        using var rig = new PumpRig(new PumpOptions { RecordCapacity = 2, RecordPolicy = RecordPolicy.Block, IdleInterval = TimeSpan.FromMilliseconds(5) }, Handler).Start();

        // The batch is answered although its records have no room.
        rig.Exchange([.. Enumerable.Range(0, 8).Select(_ => Requests.Cpuid())]);
        var guest = Task.Run(() =>
        {
            for (var i = 8; i < Events; i++)
            {
                rig.Monitor.Push(Requests.Cpuid());
            }
        });
        for (var next = 1ul; next <= Events; next++)
        {
            var record = await rig.Pump.Records.ReadAsync().AsTask().WaitAsync(TimeSpan.FromSeconds(30));
            Assert.Equal(next, record.Sequence);
        }

        await guest;
        rig.Pump.Stop();
        Assert.Equal(0, rig.Pump.Statistics.DroppedRecords);
        rig.AssertNothingIsLeft();
    }

    [Fact]
    public void Sinks_that_died_do_not_hold_up_a_stop_for_ever()
    {
        var options = new PumpOptions { RecordCapacity = 1, RecordPolicy = RecordPolicy.Block, StopTimeout = TimeSpan.FromMilliseconds(30) };
        using var rig = new PumpRig(options, Handler).Start();
        rig.Exchange(Requests.Cpuid(), Requests.Cpuid(), Requests.Cpuid());

        rig.Pump.Stop();

        rig.AssertNothingIsLeft();
        Assert.Equal(2, rig.Pump.Statistics.DroppedRecords);
        Assert.Single(rig.DrainRecords());
    }

    [Fact]
    public void A_pump_that_waits_for_its_sinks_is_not_taken_for_one_that_hangs()
    {
        var clock = new ManualClock();
        var options = new PumpOptions { RecordCapacity = 1, RecordPolicy = RecordPolicy.Block, Clock = clock, IdleInterval = TimeSpan.FromMilliseconds(2), StopTimeout = TimeSpan.FromMilliseconds(20) };
        using var rig = new PumpRig(options, Handler).Start();
        rig.Exchange(Requests.Cpuid(), Requests.Cpuid());

        clock.Advance(TimeSpan.FromHours(1));

        Assert.True(SpinWait.SpinUntil(() => rig.Pump.Statistics.SinceLastActivity == TimeSpan.Zero, TimeSpan.FromSeconds(30)));
    }

    [Fact]
    public void A_pump_in_a_handler_shows_when_it_was_last_seen()
    {
        var clock = new ManualClock();
        using var entered = new ManualResetEventSlim();
        using var release = new ManualResetEventSlim();
        var handler = PumpRig.Handler("a", (ref readonly VmEvent _, ref HandlerContext _) =>
        {
            entered.Set();
            release.Wait();
            return Verdict.Pass;
        });
        using var rig = new PumpRig(new PumpOptions { Clock = clock }, new HandlerRegistration(handler)).Start();
        rig.Monitor.Push(Requests.Cpuid());
        entered.Wait();

        clock.Advance(TimeSpan.FromMinutes(1));

        Assert.Equal(TimeSpan.FromMinutes(1), rig.Pump.Statistics.SinceLastActivity);
        release.Set();
        rig.Monitor.WaitForResponses(1);
    }

    [Fact]
    public void No_records_are_made_where_none_are_wanted()
    {
        using var rig = new PumpRig(new PumpOptions { RecordPolicy = RecordPolicy.None }, Handler).Start();

        rig.Exchange(Requests.Cpuid());
        rig.Pump.Stop();

        Assert.Empty(rig.DrainRecords());
        Assert.Equal(0, rig.Pump.Statistics.DroppedRecords);
        Assert.Equal(1, rig.Pump.Statistics.TotalEvents);
    }
}
