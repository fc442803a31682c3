using System.Text.Json;
using Introspect.Daemon.Configuration;
using Introspect.Daemon.Output;
using Introspect.Daemon.Sinks;
using Introspect.Daemon.Tests.Fakes;
using Introspect.Daemon.Tests.Output;
using Introspect.Daemon.Tracing;
using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;
using Introspect.Rules.Files;
using Introspect.Rules.Language;
using Introspect.Rules.Running;

namespace Introspect.Daemon.Tests.Service;

/// <summary>Rules of files in the service: their alerts reach sinks and metrics, and a reload takes others over.</summary>
public sealed class RuleServiceTests
{
    private const string Deny = "rules: [ { rule: smep, on: write_ctrlreg, when: register == CR4 and cleared(CR4.SMEP), do: deny, output: 'cleared at {rip}', priority: critical, tags: [kernel] } ]";
    private const string Count = "rules: [ { rule: smep, on: write_ctrlreg, when: register == CR4 and cleared(CR4.SMEP), do: count, priority: critical } ]";

    [Fact]
    public async Task a_rule_decides_alerts_and_is_counted()
    {
        await using var harness = new ServiceHarness(Policy(Deny));
        using var written = new MemoryStream();
        harness.Sinks.Add(new(new JsonSink(() => written, symbols: null), new(64), (_, e) => Assert.Fail(e.Message)));
        var domain = harness.Hypervisor.Add(1, "web");
        await harness.StartAsync();
        await ServiceHarness.Until(() => domain.Enables == 1 && harness.Service.CheckHealth().IsHealthy);
        Assert.Equal([new MonitorEvent.ControlRegister(ControlRegisterIndex.Cr4, Sync: true, OnChangeOnly: true, WatchMask: 1 << 20)], domain.Monitor!.Enabled);
        domain.Monitor.Send(Cr4(1 << 20, 0));
        domain.Monitor.Send(Cr4(0, 1 << 20));
        await ServiceHarness.Until(() => domain.Monitor.Responses.Count == 2);
        Assert.Equal([VmEventFlags.VcpuPaused | VmEventFlags.Deny, VmEventFlags.VcpuPaused], domain.Monitor.Responses.Select(response => response.Flags));
        await ServiceHarness.Until(() => harness.Sinks[0].Counts.Written == 2);
        var page = harness.Metrics.Exporter.Scrape(TimeSpan.FromSeconds(30));
        Assert.Contains("introspect_rule_matches_total{domain=\"web\",priority=\"critical\",rule=\"smep\"} 1\n", page, StringComparison.Ordinal);
        Assert.Contains("introspect_rule_alerts_total{domain=\"web\",rule=\"smep\"} 1\n", page, StringComparison.Ordinal);
        Assert.Contains("introspect_rule_alerts_suppressed_total{domain=\"web\",rule=\"smep\"} 0\n", page, StringComparison.Ordinal);
        await harness.StopAsync();
        await harness.Sinks[0].DisposeAsync();

        var schema = new SchemaChecker(File.ReadAllText(Repository.PathOf("docs", "events.schema.json")));
        var lines = System.Text.Encoding.UTF8.GetString(written.ToArray()).Split('\n', StringSplitOptions.RemoveEmptyEntries);
        Assert.All(lines, line => Assert.Empty(schema.Check(line)));
        var byType = lines.Select(line => JsonDocument.Parse(line).RootElement).ToDictionary(line => line.GetProperty("type").GetString()!);
        Assert.Equal(["alert", "event"], byType.Keys.Order());
        var alert = byType["alert"];
        Assert.Equal(("smep", "critical", "deny", "enforced", "web", "cleared at 0x1234"), (
            alert.GetProperty("rule").GetString(), alert.GetProperty("priority").GetString(), alert.GetProperty("verdict").GetString(),
            alert.GetProperty("outcome").GetString(), alert.GetProperty("domain_name").GetString(), alert.GetProperty("message").GetString()));
        Assert.Equal("0x100000", alert.GetProperty("write_ctrlreg").GetProperty("old").GetString());
        Assert.Equal("smep", byType["event"].GetProperty("rule").GetString());
    }

    [Fact]
    public async Task a_reload_takes_other_rules_over_and_counters_go_on()
    {
        await using var harness = new ServiceHarness(Policy(Deny));
        var sink = new CountingSink();
        harness.Sinks.Add(new(sink, new(64), (_, _) => { }));
        var domain = harness.Hypervisor.Add(1, "web");
        await harness.StartAsync();
        await ServiceHarness.Until(() => domain.Enables == 1 && harness.Service.CheckHealth().IsHealthy);
        domain.Monitor!.Send(Cr4(1 << 20, 0));
        await ServiceHarness.Until(() => sink.Alerts == 1);
        var reload = await harness.Service.ReloadAsync([Policy(Count)]);
        Assert.Equal(([], 1), (reload.Mistakes, reload.Changed));
        Assert.Equal(1, domain.Enables);
        domain.Monitor.Send(Cr4(1 << 20, 0));
        await ServiceHarness.Until(() => domain.Monitor.Responses.Count == 2);
        Assert.Equal(VmEventFlags.VcpuPaused, domain.Monitor.Responses.Last().Flags);
        await ServiceHarness.Until(() => Page(harness).Contains("introspect_rule_matches_total{domain=\"web\",priority=\"critical\",rule=\"smep\"} 2\n", StringComparison.Ordinal));
        Assert.Equal(1, sink.Alerts);

        // The same rules again change nothing.
        reload = await harness.Service.ReloadAsync([Policy(Count)]);
        Assert.Equal(([], 0), (reload.Mistakes, reload.Changed));
    }

    [Fact]
    public void alerts_of_every_kind_are_lines_that_the_schema_allows()
    {
        var schema = new SchemaChecker(File.ReadAllText(Repository.PathOf("docs", "events.schema.json")));
        using var formatter = new JsonFormatter(symbols: null);
        foreach (var kind in Enum.GetValues<AlertKind>())
        {
            foreach (var reason in Enum.GetValues<VmEventReason>())
            {
                var alert = Alert(kind, reason);
                Assert.Empty(schema.Check(System.Text.Encoding.UTF8.GetString(formatter.Alert(alert, Sinks.SampleRecords.Web))));
            }
        }
    }

    [Fact]
    public void an_alert_is_a_line_for_people()
    {
        var formatter = new TextFormatter(Palette.None, symbols: null);
        Assert.Equal("03:04:05.000  d7 v1  ALERT error  a: it happened  [deny, overruled]  (3 like it were kept back)", formatter.Alert(Alert(AlertKind.Match, VmEventReason.Cpuid)).ToString());
    }

    private static AlertRecord Alert(AlertKind kind, VmEventReason reason) => new()
    {
        Kind = kind,
        Rule = "a",
        Message = "it happened",
        Priority = RulePriority.Error,
        Tags = ["x"],
        Verdict = "deny",
        Outcome = AlertOutcome.Overruled,
        Suppressed = 3,
        Domain = new(7),
        DomainName = "web",
        Time = new(2026, 1, 2, 3, 4, 5, DateTimeKind.Utc),
        HasEvent = kind != AlertKind.Resumed,
        Event = SampleEvents.Of(reason),
    };

    private static string Page(ServiceHarness harness) => harness.Metrics.Exporter.Scrape(TimeSpan.FromSeconds(30)) ?? "";

    private static VmEvent Cr4(ulong old, ulong @new)
    {
        var request = new VmEvent { Reason = VmEventReason.WriteCtrlreg, Flags = VmEventFlags.VcpuPaused };
        request.WriteCtrlreg = new() { Index = ControlRegisterIndex.Cr4, OldValue = old, NewValue = @new };
        request.Registers.Rip = 0x1234;
        return request;
    }

    internal static DomainPolicy Policy(string rules)
    {
        var diagnostics = new DiagnosticBag();
        var set = RuleFileLoader.Load([new SourceText("rules.yaml", rules)], diagnostics);
        Assert.Empty(diagnostics.All);
        return new("*", new EventSelection(), DenyProtectionClears: false) { Rules = set };
    }
}
