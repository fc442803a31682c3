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
    private const int BufferBytes = 1 << 16;

    private readonly ArrayBufferWriter<byte> _waiting = new(BufferBytes);
    private readonly IEventFormatter _formatter;
    private readonly Func<Stream> _open;
    private Stream? _stream;

    /// <summary>Makes a sink.</summary>
    /// <param name="open">Opens the stream; again after a rotation.</param>
    /// <param name="symbols">Names for addresses, in the program's own shape.</param>
    /// <param name="shape">The shape of the lines.</param>
    public JsonSink(Func<Stream> open, ISymbolSource? symbols, JsonShape shape = JsonShape.Introspect)
    {
        _open = open;
        _formatter = shape == JsonShape.Introspect ? new JsonFormatter(symbols) : MappedFormatter.For(shape);
        _stream = open();
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
    public void Write(in EventRecord record, DomainInfo domain)
    {
        MakeRoom();
        _waiting.Write(_formatter.Event(record.Event, RecordContext.Of(record, domain)));
    }

    /// <inheritdoc/>
    public void Write(AlertRecord alert, DomainInfo domain)
    {
        MakeRoom();
        _waiting.Write(_formatter.Alert(alert, domain));
    }

    /// <inheritdoc/>
    public void Flush()
    {
        WriteWaiting();
        _stream?.Flush();
    }

    /// <inheritdoc/>
    public void Reopen()
    {
        try
        {
            WriteWaiting();
        }
        finally
        {
            _stream?.Dispose();
            _stream = null;
        }

        _stream = _open();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _stream?.Dispose();
        _formatter.Dispose();
    }

    // Before a record is taken: when this fails, the record can be given again.
    private void MakeRoom()
    {
        if (_waiting.WrittenCount >= BufferBytes)
        {
            WriteWaiting();
        }
    }

    private void WriteWaiting()
    {
        if (_waiting.WrittenCount != 0)
        {
            _stream ??= _open();
            _stream.Write(_waiting.WrittenSpan);
            _waiting.ResetWrittenCount();
        }
    }
}
