using System.Text;
using System.Text.Json;
using Introspect.Daemon.Output;
using Introspect.Daemon.Sinks;
using Introspect.Daemon.Sinks.Syslog;
using Introspect.Daemon.Tests.Fakes;
using Introspect.Hypervisor.Abi;
using Introspect.Rules.Files;
using Introspect.Rules.Running;

namespace Introspect.Daemon.Tests.Sinks;

/// <summary>Alerts go where events go, with their rule's priority.</summary>
public sealed class AlertSinkTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("introspect-alerts-").FullName;

    private string SocketPath => Path.Combine(_folder, "socket");

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public void by_journald_with_fields_to_select_by()
    {
        using var journal = Datagrams.Listen(SocketPath);
        using var sink = new JournaldSink(SocketPath);
        sink.Write(Alert(RulePriority.Critical), SampleRecords.Web);
        var entry = Encoding.UTF8.GetString(Datagrams.Receive(journal)).Split('\n');
        Assert.Contains("MESSAGE=SMEP cleared", entry);
        Assert.Contains("PRIORITY=2", entry);
        Assert.Contains("INTROSPECT_RULE=smep_cleared", entry);
        Assert.Contains("INTROSPECT_VERDICT=deny", entry);
        Assert.Contains(entry, line => line.StartsWith("INTROSPECT_ALERT={\"type\":\"alert\"", StringComparison.Ordinal));
    }

    [Fact]
    public void by_syslog_in_one_line()
    {
        using var log = Datagrams.Listen(SocketPath);
        using var sink = new SyslogSink(new(SyslogAddress.Parse($"unix:{SocketPath}")!, 16, null));
        sink.Write(Alert(RulePriority.Emergency, "two\nlines"), SampleRecords.Web);
        var message = Encoding.UTF8.GetString(Datagrams.Receive(log));
        Assert.StartsWith("<128>1 2026-01-02T03:04:05.000000Z ", message, StringComparison.Ordinal);
        Assert.EndsWith("rule=\"smep_cleared\" verdict=\"deny\"] two lines", message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(RulePriority.Emergency, 6)]
    [InlineData(RulePriority.Critical, 5)]
    [InlineData(RulePriority.Warning, 3)]
    [InlineData(RulePriority.Debug, 1)]
    public void in_ocsf_as_a_detection_finding(RulePriority priority, int severity)
    {
        var alert = Format(JsonShape.Ocsf, priority);
        Assert.Equal((2, 2004, 200401), (alert.GetProperty("category_uid").GetInt32(), alert.GetProperty("class_uid").GetInt32(), alert.GetProperty("type_uid").GetInt32()));
        Assert.Equal(severity, alert.GetProperty("severity_id").GetInt32());
        Assert.Equal("smep_cleared", alert.GetProperty("finding_info").GetProperty("title").GetString());
        Assert.Equal("alert", alert.GetProperty("unmapped").GetProperty("introspect").GetProperty("type").GetString());
    }

    [Fact]
    public void in_ecs_as_an_alert()
    {
        var alert = Format(JsonShape.Ecs, RulePriority.Error);
        var about = alert.GetProperty("event");
        Assert.Equal(("alert", "intrusion_detection", 3), (about.GetProperty("kind").GetString(), about.GetProperty("category")[0].GetString(), about.GetProperty("severity").GetInt32()));
        Assert.Equal("2026-01-02T03:04:05.000000Z", alert.GetProperty("@timestamp").GetString());
        Assert.Equal(("smep_cleared", "kernel"), (alert.GetProperty("rule").GetProperty("name").GetString(), alert.GetProperty("tags")[0].GetString()));
        Assert.Equal("write_ctrlreg", alert.GetProperty("introspect").GetProperty("reason").GetString());
    }

    private static JsonElement Format(JsonShape shape, RulePriority priority)
    {
        using var formatter = MappedFormatter.For(shape);
        return JsonDocument.Parse(Encoding.UTF8.GetString(formatter.Alert(Alert(priority), SampleRecords.Web))).RootElement;
    }

    private static AlertRecord Alert(RulePriority priority, string message = "SMEP cleared") => new()
    {
        Kind = AlertKind.Match,
        Rule = "smep_cleared",
        Message = message,
        Priority = priority,
        Tags = ["kernel"],
        Verdict = "deny",
        Domain = SampleRecords.Web.Id,
        DomainName = SampleRecords.Web.Name,
        Time = new(2026, 1, 2, 3, 4, 5, DateTimeKind.Utc),
        HasEvent = true,
        Event = SampleEvents.Of(VmEventReason.WriteCtrlreg),
    };
}
