using System.Buffers;
using System.Buffers.Binary;
using System.Globalization;
using System.Net.Sockets;
using System.Text;
using Introspect.Daemon.Output;
using Introspect.Hypervisor;
using Introspect.Rules.Files;
using Introspect.Rules.Pump;
using Introspect.Rules.Running;

namespace Introspect.Daemon.Sinks;

/// <summary>
/// Events in systemd's journal, by its native protocol: one datagram an event, with fields that <c>journalctl</c> can
/// select by (<c>journalctl INTROSPECT_DOMAIN=web</c>).
/// </summary>
internal sealed class JournaldSink(string socket) : IEventSink
{
    /// <summary>Where the journal listens.</summary>
    public const string DefaultSocket = "/run/systemd/journal/socket";

    /// <summary>What every event's entry is marked with, for <c>journalctl MESSAGE_ID=</c>.</summary>
    public const string MessageId = "5f1f4f0d7a3f4d0f9d2c0c5b7a4e8d16";

    private const int Warning = 4;
    private const int Informational = 6;

    private readonly DatagramSocket _socket = new(new UnixDomainSocketEndPoint(socket));
    private readonly ArrayBufferWriter<byte> _entry = new(1024);
    private readonly EventMessage _message = new();
    private readonly JsonFormatter _json = new(symbols: null);

    /// <inheritdoc/>
    public string Name => "journald";

    /// <inheritdoc/>
    public void Write(in EventRecord record, DomainInfo domain)
    {
        var context = RecordContext.Of(record, domain);
        _entry.ResetWrittenCount();
        Field("MESSAGE", _message.Of(record.Event, context).ToString());
        Field("MESSAGE_ID", MessageId);
        Field("PRIORITY", Number(RecordContext.IsIntervention(context) ? Warning : Informational));
        Field("SYSLOG_IDENTIFIER", "introspect");
        Field("INTROSPECT_DOMAIN", EventMessage.Label(context));
        Field("INTROSPECT_DOMAIN_ID", context.Domain.ToString());
        Field("INTROSPECT_DOMAIN_UUID", context.DomainUuid.ToString());
        Field("INTROSPECT_VCPU", Number(record.Event.VcpuId));
        Field("INTROSPECT_REASON", ReasonNames.Of(record.Reason));
        Field("INTROSPECT_SEQUENCE", Number(context.Sequence));
        Field("INTROSPECT_VERDICT", context.Verdict);
        if (context.Rule is { } rule)
        {
            Field("INTROSPECT_RULE", rule);
        }

        Field("INTROSPECT_EVENT", Encoding.UTF8.GetString(_json.Event(record.Event, context)[..^1]));
        _socket.Send(_entry.WrittenSpan);
    }

    /// <inheritdoc/>
    public void Write(AlertRecord alert, DomainInfo domain)
    {
        _entry.ResetWrittenCount();
        Field("MESSAGE", alert.Message);
        Field("MESSAGE_ID", MessageId);
        Field("PRIORITY", Number((int)alert.Priority)); // the priorities are syslog's
        Field("SYSLOG_IDENTIFIER", "introspect");
        Field("INTROSPECT_DOMAIN", EventMessage.Label(alert.Domain, alert.DomainName));
        Field("INTROSPECT_DOMAIN_ID", alert.Domain.ToString());
        Field("INTROSPECT_DOMAIN_UUID", domain.Uuid.ToString());
        Field("INTROSPECT_RULE", alert.Rule);
        Field("INTROSPECT_KIND", RuleValues.NameOf(alert.Kind));
        Field("INTROSPECT_VERDICT", alert.Verdict);
        Field("INTROSPECT_ALERT", Encoding.UTF8.GetString(_json.Alert(alert, domain)[..^1]));
        _socket.Send(_entry.WrittenSpan);
    }

    /// <inheritdoc/>
    public void Flush()
    {
    }

    /// <inheritdoc/>
    public void Reopen()
    {
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _socket.Dispose();
        _json.Dispose();
    }

    private static string Number(long value) => value.ToString(CultureInfo.InvariantCulture);

    // NAME=value and a line end; a value with a line end of its own goes with its length before it.
    private void Field(string name, string value)
    {
        Encoding.UTF8.GetBytes(name, _entry);
        if (value.Contains('\n', StringComparison.Ordinal))
        {
            _entry.Write("\n"u8);
            BinaryPrimitives.WriteInt64LittleEndian(_entry.GetSpan(sizeof(long)), Encoding.UTF8.GetByteCount(value));
            _entry.Advance(sizeof(long));
        }
        else
        {
            _entry.Write("="u8);
        }

        Encoding.UTF8.GetBytes(value, _entry);
        _entry.Write("\n"u8);
    }
}
