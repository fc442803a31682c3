using System.Buffers;
using Introspect.Daemon.Output;
using Introspect.Daemon.Symbols;
using Introspect.Hypervisor;
using Introspect.Rules.Pump;
using Introspect.Rules.Running;

namespace Introspect.Daemon.Sinks;

/// <summary>Events as NDJSON, appended to a file or written to a stream.</summary>
internal sealed class JsonSink : IEventSink
{
    private readonly LineBuffer _lines;
    private readonly IEventFormatter _formatter;

    /// <summary>Makes a sink.</summary>
    /// <param name="open">Opens the stream; again after a rotation.</param>
    /// <param name="symbols">Names for addresses, in the program's own shape.</param>
    /// <param name="shape">The shape of the lines.</param>
    public JsonSink(Func<Stream> open, ISymbolSource? symbols, JsonShape shape = JsonShape.Introspect)
    {
        _formatter = shape == JsonShape.Introspect ? new JsonFormatter(symbols) : MappedFormatter.For(shape);
        _lines = new(open);
    }

    /// <inheritdoc/>
    public string Name => "json";

    /// <summary>
    /// Opens a file to append to. Only the service and its group read what guests do. It is not buffered, so that a write
    /// that failed half way can be made again as a whole.
    /// </summary>
    public static Stream OpenFile(string path) => new FileStream(path, new FileStreamOptions
    {
        Mode = FileMode.Append,
        Access = FileAccess.Write,
        Share = FileShare.ReadWrite | FileShare.Delete,
        BufferSize = 0,
        UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.GroupRead,
    });

    /// <inheritdoc/>
    public long Held => _lines.Held;

    /// <inheritdoc/>
    public long Lost => _lines.Lost;

    /// <inheritdoc/>
    public void Write(in EventRecord record, DomainInfo domain)
    {
        _lines.Begin().Write(_formatter.Event(record.Event, RecordContext.Of(record, domain)));
        _lines.End();
    }

    /// <inheritdoc/>
    public void Write(AlertRecord alert, DomainInfo domain)
    {
        _lines.Begin().Write(_formatter.Alert(alert, domain));
        _lines.End();
    }

    /// <inheritdoc/>
    public void Flush() => _lines.Flush();

    /// <inheritdoc/>
    public void Reopen() => _lines.Reopen();

    /// <inheritdoc/>
    public void Dispose()
    {
        _lines.Dispose();
        _formatter.Dispose();
    }
}
