using System.Globalization;
using System.Text.RegularExpressions;
using Introspect.Daemon.Tests.EndToEnd;

namespace Introspect.Daemon.Tests.Deploy;

/// <summary>A running service, a Prometheus that scrapes it, and everything that is asked of it.</summary>
public sealed class PrometheusTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("introspect-scraped-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [NeedsToolFact("prometheus")]
    public async Task a_prometheus_scrapes_the_service_and_each_query_of_the_dashboard_and_the_alerts_works()
    {
        var port = PrometheusServer.FreePort();
        var configuration = Path.Combine(_folder, "introspect.yaml");
        await File.WriteAllTextAsync(configuration, string.Create(CultureInfo.InvariantCulture, $$"""
            hypervisor: { demo: true }
            domains:
              - match: demo
                deny_protection_clears: true
                events: { control_registers: [cr0, cr3, cr4], msrs: [lstar, efer], cpuid: true, guest_requests: true, write: [0x106000] }
            metrics: { listen: "127.0.0.1:{{port}}" }
            sinks: { json_file: {{Path.Combine(_folder, "events")}}, json_max_mib: 1, json_keep: 1 }
            """));
        using var service = IntrospectProcess.Start("run", "--config", configuration);
        using var prometheus = new PrometheusServer(port);

        Assert.Single(await prometheus.AwaitAsync("up{job=\"introspect\"} == 1"));
        // Two scrapes, for a rate.
        await prometheus.AwaitAsync("rate(introspect_events_total{domain=\"demo\",reason=\"cpuid\"}[1m]) > 0");
        await prometheus.AwaitAsync("rate(introspect_sink_written_total{sink=\"json\"}[1m]) > 0");

        var empty = new List<string>();
        foreach (var (panel, query) in Dashboard.Queries)
        {
            if ((await prometheus.QueryAsync(Dashboard.Fill(query))).Count == 0)
            {
                empty.Add($"{panel}: {query}");
            }
        }

        Assert.Empty(empty);

        // The variable that the queries are narrowed by.
        var variable = Regex.Match(Dashboard.Variables["domain"].GetProperty("query").GetProperty("query").GetString()!, @"^label_values\(([a-z_]+), ([a-z_]+)\)$");
        var values = await prometheus.GetAsync($"/api/v1/label/{variable.Groups[2].Value}/values?match[]={variable.Groups[1].Value}");
        Assert.Equal("demo", Assert.Single(values.EnumerateArray()).GetString());

        var rules = await prometheus.AwaitAsync(
            "every alert rule was evaluated",
            async () => (await prometheus.GetAsync("/api/v1/rules")).GetProperty("groups").EnumerateArray().SelectMany(g => g.GetProperty("rules").EnumerateArray()).ToList(),
            all => all.Count != 0 && all.TrueForAll(rule => rule.GetProperty("health").GetString() != "unknown"));
        Assert.All(rules, rule => Assert.Equal(("ok", "inactive"), (rule.GetProperty("health").GetString(), rule.GetProperty("state").GetString())));
    }
}
