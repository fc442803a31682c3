using System.Net;
using System.Text.RegularExpressions;
using Introspect.Daemon.Cli;
using Introspect.Daemon.Plugins;
using Introspect.Daemon.Service;
using Introspect.Daemon.Telemetry;
using Introspect.Daemon.Tests.Fakes;
using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;
using Microsoft.Extensions.Logging.Abstractions;

namespace Introspect.Daemon.Tests.Service;

public sealed class MetricsServerTests
{
    [Fact]
    public async Task metrics_and_health_are_served()
    {
        await using var harness = new ServiceHarness();
        var domain = harness.Hypervisor.Add(1, "web");
        await harness.StartAsync();
        await ServiceHarness.Until(() => domain.Enables == 1 && harness.Service.CheckHealth().IsHealthy);
        await using var server = await ServeAsync(harness);
        using var client = new HttpClient { BaseAddress = new($"http://{server.Address}") };

        using var metrics = await client.GetAsync(new Uri("/metrics", UriKind.Relative));
        Assert.Equal(HttpStatusCode.OK, metrics.StatusCode);
        Assert.Equal("text/plain; version=0.0.4; charset=utf-8", metrics.Content.Headers.ContentType!.ToString());
        Assert.Contains("introspect_domain_attached{domain=\"web\"} 1\n", await metrics.Content.ReadAsStringAsync(), StringComparison.Ordinal);

        using var health = await client.GetAsync(new Uri("/healthz", UriKind.Relative));
        Assert.Equal((HttpStatusCode.OK, "ok\n"), (health.StatusCode, await health.Content.ReadAsStringAsync()));

        using var other = await client.GetAsync(new Uri("/secrets", UriKind.Relative));
        Assert.Equal(HttpStatusCode.NotFound, other.StatusCode);
        using var post = await client.PostAsync(new Uri("/metrics", UriKind.Relative), null);
        Assert.Equal(HttpStatusCode.MethodNotAllowed, post.StatusCode);
        using var head = await client.SendAsync(new(HttpMethod.Head, new Uri("/healthz", UriKind.Relative)));
        Assert.Equal((HttpStatusCode.OK, ""), (head.StatusCode, await head.Content.ReadAsStringAsync()));
    }

    [Fact]
    public async Task health_is_503_with_the_reasons_when_something_is_wrong()
    {
        await using var harness = new ServiceHarness();
        harness.Hypervisor.Add(1, "busy").Refuse = Errno.EBUSY;
        await harness.StartAsync();
        await ServiceHarness.Until(() => harness.Service.CheckHealth().Reasons.Any(r => r.Contains("EBUSY", StringComparison.Ordinal)));
        await using var server = await ServeAsync(harness);
        using var client = new HttpClient { BaseAddress = new($"http://{server.Address}") };
        using var health = await client.GetAsync(new Uri("/healthz", UriKind.Relative));
        Assert.Equal(HttpStatusCode.ServiceUnavailable, health.StatusCode);
        Assert.StartsWith("domain busy: ", await health.Content.ReadAsStringAsync(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task ready_is_who_can_watch_domains_also_when_one_of_them_resists()
    {
        await using var harness = new ServiceHarness();
        harness.Hypervisor.Add(1, "busy").Refuse = Errno.EBUSY;
        await using var server = await ServeAsync(harness);
        using var client = new HttpClient { BaseAddress = new($"http://{server.Address}") };
        Assert.Equal((HttpStatusCode.ServiceUnavailable, "the hypervisor was not reached yet\n"), await GetAsync());
        await harness.StartAsync();
        await ServiceHarness.Until(() => !harness.Service.CheckHealth().IsHealthy);
        Assert.Equal((HttpStatusCode.OK, "ready\n"), await GetAsync());
        await harness.StopAsync();
        Assert.Equal((HttpStatusCode.ServiceUnavailable, "the service stops\n"), await GetAsync());

        async Task<(HttpStatusCode, string)> GetAsync()
        {
            using var answer = await client.GetAsync(new Uri("/readyz", UriKind.Relative));
            return (answer.StatusCode, await answer.Content.ReadAsStringAsync());
        }
    }

    [Fact]
    public async Task a_port_in_use_is_the_users_to_know()
    {
        await using var harness = new ServiceHarness();
        await using var first = await ServeAsync(harness);
        var second = new MetricsServer(first.Address!, new PrometheusExporter(), harness.Service, NullLogger<MetricsServer>.Instance);
        await using (second)
        {
            var error = await Assert.ThrowsAsync<UserError>(() => second.StartAsync(CancellationToken.None));
            Assert.Equal(1, error.ExitCode);
            Assert.Contains("the port is in use", error.Message, StringComparison.Ordinal);
        }
    }

    [NeedsToolFact("promtool")]
    public async Task promtool_finds_nothing_wrong_with_the_page()
    {
        await using var harness = new ServiceHarness(ServiceHarness.Policy(deny: true) with { Rules = RuleServiceTests.Policy("rules: [ { rule: a, on: cpuid }, { rule: b, on: cpuid } ]").Rules });
        var first = harness.Hypervisor.Add(1, "web \"1\"\\");
        var second = harness.Hypervisor.Add(2, "");
        harness.Hypervisor.Add(3, "busy").Refuse = Errno.EBUSY;
        await harness.StartAsync();
        await ServiceHarness.Until(() => first.Enables == 1 && second.Enables == 1);
        first.Monitor!.Send(SampleEvents.Of(VmEventReason.Cpuid));
        await ServiceHarness.Until(() => first.Monitor.Responses.Count == 1);
        var (exitCode, output, error) = Repository.Run("promtool", ["check", "metrics"], MonitoringServiceTests.Scrape(harness));
        Assert.Equal((0, "", ""), (exitCode, output, error));
    }

    [Fact]
    public async Task every_metric_is_documented_and_every_documented_one_is_there()
    {
        await using var harness = new ServiceHarness(RuleServiceTests.Policy("rules: [ { rule: a, on: cpuid } ]"));
        var domain = harness.Hypervisor.Add(1, "web");
        harness.Sinks.Add(new(new CountingSink(), new(16), (_, _) => { }));
        using var plugins = new PluginMetrics(harness.Metrics.DomainMeterName, () => [new("one", true, 0, 0, 0)]);
        await harness.StartAsync();
        await ServiceHarness.Until(() => domain.Enables == 1 && harness.Service.CheckHealth().IsHealthy);
        var served = Regex.Matches(MonitoringServiceTests.Scrape(harness), "^# TYPE ([a-z_]+) ", RegexOptions.Multiline).Select(m => m.Groups[1].Value).Order();
        var documented = Regex.Matches(await File.ReadAllTextAsync(Repository.PathOf("docs", "metrics.md")), @"^\| `([a-z_]+)", RegexOptions.Multiline).Select(m => m.Groups[1].Value).Order();
        Assert.Equal(documented, served);
        await harness.Sinks[0].DisposeAsync();
    }

    private static async Task<MetricsServer> ServeAsync(ServiceHarness harness)
    {
        var server = new MetricsServer(new(IPAddress.Loopback, 0), harness.Metrics.Exporter, harness.Service, NullLogger<MetricsServer>.Instance);
        await server.StartAsync(CancellationToken.None);
        return server;
    }
}
