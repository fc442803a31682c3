using Introspect.Hypervisor.Abi;
using Introspect.Rules.Handlers;
using Introspect.Rules.Pump;

namespace Introspect.Rules.Capture;

/// <summary>How a capture is written.</summary>
public sealed record CaptureWriterOptions
{
    /// <summary>The least that a limit of the size may be: the header and a block.</summary>
    public const long LeastMaxBytes = 64 << 10;

    /// <summary>Most bytes of the file; what does not fit is refused.</summary>
    public long? MaxBytes { get; init; }

    /// <summary>Records wait at most so long for their block to be written.</summary>
    public TimeSpan BlockAge { get; init; } = TimeSpan.FromSeconds(1);

    /// <summary>Blocks are compressed.</summary>
    public bool Compress { get; init; } = true;

    /// <summary>The clock of <see cref="BlockAge"/>.</summary>
    public TimeProvider Clock { get; init; } = TimeProvider.System;
}

/// <summary>
/// Writes a capture. Used by one thread, which allocates nothing for an event in the steady state. The file is readable
/// after each block; <see cref="Complete"/> says that nothing is missing at the end.
/// </summary>
public sealed class CaptureWriter : IDisposable
{
    // What the block of the end takes at most.
    private const int EndReserve = CaptureFormat.BlockHeaderBytes + CaptureFormat.MaxTextBytes + 128;

    private readonly CaptureHeader _header;
    private readonly CaptureWriterOptions _options;
    private readonly RecordBuffer _raw = new(CaptureFormat.BlockTarget + CaptureFormat.MaxRecordBytes);
    private readonly BlockWriter _blocks;
    private readonly string?[] _handlers = new string?[CaptureFormat.MaxHandlers];
    private VmEvent[] _previous = new VmEvent[1];
    private uint[] _previousBlock = new uint[1];
    private uint _block = 1;
    private int _handlersKnown;
    private uint _records;
    private ulong _sequence;
    private ulong _sequenceInBlock;
    private long _elapsed;
    private long _offset;
    private long _blockBegan;
    private bool _isOver;

    /// <summary>Begins a capture: its header is written at once.</summary>
    /// <param name="stream">Where to; the caller's to dispose of, after the writer.</param>
    /// <param name="header">What it is of.</param>
    /// <param name="options">How, or null for the usual.</param>
    /// <exception cref="IOException">It could not be written.</exception>
    public CaptureWriter(Stream stream, CaptureHeader header, CaptureWriterOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(stream);
        ArgumentNullException.ThrowIfNull(header);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(header.Domain.VcpuCount, CaptureFormat.MaxVcpus);
        _header = header;
        _options = options ?? new();
        _blocks = new(stream, CaptureFormat.BlockTarget + CaptureFormat.MaxRecordBytes, _options.Compress);
        CaptureHeaderCodec.Write(_raw, header);
        _blocks.WritePrelude();
        _blocks.Write(BlockKind.Header, _raw.Written, 1);
        _raw.Clear();
    }

    /// <summary>Events written.</summary>
    public long Events { get; private set; }

    /// <summary>Bytes in the file.</summary>
    public long BytesWritten => _blocks.Position;

    /// <summary>Bytes in the file before compression.</summary>
    public long BytesBeforeCompression => _blocks.RawBytes;

    /// <summary>Something did not fit the limit of the size: nothing more is taken.</summary>
    public bool IsFull { get; private set; }

    /// <summary>Writes an event. A gap in the numbers before it is written as such.</summary>
    /// <param name="record">The event.</param>
    /// <param name="memory">The memory that was taken at it, or null.</param>
    /// <returns>False when the limit of the size is reached; the event is not written then.</returns>
    /// <exception cref="IOException">It could not be written: nothing more can be.</exception>
    public bool TryWrite(in EventRecord record, MemoryRecorder? memory = null)
    {
        var snapshot = memory?.Find(record.Sequence);
        var isWritten = TryWrite(in record, snapshot);
        if (snapshot is not null)
        {
            memory!.Return();
        }

        return isWritten;
    }

    /// <summary>Writes a line of the guest's console.</summary>
    /// <returns>False when the limit of the size is reached.</returns>
    /// <exception cref="IOException">It could not be written: nothing more can be.</exception>
    public bool TryWriteConsole(DateTime time, string line)
    {
        ArgumentNullException.ThrowIfNull(line);
        if (!TryMakeRoom(CaptureFormat.MaxLineBytes + 32))
        {
            return false;
        }

        Begin(RecordKind.Console);
        _raw.Signed((time - _header.Started).Ticks);
        _raw.Text(line, CaptureFormat.MaxLineBytes);
        Finish();
        return true;
    }

    /// <summary>Writes the name of an address, for readers that have no symbols.</summary>
    /// <returns>False when the limit of the size is reached.</returns>
    /// <exception cref="IOException">It could not be written: nothing more can be.</exception>
    public bool TryWriteSymbol(ulong address, string name, ulong offset)
    {
        ArgumentNullException.ThrowIfNull(name);
        if (!TryMakeRoom(CaptureFormat.MaxTextBytes + 32))
        {
            return false;
        }

        Begin(RecordKind.Symbol);
        _raw.Number(address);
        _raw.Number(offset);
        _raw.Text(name);
        Finish();
        return true;
    }

    /// <summary>Writes what waits if it has waited for <see cref="CaptureWriterOptions.BlockAge"/>.</summary>
    /// <exception cref="IOException">It could not be written: nothing more can be.</exception>
    public void FlushIfDue()
    {
        if (_records != 0 && _options.Clock.GetElapsedTime(_blockBegan) >= _options.BlockAge)
        {
            Flush();
        }
    }

    /// <summary>Writes what waits as a block.</summary>
    /// <exception cref="IOException">It could not be written: nothing more can be.</exception>
    public void Flush()
    {
        if (_records == 0)
        {
            return;
        }

        if (_isOver)
        {
            throw new IOException("an earlier block could not be written");
        }

        // Whatever happens in between, this block is not written twice.
        _isOver = true;
        _blocks.Write(BlockKind.Records, _raw.Written, _records);
        _isOver = false;
        _raw.Clear();
        _records = 0;
        _block++;
        _handlersKnown = 0;
        (_sequenceInBlock, _elapsed, _offset) = (0, 0, 0);
    }

    /// <summary>Writes how the recording ended, and all that waits. There is always room for it.</summary>
    /// <exception cref="IOException">It could not be written.</exception>
    public void Complete(CaptureEnd end)
    {
        ArgumentNullException.ThrowIfNull(end);
        if (_isOver)
        {
            return;
        }

        if (_raw.Length > CaptureFormat.BlockTarget || (_options.MaxBytes is not null && _records != 0))
        {
            Flush();
        }

        Begin(RecordKind.End);
        _raw.Signed((end.Time - _header.Started).Ticks);
        _raw.Text(end.Reason);
        _raw.Time(end.Elapsed);
        _raw.Time(end.VcpuPaused);
        _raw.Number((ulong)end.Dropped);
        _raw.Number((ulong)end.Malformed);
        _records++;
        Flush();
        _isOver = true;
    }

    /// <summary>Writes what waits, if nothing failed before.</summary>
    public void Dispose()
    {
        if (!_isOver)
        {
            Flush();
            _isOver = true;
        }
    }

    internal bool TryWrite(in EventRecord record, MemorySnapshot? memory)
    {
        var memoryBytes = memory is null ? 0 : MostBytesOf(memory);
        if (!TryMakeRoom(VmEventDelta.MaxBytes + CaptureFormat.MaxTextBytes + 128 + memoryBytes))
        {
            return false;
        }

        if (record.Sequence > _sequence + 1 && record.Sequence != 0)
        {
            Begin(RecordKind.Gap);
            _raw.Number(record.Sequence - _sequence - 1);
            _records++;
        }

        Begin(RecordKind.Event);
        _sequence = record.Sequence;
        _raw.Signed((long)(record.Sequence - _sequenceInBlock));
        _sequenceInBlock = record.Sequence;
        _raw.Signed(record.Elapsed.Ticks - _elapsed);
        _elapsed = record.Elapsed.Ticks;
        var offset = (record.Time - _header.Started).Ticks - record.Elapsed.Ticks;
        _raw.Signed(offset - _offset);
        _offset = offset;
        _raw.Time(record.HandlingTime);
        _raw.Time(record.PausedTime);
        WriteAnswer(in record, memory is not null);
        _raw.Number(record.Event.VcpuId);
        _raw.Advance(VmEventDelta.Encode(in record.Event, ref Previous(record.Event.VcpuId), _raw.Room(VmEventDelta.MaxBytes)));
        if (memory is not null)
        {
            WriteMemory(memory);
        }

        Events++;
        Finish();
        return true;
    }

    private void WriteAnswer(in EventRecord record, bool hasMemory)
    {
        var verdict = record.Verdict;
        var bits = (AnswerBits)verdict.Decision;
        bits |= verdict.Effects != VerdictEffects.None ? AnswerBits.HasEffects : 0;
        bits |= verdict.View != 0 ? AnswerBits.HasView : 0;
        bits |= hasMemory ? AnswerBits.HasMemory : 0;
        _raw.Byte((byte)bits);
        if ((bits & AnswerBits.HasEffects) != 0)
        {
            _raw.Byte((byte)verdict.Effects);
        }

        if ((bits & AnswerBits.HasView) != 0)
        {
            _raw.Number(verdict.View);
        }

        WriteHandler(record.Handler);
        _raw.Number((ulong)record.ResponseFlags);
    }

    private void WriteHandler(string? name)
    {
        if (name is null)
        {
            _raw.Number(0);
            return;
        }

        for (var i = 0; i < _handlersKnown; i++)
        {
            if (ReferenceEquals(_handlers[i], name) || string.Equals(_handlers[i], name, StringComparison.Ordinal))
            {
                _raw.Number((ulong)i + 1);
                return;
            }
        }

        if (_handlersKnown == _handlers.Length)
        {
            // No pump has so many.
            _raw.Number(0);
            return;
        }

        _handlers[_handlersKnown++] = name;
        _raw.Number((ulong)_handlersKnown);
        _raw.Text(name);
    }

    private void WriteMemory(MemorySnapshot memory)
    {
        _raw.Number((ulong)memory.Count);
        var end = 0UL;
        foreach (ref readonly var piece in memory.Pieces)
        {
            _raw.Byte(piece.IsMapped ? (byte)1 : (byte)0);
            _raw.Signed((long)(piece.Address - end));
            end = piece.Address + (ulong)piece.Length;
            _raw.Number((ulong)piece.Length);
            if (piece.IsMapped)
            {
                _raw.Number(piece.Physical);
                _raw.Bytes(memory.BytesOf(in piece));
            }
        }
    }

    private static int MostBytesOf(MemorySnapshot memory)
    {
        var bytes = 8;
        foreach (ref readonly var piece in memory.Pieces)
        {
            bytes += 32 + piece.Length;
        }

        return bytes;
    }

    // The event before on the vCPU, in this block: each can be read by itself.
    private ref VmEvent Previous(uint vcpu)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(vcpu, (uint)CaptureFormat.MaxVcpus);
        if (vcpu >= (uint)_previous.Length)
        {
            var length = Math.Max((int)vcpu + 1, 2 * _previous.Length);
            Array.Resize(ref _previous, length);
            Array.Resize(ref _previousBlock, length);
        }

        if (_previousBlock[vcpu] != _block)
        {
            _previousBlock[vcpu] = _block;
            _previous[vcpu] = default;
        }

        return ref _previous[vcpu];
    }

    private void Begin(RecordKind kind)
    {
        if (_records == 0)
        {
            _blockBegan = _options.Clock.GetTimestamp();
        }

        _raw.Byte((byte)kind);
    }

    private void Finish()
    {
        _records++;
        if (_raw.Length >= CaptureFormat.BlockTarget)
        {
            Flush();
        }
    }

    // Before compression nobody knows what a block will take: only when it might be too much, it is closed to see.
    private bool TryMakeRoom(int bytes)
    {
        if (_isOver)
        {
            throw new IOException("the capture is closed");
        }

        if (_options.MaxBytes is not { } max || IsFull)
        {
            return !IsFull;
        }

        if (!Fits(bytes) && _records != 0)
        {
            Flush();
        }

        IsFull = !Fits(bytes);
        return !IsFull;

        bool Fits(int more) => _blocks.Position + CaptureFormat.BlockHeaderBytes + _raw.Length + more + EndReserve <= max;
    }
}
