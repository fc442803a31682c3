using Introspect.Daemon.Configuration;
using Introspect.Daemon.Tracing;
using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;
using Introspect.Rules.Tests.Core;

namespace Introspect.Daemon.Tests.Service;

/// <summary>Other policies while domains are watched.</summary>
public sealed class ReloadTests
{
    [Fact]
    public async Task no_event_is_missed_and_none_is_judged_twice_across_reloads_under_load()
    {
        await using var harness = new CoreHarness(Policy(0));
        await harness.StartAsync();
        var domains = Enumerable.Range(0, 3).Select(i => harness.Build($"guest-{i}")).ToList();
        var watches = new List<Daemon.Service.DomainWatch>();
        foreach (var domain in domains)
        {
            watches.Add(await harness.Watched(domain));
            domain.Unpause();
        }

        for (var i = 1; i <= 100; i++)
        {
            var before = watches.ConvertAll(DomainLifeTests.Seen);
            var reload = await harness.Service.ReloadAsync([Policy(i)]);
            Assert.Equal(([], 3), (reload.Mistakes, reload.Changed));
            foreach (var (watch, seen) in watches.Zip(before))
            {
                await ServiceHarness.Until(() => DomainLifeTests.Seen(watch) > seen);
            }
        }

        foreach (var (domain, watch) in domains.Zip(watches))
        {
            CountingGuest.End(domain);
            await DomainLifeTests.SawAll(watch, domain);
            var done = CountingGuest.Read(domain);
            Assert.Equal(((long)done.Msr, (long)done.Write), (watch.Statistics!.Events(VmEventReason.MovToMsr), watch.Statistics.Events(VmEventReason.MemAccess)));
            Assert.Equal(100, watch.Statistics.Changes);
            Assert.Equal(0, watch.Statistics.FailedOperations);
        }
    }

    [Fact]
    public async Task a_domain_whose_policy_changed_keeps_its_ring()
    {
        await using var harness = new ServiceHarness(ServiceHarness.Policy("a"));
        var a = harness.Hypervisor.Add(1, "a");
        await harness.StartAsync();
        await ServiceHarness.Until(() => a.Enables == 1 && harness.Service.CheckHealth().IsHealthy);
        Assert.Equal(([], 1), Of(await harness.Service.ReloadAsync([ServiceHarness.Policy("a", deny: true)])));
        Assert.Equal(1, a.Enables);
        Assert.False(a.Monitor!.IsDisposed);
        Assert.Contains(a.Monitor.Enabled, e => e is MonitorEvent.ControlRegister { Register: ControlRegisterIndex.Cr4 });

        // The same again changes nothing.
        Assert.Equal(([], 0), Of(await harness.Service.ReloadAsync([ServiceHarness.Policy("a", deny: true)])));
        Assert.Equal(0, a.PauseCount);
    }

    [Fact]
    public async Task an_unexpected_mistake_is_told_and_the_next_reload_works()
    {
        await using var harness = new ServiceHarness(ServiceHarness.Policy("a"));
        harness.Hypervisor.Add(1, "a");
        await harness.StartAsync();
        await ServiceHarness.Until(() => harness.Service.CheckHealth().IsHealthy && harness.Service.Status == "watching 1 of 1 domains");
        harness.Hypervisor.OnListed = () => throw new InvalidOperationException("a mistake");
        Assert.Equal("unexpected InvalidOperationException: a mistake", Assert.Single((await harness.Service.ReloadAsync([ServiceHarness.Policy("a", deny: true)])).Mistakes));
        harness.Hypervisor.OnListed = () => { };
        Assert.Equal(([], 1), Of(await harness.Service.ReloadAsync([ServiceHarness.Policy("a", deny: true)])));
    }

    [Fact]
    public async Task a_domain_that_goes_meanwhile_keeps_no_other_from_the_new_policy()
    {
        await using var harness = new ServiceHarness();
        var a = harness.Hypervisor.Add(1, "a");
        var b = harness.Hypervisor.Add(2, "b");
        await harness.StartAsync();
        await ServiceHarness.Until(() => harness.Service.Status == "watching 2 of 2 domains");

        // It is listed still, and gone when its rules are made. Its pump, which has a thread of its own, does not find out.
        var looks = 0;
        harness.Hypervisor.OnListed = () => b.OnInfo = () =>
        {
            if (Thread.CurrentThread.IsThreadPoolThread)
            {
                looks++;
                throw new HypervisorException(Errno.ESRCH, "domain 2 is gone");
            }
        };
        var rules = Introspect.Rules.Files.RuleFileLoader.Load([new Introspect.Rules.Language.SourceText("r.yaml", "rules: [ { rule: r, on: guest_request } ]")], new());
        Assert.Equal(([], 1), Of(await harness.Service.ReloadAsync([new DomainPolicy("*", new(), false) { Rules = rules }])));
        Assert.True(looks > 0);
        (harness.Hypervisor.OnListed, b.OnInfo) = (() => { }, () => { });
        Assert.Contains(a.Monitor!.Enabled, e => e is MonitorEvent.GuestRequest);
        Assert.Equal([new MonitorEvent.Cpuid()], b.Monitor!.Enabled);
    }

    [Fact]
    public async Task a_policy_that_one_domain_cannot_follow_changes_nothing_on_any()
    {
        await using var harness = new ServiceHarness();
        var a = harness.Hypervisor.Add(1, "a");
        var b = harness.Hypervisor.Add(2, "b");
        var c = harness.Hypervisor.Add(3, "c");
        b.Capabilities &= ~MonitorCapabilities.GuestRequest;
        await harness.StartAsync();
        await ServiceHarness.Until(() => harness.Service.Status == "watching 3 of 3 domains");
        var reload = await harness.Service.ReloadAsync([Watching(new MonitorEvent.GuestRequest())]);
        Assert.Contains("guest requests", Assert.Single(reload.Mistakes), StringComparison.Ordinal);
        Assert.StartsWith("domain b: ", reload.Mistakes[0], StringComparison.Ordinal);
        Assert.All([a, b, c], domain => Assert.Equal([new MonitorEvent.Cpuid()], domain.Monitor!.Enabled));
    }

    [Fact]
    public async Task where_the_hypervisor_refuses_on_one_domain_the_others_go_back()
    {
        await using var harness = new ServiceHarness();
        var a = harness.Hypervisor.Add(1, "a");
        var b = harness.Hypervisor.Add(2, "b");
        await harness.StartAsync();
        await ServiceHarness.Until(() => harness.Service.Status == "watching 2 of 2 domains");
        b.Monitor!.Refuse = e => e is MonitorEvent.Msr;
        var reload = await harness.Service.ReloadAsync([Watching(new MonitorEvent.Msr(0x174), new MonitorEvent.GuestRequest())]);
        Assert.StartsWith("domain b: ", Assert.Single(reload.Mistakes), StringComparison.Ordinal);
        Assert.All([a, b], domain => Assert.Equal([new MonitorEvent.Cpuid()], domain.Monitor!.Enabled));
        Assert.All(harness.Service.Watches, watch => Assert.Equal([new MonitorEvent.Cpuid()], watch.Policy.Selection.Events));

        // And a policy that they can follow comes into force afterwards.
        b.Monitor.Refuse = _ => false;
        Assert.Equal(([], 2), Of(await harness.Service.ReloadAsync([Watching(new MonitorEvent.Msr(0x174))])));
        Assert.All([a, b], domain => Assert.Equal([new MonitorEvent.Msr(0x174)], domain.Monitor!.Enabled));
    }

    [Fact]
    public async Task a_domain_that_hangs_holds_up_no_other()
    {
        await using var harness = new ServiceHarness();
        var hangs = harness.Hypervisor.Add(1, "hangs");
        using var release = new ManualResetEventSlim();
        hangs.OnEnable = release.Wait;
        await harness.StartAsync();
        var other = harness.Hypervisor.Add(2, "other");
        await ServiceHarness.Until(() => harness.Service.Status == "watching 1 of 2 domains");
        harness.Hypervisor.End(2);
        await ServiceHarness.Until(() => other.Monitor!.IsDisposed && harness.Service.Watches.Count == 1);
        release.Set();
        await ServiceHarness.Until(() => harness.Service.Status == "watching 1 of 1 domains");
    }

    [Fact]
    public async Task what_fails_on_a_domain_in_whatever_way_is_tried_again_and_holds_up_no_other()
    {
        await using var harness = new ServiceHarness();
        var breaks = harness.Hypervisor.Add(1, "breaks");
        var tries = 0;
        breaks.OnEnable = () => Assert.True(Interlocked.Increment(ref tries) > 3, "an error that nobody thought of");
        await harness.StartAsync();
        var other = harness.Hypervisor.Add(2, "other");
        await ServiceHarness.Until(() => other.Enables == 1);
        await ServiceHarness.Until(() => harness.Service.Status == "watching 2 of 2 domains");
        Assert.Equal(4, tries);
    }

    private static (IReadOnlyList<string> Mistakes, int Changed) Of(Daemon.Service.PolicyReload reload) => (reload.Mistakes, reload.Changed);

    private static DomainPolicy Watching(params MonitorEvent[] events) => new("*", new EventSelection { Events = events }, false);

    private static DomainPolicy Policy(int number) => new(
        "*",
        new EventSelection
        {
            Events = [
                new MonitorEvent.Cpuid(), new MonitorEvent.Msr(CountingGuest.Msr, OnChangeOnly: number % 2 == 0),
                .. number % 3 == 0 ? new MonitorEvent[] { new MonitorEvent.GuestRequest(), new MonitorEvent.DebugException() } : []],
            Memory = [
                new(new(CountingGuest.WatchedFrame), 1, MemAccessFlags.Write),
                .. number % 2 == 0 ? new MemoryWatch[] { new(new(0x40), 4, MemAccessFlags.Execute) } : []],
        },
        DenyProtectionClears: number % 2 == 0);
}
