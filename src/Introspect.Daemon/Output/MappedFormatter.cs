using System.Buffers;
using System.Globalization;
using System.Text.Encodings.Web;
using System.Text.Json;
using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;
using Introspect.Rules.Running;

namespace Introspect.Daemon.Output;

/// <summary>
/// Events in a schema that others defined: its common fields, and under a name of ours the whole event as
/// <see cref="JsonFormatter"/> writes it, so that nothing is lost on the way.
/// </summary>
internal abstract class MappedFormatter : IEventFormatter
{
    private readonly ArrayBufferWriter<byte> _bytes = new(2048);
    private readonly Utf8JsonWriter _json;
    private readonly JsonFormatter _native = new(symbols: null);
    private readonly EventMessage _message = new();

    /// <summary>Makes a formatter.</summary>
    protected MappedFormatter() => _json = new(_bytes, new JsonWriterOptions { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping });

    /// <summary>The formatter of a shape.</summary>
    public static IEventFormatter For(JsonShape shape) => shape switch
    {
        JsonShape.Ecs => new EcsFormatter(),
        JsonShape.Ocsf => new OcsfFormatter(),
        _ => new JsonFormatter(symbols: null),
    };

    /// <inheritdoc/>
    public ReadOnlySpan<byte> Event(in VmEvent e, in EventContext context)
    {
        Begin();
        Write(_json, e, context, _message.Of(e, context).ToString());
        return End();
    }

    /// <inheritdoc/>
    public ReadOnlySpan<byte> Alert(AlertRecord alert, DomainInfo domain)
    {
        Begin();
        Write(_json, alert, domain);
        return End();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _json.Dispose();
        _native.Dispose();
    }

    /// <summary>Writes the fields of the schema.</summary>
    protected abstract void Write(Utf8JsonWriter json, in VmEvent e, in EventContext context, string message);

    /// <summary>Writes the fields that the schema has for an alert.</summary>
    protected abstract void Write(Utf8JsonWriter json, AlertRecord alert, DomainInfo domain);

    /// <summary>Writes the alert as it is.</summary>
    protected void WriteNative(Utf8JsonWriter json, AlertRecord alert, DomainInfo domain)
    {
        json.WritePropertyName("introspect");
        json.WriteRawValue(_native.Alert(alert, domain)[..^1], skipInputValidation: true);
    }

    /// <summary>Writes the event as it is.</summary>
    protected void WriteNative(Utf8JsonWriter json, in VmEvent e, in EventContext context)
    {
        json.WritePropertyName("introspect");
        json.WriteRawValue(_native.Event(e, context)[..^1], skipInputValidation: true);
    }

    /// <summary>When an alert's event was taken.</summary>
    protected static DateTimeOffset TimeOf(AlertRecord alert) => new(DateTime.SpecifyKind(alert.Time, DateTimeKind.Utc));

    /// <summary>A number of 64 bits, which no reader may round.</summary>
    protected static string Hex(ulong value) => string.Create(CultureInfo.InvariantCulture, $"0x{value:x}");

    private void Begin()
    {
        _bytes.ResetWrittenCount();
        _json.Reset();
        _json.WriteStartObject();
    }

    private ReadOnlySpan<byte> End()
    {
        _json.WriteEndObject();
        _json.Flush();
        _bytes.Write("\n"u8);
        return _bytes.WrittenSpan;
    }
}
