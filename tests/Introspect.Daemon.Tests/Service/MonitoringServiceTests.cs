using Introspect.Daemon.Cli;
using Introspect.Daemon.Tests.Fakes;
using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;

namespace Introspect.Daemon.Tests.Service;

public sealed class MonitoringServiceTests
{
    [Fact]
    public async Task domains_are_attached_whether_they_are_there_or_appear()
    {
        await using var harness = new ServiceHarness();
        var there = harness.Hypervisor.Add(1, "there");
        await harness.StartAsync();
        await ServiceHarness.Until(() => there.Enables == 1);
        var appears = harness.Hypervisor.Add(2, "appears");
        await ServiceHarness.Until(() => appears.Enables == 1);
        await ServiceHarness.Until(() => harness.Service.Status == "watching 2 of 2 domains");
        Assert.True(harness.Service.CheckHealth().IsHealthy);
        Assert.Contains(new MonitorEvent.Cpuid(), there.Monitor!.Enabled);
        Assert.Equal(0, there.PauseCount);
    }

    [Fact]
    public async Task a_domain_that_no_policy_names_is_left_alone()
    {
        await using var harness = new ServiceHarness(ServiceHarness.Policy("web-*"));
        var other = harness.Hypervisor.Add(1, "db");
        var web = harness.Hypervisor.Add(2, "web-1");
        await harness.StartAsync();
        await ServiceHarness.Until(() => harness.Service.Status == "watching 1 of 1 domains");
        Assert.Equal((0, 1), (other.Enables, web.Enables));
    }

    [Fact]
    public async Task a_domain_that_ends_is_let_go_and_forgotten()
    {
        await using var harness = new ServiceHarness();
        var domain = harness.Hypervisor.Add(1);
        await harness.StartAsync();
        await ServiceHarness.Until(() => domain.Enables == 1);
        harness.Hypervisor.End(1);
        await ServiceHarness.Until(() => domain.Monitor!.IsDisposed && harness.Service.Status == "watching 0 of 0 domains");
        await ServiceHarness.Until(() => !Scrape(harness).Contains("domain=\"guest\"", StringComparison.Ordinal));
    }

    [Fact]
    public async Task stopping_answers_disables_and_leaves_no_pause()
    {
        await using var harness = new ServiceHarness();
        var domains = Enumerable.Range(1, 4).Select(i => harness.Hypervisor.Add((ushort)i, $"guest-{i}")).ToList();
        await harness.StartAsync();
        await ServiceHarness.Until(() => harness.Service.Status == "watching 4 of 4 domains");
        foreach (var domain in domains)
        {
            for (var i = 0; i < 100; i++)
            {
                domain.Monitor!.Send(SampleEvents.Of(VmEventReason.Cpuid));
            }
        }

        await harness.StopAsync();
        Assert.All(domains, domain =>
        {
            Assert.True(domain.Monitor!.IsDisposed);
            Assert.Equal(0, domain.PauseCount);
            Assert.Equal(0, domain.Monitor.UnconsumedRequests);
            Assert.Equal(100, domain.Monitor.Responses.Count);
        });
        Assert.False(harness.Service.LeftSomethingBehind);
        Assert.True(harness.Hypervisor.IsDisposed);
    }

    [Fact]
    public async Task a_domain_that_is_busy_is_told_of_and_tried_again()
    {
        await using var harness = new ServiceHarness();
        var domain = harness.Hypervisor.Add(1, "busy");
        domain.Refuse = Errno.EBUSY;
        await harness.StartAsync();
        await ServiceHarness.Until(() => harness.Service.CheckHealth().Reasons.Any(r => r.Contains("EBUSY", StringComparison.Ordinal)));
        var reason = Assert.Single(harness.Service.CheckHealth().Reasons);
        Assert.StartsWith("domain busy: ", reason, StringComparison.Ordinal);
        Assert.Contains("introspect recover busy", reason, StringComparison.Ordinal);
        // A domain that cannot be attached is no reason to restart the service.
        Assert.Empty(harness.Service.FindStalls());
        Assert.Contains("introspect_domain_attached{domain=\"busy\"} 0", Scrape(harness), StringComparison.Ordinal);

        domain.Refuse = Errno.None;
        await ServiceHarness.Until(() => domain.Enables == 1 && harness.Service.CheckHealth().IsHealthy);
        Assert.Contains("introspect_domain_attached{domain=\"busy\"} 1", Scrape(harness), StringComparison.Ordinal);
    }

    [Fact]
    public async Task a_pump_that_fails_is_replaced()
    {
        await using var harness = new ServiceHarness();
        var domain = harness.Hypervisor.Add(1);
        await harness.StartAsync();
        await ServiceHarness.Until(() => domain.Enables == 1);
        var first = domain.Monitor!;
        first.Fail = Errno.EIO;
        first.Send(SampleEvents.Of(VmEventReason.Cpuid));
        await ServiceHarness.Until(() => domain.Enables == 2);
        Assert.True(first.IsDisposed);
    }

    [Fact]
    public async Task a_hypervisor_that_is_lost_is_connected_again()
    {
        await using var harness = new ServiceHarness();
        var domain = harness.Hypervisor.Add(1);
        await harness.StartAsync();
        await ServiceHarness.Until(() => domain.Enables == 1);
        var first = domain.Monitor!;
        harness.Hypervisor.Lose(new IOException("connection reset"));
        await ServiceHarness.Until(() => harness.Service.CheckHealth().Reasons.Contains("hypervisor: connection reset"));
        await ServiceHarness.Until(() => first.IsDisposed);
        await ServiceHarness.Until(() => domain.Enables == 2 && harness.Service.CheckHealth().IsHealthy);
    }

    [Fact]
    public async Task a_guest_that_was_built_starts_after_it_is_watched()
    {
        await using var harness = new ServiceHarness();
        var domain = harness.Hypervisor.Add(1);
        harness.Factory.Built = domain.Id;
        var enabledAtStart = -1;
        harness.Factory.OnStart = () => enabledAtStart = domain.Enables;
        await harness.StartAsync();
        await ServiceHarness.Until(() => harness.Factory.Starts == 1);
        Assert.Equal(1, enabledAtStart);
    }

    [Fact]
    public async Task a_reload_touches_only_domains_whose_policy_changed()
    {
        await using var harness = new ServiceHarness(ServiceHarness.Policy("a"), ServiceHarness.Policy("b"));
        var a = harness.Hypervisor.Add(1, "a");
        var b = harness.Hypervisor.Add(2, "b");
        var c = harness.Hypervisor.Add(3, "c");
        await harness.StartAsync();
        await ServiceHarness.Until(() => a.Enables == 1 && b.Enables == 1);
        Assert.Empty((await harness.Service.ReloadAsync([ServiceHarness.Policy("a"), ServiceHarness.Policy("c", deny: true)])).Mistakes);
        await ServiceHarness.Until(() => c.Enables == 1 && b.Monitor!.IsDisposed);
        Assert.Equal(1, a.Enables);
        Assert.False(a.Monitor!.IsDisposed);
        await ServiceHarness.Until(() => harness.Service.Status == "watching 2 of 2 domains");
        Assert.Contains(c.Monitor!.Enabled, e => e is MonitorEvent.ControlRegister { Register: ControlRegisterIndex.Cr4 });
    }

    [Fact]
    public async Task a_pump_that_hangs_starves_the_watchdog_until_it_moves()
    {
        await using var harness = new ServiceHarness(TimeSpan.FromSeconds(1));
        var domain = harness.Hypervisor.Add(1, "web");
        harness.Hypervisor.Add(2, "other");
        await harness.StartAsync();
        await ServiceHarness.Until(() => harness.Service.Status == "watching 2 of 2 domains");
        using var release = new ManualResetEventSlim();
        domain.Monitor!.OnRespond = release.Wait;
        domain.Monitor.Send(SampleEvents.Of(VmEventReason.Cpuid));
        await ServiceHarness.Until(() => harness.Service.FindStalls().Any(stall => stall.StartsWith("domain web: its pump has not moved for", StringComparison.Ordinal)));
        release.Set();
        await ServiceHarness.Until(() => harness.Service.FindStalls().Count == 0);
    }

    [Fact]
    public async Task a_sink_that_loses_nothing_and_hangs_lets_the_service_end()
    {
        await using var harness = new ServiceHarness();
        var sink = new CountingSink();
        harness.Sinks.Add(new(sink, new(16, Daemon.Sinks.QueuePolicy.Block), (_, _) => { }));
        var domain = harness.Hypervisor.Add(1);
        await harness.StartAsync();
        await ServiceHarness.Until(() => domain.Enables == 1);
        sink.Hold();
        for (var i = 0; i < 40; i++)
        {
            domain.Monitor!.Send(SampleEvents.Of(VmEventReason.Cpuid));
        }

        // What a stop finds on the ring is answered without a record.
        await ServiceHarness.Until(() => domain.Monitor!.Responses.Count == 40);
        await ServiceHarness.Until(() => harness.Sinks[0].Counts.Blocked > 0);
        await harness.StopAsync();
        Assert.False(harness.Service.LeftSomethingBehind);
        Assert.True(domain.Monitor!.IsDisposed);
        sink.Release();
        await harness.Sinks[0].DisposeAsync();

        // What was given up is counted.
        Assert.Equal(40, harness.Sinks[0].Counts.Written + harness.Sinks[0].Counts.Dropped);
    }

    [Fact]
    public async Task a_hypervisor_that_cannot_be_opened_keeps_the_service_from_starting()
    {
        var service = new ServiceHarness();
        await using (service)
        {
            service.Factory.OnOpen = () => throw UserError.Failure("nobody listens");
            await Assert.ThrowsAsync<UserError>(service.StartAsync);
        }
    }

    [Fact]
    public async Task metrics_tell_what_the_pump_counted()
    {
        await using var harness = new ServiceHarness();
        var domain = harness.Hypervisor.Add(1, "web\"1");
        await harness.StartAsync();
        await ServiceHarness.Until(() => domain.Enables == 1);
        domain.Monitor!.Send(SampleEvents.Of(VmEventReason.Cpuid));
        await ServiceHarness.Until(() => domain.Monitor.Responses.Count == 1);
        var page = Scrape(harness);
        Assert.Contains("introspect_events_total{domain=\"web\\\"1\",reason=\"cpuid\"} 1\n", page, StringComparison.Ordinal);
        Assert.Contains("introspect_events_total{domain=\"web\\\"1\",reason=\"mem_access\"} 0\n", page, StringComparison.Ordinal);
        Assert.Contains("introspect_responses_total{domain=\"web\\\"1\",flag=\"vcpu_paused\"} 1\n", page, StringComparison.Ordinal);
        Assert.Contains("introspect_event_handling_seconds_bucket{domain=\"web\\\"1\",le=\"+Inf\"} 1\n", page, StringComparison.Ordinal);
        Assert.Contains("introspect_event_handling_seconds_count{domain=\"web\\\"1\"} 1\n", page, StringComparison.Ordinal);
        Assert.Matches("introspect_build_info\\{[^}]*version=\"1.2.3\"\\} 1\n", page);
    }

    internal static string Scrape(ServiceHarness harness) => Scrape(harness.Metrics);

    internal static string Scrape(Daemon.Telemetry.ServiceMetrics metrics)
    {
        // What a meter took along when it went is gone at the second scrape.
        _ = metrics.Exporter.Scrape(TimeSpan.FromSeconds(10));
        return metrics.Exporter.Scrape(TimeSpan.FromSeconds(10))!;
    }
}
