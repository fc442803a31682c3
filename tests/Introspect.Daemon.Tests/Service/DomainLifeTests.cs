using System.Text.RegularExpressions;
using Introspect.Daemon.Configuration;
using Introspect.Daemon.Tracing;
using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;
using Introspect.Rules.Tests.Core;

namespace Introspect.Daemon.Tests.Service;

/// <summary>Domains that come, go and come again, on the real core.</summary>
public sealed class DomainLifeTests
{
    [Fact]
    public async Task a_domain_that_is_created_paused_is_watched_from_its_first_instruction()
    {
        await using var harness = new CoreHarness(Cpuid("web-*"));
        await harness.StartAsync();
        var domain = harness.Build("web-1");
        var watch = await harness.Watched(domain);
        domain.Unpause();
        await ServiceHarness.Until(() => Seen(watch) > 20);
        CountingGuest.End(domain);
        await SawAll(watch, domain);
        Assert.Equal(0, domain.GetInfo().PauseCount);
    }

    [Fact]
    public async Task a_domain_is_known_by_its_uuid_after_a_reboot_a_restore_or_an_arrival()
    {
        var uuid = Guid.NewGuid();
        await using var harness = new CoreHarness(Cpuid(uuid.ToString()));
        await harness.StartAsync();
        var first = harness.Build("web", uuid);
        await harness.Watched(first);
        first.Unpause();
        first.Destroy();
        await ServiceHarness.Until(() => harness.Service.Watches.Count == 0);

        // Another number, and meanwhile another name.
        var second = harness.Build("web-again", uuid);
        Assert.NotEqual(first.Id, second.Id);
        var watch = await harness.Watched(second);
        second.Unpause();
        await ServiceHarness.Until(() => Seen(watch) > 20);
        CountingGuest.End(second);
        await SawAll(watch, second);
    }

    [Fact]
    public async Task a_number_means_the_domain_that_has_it_first_also_when_that_gets_another()
    {
        await using var harness = new CoreHarness();
        var first = harness.Build("first");
        var other = harness.Build("other");
        await harness.StartAsync();
        Assert.Empty((await harness.Service.ReloadAsync([Cpuid(first.Id.ToString())])).Mistakes);
        await harness.Watched(first);
        var uuid = first.GetInfo().Uuid;
        first.Destroy();
        await ServiceHarness.Until(() => harness.Service.Watches.Count == 0);
        var again = harness.Build("first", uuid);
        Assert.NotEqual(first.Id, again.Id);
        await harness.Watched(again);
        Assert.Null(harness.Find(other));

        // The same policies read anew mean the same domain.
        Assert.Empty((await harness.Service.ReloadAsync([Cpuid(first.Id.ToString())])).Mistakes);
        Assert.NotNull(harness.Find(again));
    }

    [Fact]
    public async Task a_name_that_is_given_later_counts()
    {
        await using var harness = new CoreHarness(Cpuid("web-*"));
        await harness.StartAsync();
        var arriving = harness.Build("web-1--incoming");
        var unnamed = harness.Build("");
        await harness.Watched(arriving);
        Assert.Null(harness.Find(unnamed));
        harness.Rename(unnamed, "web-2");
        await harness.Watched(unnamed);

        // It goes by its name from then on, and is let go when no policy is for that.
        var watch = harness.Find(arriving)!;
        harness.Rename(arriving, "web-1");
        await ServiceHarness.Until(() => watch.Label == "web-1");
        Assert.Same(watch, harness.Find(arriving));
        Assert.Contains("introspect_domain_attached{domain=\"web-1\"} 1", MonitoringServiceTests.Scrape(harness.Metrics), StringComparison.Ordinal);
        harness.Rename(unnamed, "other");
        await ServiceHarness.Until(() => harness.Find(unnamed) is null);
        Assert.True(watch.IsAttached);
    }

    [Fact]
    public async Task a_domain_that_comes_again_under_its_name_has_its_series_and_no_series_is_there_twice()
    {
        await using var harness = new CoreHarness(Cpuid("*"));
        await harness.StartAsync();
        for (var i = 0; i < 3; i++)
        {
            var domain = harness.Build("web");
            var watch = await harness.Watched(domain);
            await ServiceHarness.Until(() => watch.Label == "web");
            AssertNoSeriesTwice(harness.Metrics);
            domain.Destroy();
        }
    }

    [Fact]
    public async Task domains_of_one_name_have_series_of_their_own()
    {
        await using var harness = new ServiceHarness();
        harness.Hypervisor.Add(1, "web");
        harness.Hypervisor.Add(2, "web");
        await harness.StartAsync();
        await ServiceHarness.Until(() => harness.Service.Status == "watching 2 of 2 domains");
        Assert.Equal(["web", "web (2)"], harness.Service.Watches.Select(w => w.Label));
        AssertNoSeriesTwice(harness.Metrics);
    }

    [Fact]
    public async Task many_domains_have_a_pump_each()
    {
        await using var harness = new CoreHarness(Cpuid("guest-*"));
        await harness.StartAsync();
        var domains = Enumerable.Range(0, 12).Select(i => harness.Build($"guest-{i}")).ToList();
        var watches = new List<Daemon.Service.DomainWatch>();
        foreach (var domain in domains)
        {
            watches.Add(await harness.Watched(domain));
            domain.Unpause();
        }

        foreach (var watch in watches)
        {
            await ServiceHarness.Until(() => Seen(watch) > 5);
        }

        domains[3].Destroy();
        await ServiceHarness.Until(() => harness.Service.Watches.Count == domains.Count - 1);
        foreach (var (domain, watch) in domains.Zip(watches).Where(pair => pair.First != domains[3]))
        {
            CountingGuest.End(domain);
            await SawAll(watch, domain);
        }
    }

    internal static DomainPolicy Cpuid(string match) => new(match, new EventSelection { Events = [new MonitorEvent.Cpuid()] }, false);

    internal static long Seen(Daemon.Service.DomainWatch watch) => watch.Statistics?.Events(VmEventReason.Cpuid) ?? 0;

    // The last answer lets the guest go on before the pump has counted it.
    internal static async Task SawAll(Daemon.Service.DomainWatch watch, IDomain domain)
    {
        var done = (long)CountingGuest.Read(domain).Cpuid;
        await ServiceHarness.Until(() => Seen(watch) >= done);
        Assert.Equal(done, Seen(watch));
    }

    private static void AssertNoSeriesTwice(Daemon.Telemetry.ServiceMetrics metrics)
    {
        for (var i = 0; i < 3; i++)
        {
            var page = metrics.Exporter.Scrape(TimeSpan.FromSeconds(10))!;
            var series = Regex.Matches(page, @"^([a-z_]+(?:\{.*\})?) \S+$", RegexOptions.Multiline).Select(m => m.Groups[1].Value).ToList();
            Assert.True(series.Count > 40);
            Assert.Equal(series.Distinct(), series);
        }
    }
}
