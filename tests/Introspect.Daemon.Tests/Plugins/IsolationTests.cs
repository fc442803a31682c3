using System.Diagnostics;
using Introspect.Daemon.Tests.Service;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Tests.House;
using Introspect.Rules.Handlers;
using Introspect.Rules.Plugins;
using Introspect.Rules.Plugins.Isolation;
using Introspect.Rules.Pump;
using Introspect.Rules.Tests.Core;
using Introspect.Rules.Tests.Mocks;
using static Introspect.Daemon.Tests.Plugins.PluginBench;

namespace Introspect.Daemon.Tests.Plugins;

/// <summary>A plugin's process may crash, hang and leak: the guest has its answer, and the process is started anew.</summary>
[Collection(PluginCollection.Name)]
public sealed class IsolationTests
{
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_process_that_crashes_in_the_middle_of_an_event_is_answered_for_and_started_anew(bool closed)
    {
        using var bench = new PluginBench("crash", PluginIsolation.Process, closed ? FailPolicy.Closed : FailPolicy.Open);
        var first = Id(bench);

        Assert.Equal(closed, bench.Exchange(TriggeringCr4Write).Flags.HasFlag(VmEventFlags.Deny));
        Assert.Equal((1, 1), (bench.Statistics.Failures, bench.Statistics.StandIns));
        Assert.Contains("its process ended in the middle of the event", Assert.Single(bench.Rig.Diagnostics.Of(PumpDiagnosticKind.HandlerFailed)).Message, StringComparison.Ordinal);

        await bench.Restarted(1);
        Assert.Equal((1, 0), (bench.Plugin.Counts.Crashes, bench.Plugin.Counts.Hangs));
        Assert.NotEqual(first, Id(bench));
        await ServiceHarness.Until(() => bench.Log.Any(line => line.Contains($"its process {first} was ended by signal 6; its events are answered by its fail policy until it runs again", StringComparison.Ordinal)));
        var calls = bench.Statistics.Calls;
        Assert.False(bench.Exchange(HarmlessCr4Write).Flags.HasFlag(VmEventFlags.Deny));
        Assert.Equal((calls + 1, 1), (bench.Statistics.Calls, bench.Statistics.Failures));
    }

    [Fact]
    public async Task A_process_that_hangs_is_killed_answered_for_and_started_anew()
    {
        using var bench = new PluginBench("hang", PluginIsolation.Process, FailPolicy.Closed, timeout: TimeSpan.FromMilliseconds(300));
        Assert.True(bench.Exchange(TriggeringCr4Write).Flags.HasFlag(VmEventFlags.Deny));
        Assert.Contains("did not answer in 300 ms", Assert.Single(bench.Rig.Diagnostics.Of(PumpDiagnosticKind.HandlerFailed)).Message, StringComparison.Ordinal);
        await bench.Restarted(1);
        Assert.Equal((0, 1), (bench.Plugin.Counts.Crashes, bench.Plugin.Counts.Hangs));
        await ServiceHarness.Until(() => bench.Log.Any(line => line.Contains("was killed: it did not answer an event", StringComparison.Ordinal)));
    }

    [Fact]
    public async Task While_the_process_is_away_events_are_answered_and_that_is_no_failure()
    {
        using var bench = new PluginBench("pass", PluginIsolation.Process, FailPolicy.Closed);
        Process.GetProcessById(Id(bench)!.Value).Kill();
        await ServiceHarness.Until(() => ((IAbsentHandler)bench.Handler).IsAway);

        // As many as come until it is back; each has an answer, by the policy or by the plugin.
        var stoodIn = 0;
        while (((IAbsentHandler)bench.Handler).IsAway)
        {
            stoodIn += bench.Exchange(HarmlessCr4Write).Flags.HasFlag(VmEventFlags.Deny) ? 1 : 0;
        }

        Assert.Equal(stoodIn, bench.Statistics.StandIns);
        Assert.Equal((0, 0), (bench.Statistics.Failures, bench.Statistics.BreakerTrips));
        await bench.Restarted(1);
        Assert.False(bench.Exchange(HarmlessCr4Write).Flags.HasFlag(VmEventFlags.Deny));
    }

    [Fact]
    public async Task A_process_that_crashes_again_and_again_is_disabled_by_the_breaker()
    {
        using var bench = new PluginBench("crash", PluginIsolation.Process, options: new() { HandlerBudget = TimeSpan.FromMinutes(5), BreakerThreshold = 2, BreakerWindow = TimeSpan.FromHours(1), BreakerCoolDown = TimeSpan.FromHours(1) });
        bench.Exchange(TriggeringCr4Write);
        await bench.Restarted(1);
        bench.Exchange(TriggeringCr4Write);
        Assert.True(bench.Statistics.IsDisabled);
        await bench.Restarted(2);
        bench.Exchange(TriggeringCr4Write);
        Assert.Equal((2, 2), (bench.Statistics.Calls, bench.Plugin.Counts.Crashes));
    }

    [Fact]
    public void A_process_that_takes_memory_without_end_runs_out_of_its_own()
    {
        using var bench = new PluginBench("leak", PluginIsolation.Process, FailPolicy.Closed, memoryMiB: 64);
        Assert.True(bench.Exchange(TriggeringCr4Write).Flags.HasFlag(VmEventFlags.Deny));
        Assert.Equal(1, bench.Statistics.Failures);
    }

    [Fact]
    public void A_process_that_leaks_memory_that_is_not_the_runtimes_is_refused_more()
    {
        using var bench = new PluginBench("leak_natively", PluginIsolation.Process, FailPolicy.Closed, memoryMiB: 64);
        Assert.True(bench.Exchange(TriggeringCr4Write).Flags.HasFlag(VmEventFlags.Deny));
        Assert.Equal(1, bench.Statistics.Failures);
    }

    [Fact]
    public void A_process_ends_with_its_plugin()
    {
        int id;
        using (var bench = new PluginBench("pass", PluginIsolation.Process))
        {
            id = Id(bench)!.Value;
            Assert.NotNull(Process.GetProcessById(id));
        }

        Assert.Throws<ArgumentException>(() => Process.GetProcessById(id));
    }

    [Fact]
    public async Task Under_load_every_event_of_the_guest_has_one_answer_while_the_process_is_killed_again_and_again()
    {
        const int Kills = 5;
        using var machine = CountingGuest.CreateMachine();
        using var domain = machine.Open(CountingGuest.Build(machine));
        using var plugin = PluginInstance.Start(EntryOf("pass", PluginIsolation.Process), Daemon.Plugins.PluginSet.ThisProgram, (_, _) => { });
        using var handler = plugin.CreateHandler(domain.GetInfo());
        var options = new PumpOptions { RecordPolicy = RecordPolicy.None, HandlerBudget = TimeSpan.FromMinutes(5), BreakerThreshold = int.MaxValue };
        using var pump = new EventPump(domain, [new(handler)], options);
        var statistics = pump.Statistics.Handlers[0];
        pump.Start();
        domain.Unpause();
        for (var i = 1; i <= Kills; i++)
        {
            var calls = statistics.Calls;
            await ServiceHarness.Until(() => statistics.Calls > calls + 2000);
            Process.GetProcessById(((IsolatedPlugin)plugin).ProcessId!.Value).Kill();
            await ServiceHarness.Until(() => plugin.Counts is { IsUp: true } counts && counts.Restarts == i);
        }

        var last = statistics.Calls;
        await ServiceHarness.Until(() => statistics.Calls > last + 2000);
        CountingGuest.End(domain);
        pump.Stop();
        var done = CountingGuest.Read(domain);
        Assert.Equal((long)(done.Cpuid + done.Cr4), pump.Statistics.TotalEvents);
        Assert.Equal(pump.Statistics.TotalEvents, pump.Statistics.TotalResponses);
        Assert.Equal(pump.Statistics.TotalEvents, statistics.Calls + statistics.StandIns - statistics.Failures);
        Assert.InRange(statistics.Failures, 0, Kills);
        Assert.Equal(Kills, plugin.Counts.Crashes);
    }

    [Fact]
    public void An_event_costs_the_monitor_no_memory()
    {
        using var bench = new PluginBench("pass", PluginIsolation.Process);
        var request = Requests.Cpuid();
        var response = request;
        var time = DateTime.UtcNow;

        // The pump of the bench is idle: this thread takes its place.
        Assert.Equal(0, Allocation.LeastOf(() =>
        {
            for (var i = 0; i < 2000; i++)
            {
                var context = new HandlerContext(bench.Rig.Domain, in request, ref response, time);
                bench.Handler.Handle(in request, ref context);
            }
        }));
    }

    private static int? Id(PluginBench bench) => ((IsolatedPlugin)bench.Plugin).ProcessId;
}
