using System.Buffers;

namespace Introspect.Daemon.Sinks;

/// <summary>
/// Lines on their way to a file or a stream, gathered into large writes. What a write could not take waits and is written
/// again, as a whole; a file keeps nothing of a write that failed.
/// </summary>
/// <param name="open">Opens the stream; again after a rotation.</param>
internal sealed class LineBuffer(Func<Stream> open) : IDisposable
{
    private const int Bytes = 1 << 16;

    private readonly ArrayBufferWriter<byte> _waiting = new(Bytes);
    private Stream? _stream = open();

    /// <summary>Lines that were taken and are not written yet.</summary>
    public long Held { get; private set; }

    /// <summary>Lines that were taken and could not be written to the end.</summary>
    public long Lost { get; private set; }

    /// <summary>Where the next line goes.</summary>
    /// <exception cref="IOException">There is no room: nothing was taken, and the line can be given again.</exception>
    public IBufferWriter<byte> Begin()
    {
        if (_waiting.WrittenCount >= Bytes)
        {
            WriteWaiting();
        }

        return _waiting;
    }

    /// <summary>The line is complete.</summary>
    public void End() => Held++;

    /// <summary>Writes what waits.</summary>
    public void Flush()
    {
        WriteWaiting();
        _stream?.Flush();
    }

    /// <summary>Writes what waits where that can be done, and opens the stream anew.</summary>
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

        _stream = open();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        (Lost, Held) = (Lost + Held, 0);
        _stream?.Dispose();
    }

    private void WriteWaiting()
    {
        if (_waiting.WrittenCount == 0)
        {
            return;
        }

        _stream ??= open();
        if (_stream is FileStream { CanSeek: true } file)
        {
            // The next try may be made in another file.
            WholeWrite.Append(file, _waiting.WrittenSpan);
        }
        else
        {
            _stream.Write(_waiting.WrittenSpan);
        }

        _waiting.ResetWrittenCount();
        Held = 0;
    }
}
