using System.Buffers;
using System.Text;
using Introspect.Daemon.Output;
using Introspect.Hypervisor;
using Introspect.Rules.Pump;
using Introspect.Rules.Running;

namespace Introspect.Daemon.Sinks;

/// <summary>Events as lines for people.</summary>
/// <param name="stream">Where they go, unbuffered.</param>
/// <param name="formatter">Makes them.</param>
internal sealed class TextSink(Stream stream, TextFormatter formatter) : IEventSink
{
    private readonly LineBuffer _lines = new(() => stream);

    /// <inheritdoc/>
    public string Name => "text";

    /// <inheritdoc/>
    public long Held => _lines.Held;

    /// <inheritdoc/>
    public long Lost => _lines.Lost;

    /// <inheritdoc/>
    public void Write(in EventRecord record, DomainInfo domain)
    {
        var line = _lines.Begin();
        Write(line, formatter.Event(record.Event, RecordContext.Of(record, domain)));
    }

    /// <inheritdoc/>
    public void Write(AlertRecord alert, DomainInfo domain)
    {
        var line = _lines.Begin();
        Write(line, formatter.Alert(alert));
    }

    /// <inheritdoc/>
    public void Flush() => _lines.Flush();

    /// <inheritdoc/>
    public void Reopen()
    {
    }

    /// <inheritdoc/>
    public void Dispose() => _lines.Dispose();

    private void Write(IBufferWriter<byte> line, StringBuilder text)
    {
        text.Append('\n');
        foreach (var chunk in text.GetChunks())
        {
            Encoding.UTF8.GetBytes(chunk.Span, line);
        }

        _lines.End();
    }
}
