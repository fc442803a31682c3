using System.Text;
using Introspect.Daemon.Output;
using Introspect.Hypervisor;
using Introspect.Rules.Files;
using Introspect.Rules.Pump;
using Introspect.Rules.Running;

namespace Introspect.Daemon.Sinks.Otlp;

/// <summary>
/// Events as log records of the OpenTelemetry protocol (opentelemetry.proto.collector.logs.v1, ExportLogsServiceRequest):
/// records are gathered, and become one request with the program as their resource.
/// </summary>
internal sealed class OtlpLogEncoder : IDisposable
{
    // SeverityNumber of the protocol.
    private const ulong Info = 9;
    private const ulong Warn = 13;

    private readonly ProtoBuffer _records = new(1 << 16);
    private readonly ProtoBuffer _record = new();
    private readonly ProtoBuffer _attribute = new(256);
    private readonly ProtoBuffer _value = new(256);
    private readonly ProtoBuffer _request = new(1 << 16);
    private readonly byte[] _resource;
    private readonly byte[] _scope;
    private readonly EventMessage _message = new();
    private readonly JsonFormatter _json = new(symbols: null);

    /// <summary>Makes an encoder.</summary>
    public OtlpLogEncoder()
    {
        _record.Clear();
        foreach (var (key, value) in OtlpResource.Attributes)
        {
            Attribute(key, value, field: 1);
        }

        _resource = _record.Written.ToArray();
        _record.Clear();
        _record.Text(1, "introspect.events");
        _record.Text(2, ProgramInfo.Version);
        _scope = _record.Written.ToArray();
    }

    /// <summary>Records that were gathered.</summary>
    public int Count { get; private set; }

    /// <summary>Their bytes.</summary>
    public int Bytes => _records.Written.Length;

    /// <summary>Adds an event.</summary>
    public void Add(in EventRecord record, DomainInfo domain, DateTimeOffset now)
    {
        var context = RecordContext.Of(record, domain);
        var intervention = RecordContext.IsIntervention(context);
        _record.Clear();
        _record.Fixed64(1, Nanoseconds(context.Time));
        _record.Integer(2, intervention ? Warn : Info);
        _record.Text(3, intervention ? "WARN" : "INFO");
        _value.Clear();
        _value.Text(1, _message.Of(record.Event, context).ToString());
        _record.Bytes(5, _value.Written);
        Attribute("introspect.domain.name", EventMessage.Label(context));
        Attribute("introspect.domain.id", context.Domain.Value);
        Attribute("introspect.domain.uuid", context.DomainUuid.ToString());
        Attribute("introspect.vcpu", record.Event.VcpuId);
        Attribute("introspect.reason", ReasonNames.Of(record.Reason));
        Attribute("introspect.sequence", (ulong)context.Sequence);
        Attribute("introspect.verdict", context.Verdict);
        if (context.Rule is { } rule)
        {
            Attribute("introspect.rule", rule);
        }

        Attribute("introspect.event", Encoding.UTF8.GetString(_json.Event(record.Event, context)[..^1]));
        _record.Fixed64(11, Nanoseconds(now));
        _record.Text(12, "introspect." + ReasonNames.Of(record.Reason));
        _records.Bytes(2, _record.Written);
        Count++;
    }

    /// <summary>Adds an alert.</summary>
    public void Add(AlertRecord alert, DomainInfo domain, DateTimeOffset now)
    {
        var (severity, name) = Severity(alert.Priority);
        _record.Clear();
        _record.Fixed64(1, Nanoseconds(new(DateTime.SpecifyKind(alert.Time, DateTimeKind.Utc))));
        _record.Integer(2, severity);
        _record.Text(3, name);
        _value.Clear();
        _value.Text(1, alert.Message);
        _record.Bytes(5, _value.Written);
        Attribute("introspect.domain.name", EventMessage.Label(alert.Domain, alert.DomainName));
        Attribute("introspect.domain.id", alert.Domain.Value);
        Attribute("introspect.domain.uuid", domain.Uuid.ToString());
        Attribute("introspect.rule", alert.Rule);
        Attribute("introspect.verdict", alert.Verdict);
        Attribute("introspect.alert", Encoding.UTF8.GetString(_json.Alert(alert, domain)[..^1]));
        _record.Fixed64(11, Nanoseconds(now));
        _record.Text(12, "introspect.alert");
        _records.Bytes(2, _record.Written);
        Count++;
    }

    /// <summary>Everything that was gathered, as one request. Valid until the next call.</summary>
    public ReadOnlySpan<byte> Request()
    {
        var scopeLogs = ProtoBuffer.SizeOf(_scope.Length) + _records.Written.Length;
        _request.Clear();
        _request.Length(1, ProtoBuffer.SizeOf(_resource.Length) + ProtoBuffer.SizeOf(scopeLogs));
        _request.Bytes(1, _resource);
        _request.Length(2, scopeLogs);
        _request.Bytes(1, _scope);
        _request.Raw(_records.Written);
        return _request.Written;
    }

    /// <summary>Begins anew.</summary>
    public void Clear()
    {
        _records.Clear();
        Count = 0;
    }

    /// <inheritdoc/>
    public void Dispose() => _json.Dispose();

    // The numbers that the protocol's data model gives syslog's severities.
    private static (ulong Number, string Name) Severity(RulePriority priority) => priority switch
    {
        RulePriority.Emergency => (21, "FATAL"),
        RulePriority.Alert => (19, "ERROR3"),
        RulePriority.Critical => (18, "ERROR2"),
        RulePriority.Error => (17, "ERROR"),
        RulePriority.Warning => (Warn, "WARN"),
        RulePriority.Notice => (10, "INFO2"),
        RulePriority.Info => (Info, "INFO"),
        _ => (5, "DEBUG"),
    };

    private void Attribute(string key, string value, int field = 6)
    {
        _value.Clear();
        _value.Text(1, value);
        Pair(field, key);
    }

    private void Attribute(string key, ulong value)
    {
        _value.Clear();
        _value.Integer(3, value);
        Pair(field: 6, key);
    }

    private void Pair(int field, string key)
    {
        _attribute.Clear();
        _attribute.Text(1, key);
        _attribute.Bytes(2, _value.Written);
        _record.Bytes(field, _attribute.Written);
    }

    private static ulong Nanoseconds(DateTimeOffset time) => (ulong)(time - DateTimeOffset.UnixEpoch).Ticks * 100;
}

/// <summary>Who exports, the same for logs and metrics.</summary>
internal static class OtlpResource
{
    /// <summary>The attributes of the resource.</summary>
    public static IReadOnlyList<KeyValuePair<string, string>> Attributes { get; } =
    [
        new("service.name", "introspect"),
        new("service.version", ProgramInfo.Version),
        new("service.instance.id", $"{Environment.MachineName}:{Environment.ProcessId}"),
        new("host.name", Environment.MachineName),
    ];
}
