using System.Buffers;
using System.Globalization;
using System.Text;
using Introspect.Daemon.Output;
using Introspect.Hypervisor;
using Introspect.Rules.Files;
using Introspect.Rules.Pump;
using Introspect.Rules.Running;

namespace Introspect.Daemon.Sinks.Syslog;

/// <summary>How the syslog sink is set.</summary>
/// <param name="Address">Where the server listens.</param>
/// <param name="Facility">Facility number.</param>
/// <param name="Shape">Shape of the text; null: a sentence.</param>
internal sealed record SyslogOptions(SyslogAddress Address, int Facility, JsonShape? Shape);

/// <summary>Events as RFC 5424 messages.</summary>
internal sealed class SyslogSink : IEventSink
{
    private readonly ISyslogConnection _connection;
    private readonly SyslogMessage _message;
    private readonly ArrayBufferWriter<byte> _text = new(512);
    private readonly EventMessage _sentence = new();
    private readonly IEventFormatter? _json;

    /// <summary>Makes a sink.</summary>
    public SyslogSink(SyslogOptions options)
    {
        _connection = options.Address.Transport == SyslogTransport.Tcp ? new SyslogStream(options.Address, TimeProvider.System) : new SyslogDatagrams(options.Address);
        _message = new(options.Facility, Environment.MachineName, Environment.ProcessId.ToString(CultureInfo.InvariantCulture));
        _json = options.Shape is { } shape ? MappedFormatter.For(shape) : null;
    }

    /// <inheritdoc/>
    public string Name => "syslog";

    /// <inheritdoc/>
    public long Held => Lost == 0 ? _connection.Held : 0;

    /// <inheritdoc/>
    public long Lost { get; private set; }

    /// <inheritdoc/>
    public void Write(in EventRecord record, DomainInfo domain)
    {
        var context = RecordContext.Of(record, domain);
        var severity = RecordContext.IsIntervention(context) ? SyslogSeverity.Warning : SyslogSeverity.Informational;
        _connection.Send(_message.Format(severity, ReasonNames.Of(record.Reason), context, (int)record.Event.VcpuId, Text(record, context)));
    }

    /// <inheritdoc/>
    public void Write(AlertRecord alert, DomainInfo domain) =>
        _connection.Send(_message.Format((SyslogSeverity)alert.Priority, RuleValues.NameOf(alert.Kind), alert, Text(alert, domain)));

    /// <inheritdoc/>
    public void Flush() => _connection.Flush();

    /// <inheritdoc/>
    public void Reopen()
    {
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Lost = _connection.Held;
        _connection.Dispose();
        _json?.Dispose();
    }

    private ReadOnlySpan<byte> Text(AlertRecord alert, DomainInfo domain)
    {
        if (_json is not null)
        {
            return _json.Alert(alert, domain)[..^1];
        }

        _text.ResetWrittenCount();
        Encoding.UTF8.GetBytes(alert.Message, _text);
        return _text.WrittenSpan;
    }

    private ReadOnlySpan<byte> Text(in EventRecord record, in EventContext context)
    {
        if (_json is not null)
        {
            return _json.Event(record.Event, context)[..^1];
        }

        _text.ResetWrittenCount();
        foreach (var chunk in _sentence.Of(record.Event, context).GetChunks())
        {
            Encoding.UTF8.GetBytes(chunk.Span, _text);
        }

        return _text.WrittenSpan;
    }
}
