using Introspect.Hypervisor.Abi;
using Introspect.Rules.Handlers;
using Introspect.Rules.Pump;

namespace Introspect.Rules.Capture;

/// <summary>What <see cref="CaptureReader.Read"/> found.</summary>
public enum CaptureItem
{
    /// <summary>Nothing more.</summary>
    None = 0,

    /// <summary>An event: <see cref="CaptureReader.Event"/>.</summary>
    Event,

    /// <summary>Events that were handled and not recorded: <see cref="CaptureReader.Lost"/>.</summary>
    Gap,

    /// <summary>A line of the guest's console: <see cref="CaptureReader.Line"/>.</summary>
    Console,
}

/// <summary>
/// Reads a capture from its begin to its end, in memory of a bounded size. Whatever is in the file, what is wrong with it
/// is a <see cref="CaptureException"/>; a file that was cut off is read up to there, and says so.
/// </summary>
public sealed class CaptureReader : IDisposable
{
    // Names that a file can have this program keep.
    private const int MaxSymbols = 1 << 16;
    private const long MaxSymbolChars = 4 << 20;

    private readonly Stream _stream;
    private readonly BlockReader _blocks;
    private readonly Dictionary<ulong, CapturedSymbol> _symbols = [];
    private readonly List<string> _handlers = [];
    private readonly MemorySnapshot _memory = new(CaptureFormat.MaxPieces, CaptureFormat.MaxMemoryBytes);
    private VmEvent[] _previous = [];
    private uint[] _previousBlock = [];
    private EventRecord _event;
    private int _at;
    private uint _recordsLeft;
    private ulong _sequence;
    private long _elapsed;
    private long _offset;
    private long _symbolChars;
    private bool _isOver;

    private CaptureReader(Stream stream)
    {
        _stream = stream;
        _blocks = new(stream);
        var version = _blocks.ReadPrelude();
        if (!_blocks.TryRead())
        {
            throw new CaptureException(_blocks.Start, "the file ends before its header does: the recording was cut off at once");
        }

        try
        {
            var cursor = new ByteCursor(_blocks.Content);
            Header = CaptureHeaderCodec.Read(ref cursor) with { FormatVersion = version };
        }
        catch (InvalidDataException damage)
        {
            throw _blocks.Damaged(damage.Message, damage);
        }

        if (Header.InterfaceVersion != VmEvent.InterfaceVersion)
        {
            throw new CaptureException(_blocks.Start, $"its events have version {Header.InterfaceVersion} of the vm_event interface, and this program reads version {VmEvent.InterfaceVersion}");
        }

        Memory = new(_memory);
    }

    /// <summary>What the capture is of.</summary>
    public CaptureHeader Header { get; }

    /// <summary>The event that was read last.</summary>
    public ref readonly EventRecord Event => ref _event;

    /// <summary>The guest's memory at that event, as far as it was taken.</summary>
    public CapturedMemory Memory { get; }

    /// <summary>The events that the gap which was read last stands for.</summary>
    public ulong Lost { get; private set; }

    /// <summary>The line that was read last.</summary>
    public string Line { get; private set; } = "";

    /// <summary>When it was written, UTC.</summary>
    public DateTime LineTime { get; private set; }

    /// <summary>Names of addresses up to here.</summary>
    public IReadOnlyDictionary<ulong, CapturedSymbol> Symbols => _symbols;

    /// <summary>How the recording ended, when that was reached. Without it the recording was cut off.</summary>
    public CaptureEnd? End { get; private set; }

    /// <summary>Bytes behind the last whole block, which are of no use.</summary>
    public long CutOffBytes => _blocks.CutOff;

    /// <summary>Where the whole blocks that were read end.</summary>
    public long Position => _blocks.Position;

    /// <summary>Blocks read, the header's included; the checksums of all of them were right.</summary>
    public long Blocks => _blocks.Count;

    /// <summary>Bytes of their contents before compression.</summary>
    public long BytesBeforeCompression => _blocks.RawBytes;

    /// <summary>Opens a capture.</summary>
    /// <param name="stream">The file; the reader's to dispose of when this returns.</param>
    /// <exception cref="CaptureException">It is none, or its header is damaged.</exception>
    public static CaptureReader Open(Stream stream)
    {
        ArgumentNullException.ThrowIfNull(stream);
        return new(stream);
    }

    /// <summary>Reads on.</summary>
    /// <exception cref="CaptureException">What follows is damaged.</exception>
    public CaptureItem Read()
    {
        while (!_isOver)
        {
            if (_recordsLeft == 0 && !TryBeginBlock())
            {
                break;
            }

            try
            {
                var cursor = new ByteCursor(_blocks.Content[_at..]);
                var item = ReadRecord(ref cursor);
                _at += cursor.Position;
                if (--_recordsLeft == 0 && _at != _blocks.Content.Length)
                {
                    throw new InvalidDataException("has bytes behind its last record");
                }

                if (item != CaptureItem.None)
                {
                    return item;
                }
            }
            catch (InvalidDataException damage)
            {
                _isOver = true;
                throw _blocks.Damaged(damage.Message, damage);
            }
        }

        return CaptureItem.None;
    }

    /// <inheritdoc/>
    public void Dispose() => _stream.Dispose();

    private bool TryBeginBlock()
    {
        try
        {
            if (!_blocks.TryRead())
            {
                _isOver = true;
                return false;
            }
        }
        catch (CaptureException)
        {
            _isOver = true;
            throw;
        }

        _at = 0;
        _recordsLeft = _blocks.Records;
        _handlers.Clear();
        (_sequence, _elapsed, _offset) = (0, 0, 0);
        if (_recordsLeft == 0)
        {
            _isOver = true;
            throw _blocks.Damaged("has no records");
        }

        return true;
    }

    private CaptureItem ReadRecord(ref ByteCursor from)
    {
        switch ((RecordKind)from.Byte())
        {
            case RecordKind.Event:
                ReadEvent(ref from);
                return CaptureItem.Event;
            case RecordKind.Gap:
                Lost = from.Number();
                return CaptureItem.Gap;
            case RecordKind.Console:
                LineTime = Time(from.Signed());
                Line = from.Text(CaptureFormat.MaxLineBytes);
                return CaptureItem.Console;
            case RecordKind.Symbol:
                ReadSymbol(ref from);
                return CaptureItem.None;
            case RecordKind.End:
                ReadEnd(ref from);
                return CaptureItem.None;
            default:
                throw new InvalidDataException("has a record of an unknown kind");
        }
    }

    private void ReadEvent(ref ByteCursor from)
    {
        _sequence += (ulong)from.Signed();
        _elapsed += from.Signed();
        _offset += from.Signed();
        if (_elapsed < 0)
        {
            throw new InvalidDataException("has an event before the begin");
        }

        _event.Sequence = _sequence;
        _event.Elapsed = new(_elapsed);
        _event.Time = Time(unchecked(_elapsed + _offset));
        _event.HandlingTime = from.Time();
        _event.PausedTime = from.Time();
        _event.Domain = Header.Domain.Id;
        var hasMemory = ReadAnswer(ref from);
        var vcpu = from.Number((uint)Math.Max(0, Header.Domain.VcpuCount - 1), "an event of vCPU");
        ref var previous = ref Previous(vcpu);
        VmEventDelta.Decode(ref from, ref previous);
        if (previous.VcpuId != vcpu)
        {
            throw new InvalidDataException($"has an event of vCPU {previous.VcpuId} among those of vCPU {vcpu}");
        }

        _event.Event = previous;
        _memory.Clear();
        if (hasMemory)
        {
            ReadMemory(ref from);
        }

        Memory.MoveTo(in _event.Event);
    }

    private bool ReadAnswer(ref ByteCursor from)
    {
        var bits = (AnswerBits)from.Byte();
        var effects = (bits & AnswerBits.HasEffects) != 0 ? (VerdictEffects)from.Byte() : VerdictEffects.None;
        var view = (bits & AnswerBits.HasView) != 0 ? (ushort)from.Number(ushort.MaxValue, "a view of number") : (ushort)0;
        _event.Verdict = Verdict.FromParts((Decision)(bits & AnswerBits.DecisionMask), effects, view);
        var handler = (int)from.Number((uint)Math.Min(_handlers.Count + 1, CaptureFormat.MaxHandlers), "a handler of number");
        if (handler > _handlers.Count)
        {
            _handlers.Add(from.Text());
        }

        _event.Handler = handler == 0 ? null : _handlers[handler - 1];
        _event.ResponseFlags = (VmEventFlags)from.Number(uint.MaxValue, "response flags of");
        return (bits & AnswerBits.HasMemory) != 0;
    }

    private void ReadMemory(ref ByteCursor from)
    {
        var count = from.Number(CaptureFormat.MaxPieces, "a count of pieces of memory of");
        var end = 0UL;
        for (var i = 0u; i < count; i++)
        {
            var isMapped = from.Byte() != 0;
            var address = end + (ulong)from.Signed();
            var length = (int)from.Number(CaptureFormat.MaxMemoryBytes, "a piece of memory of size");
            end = address + (ulong)length;
            if (!isMapped)
            {
                _memory.Add(address, 0, length, false);
                continue;
            }

            if (!_memory.HasRoom(length))
            {
                throw new InvalidDataException("has more memory in an event than there can be");
            }

            var physical = from.Number();
            from.Bytes(length).CopyTo(_memory.Add(address, physical, length, true));
        }
    }

    private void ReadSymbol(ref ByteCursor from)
    {
        var address = from.Number();
        var symbol = new CapturedSymbol("", from.Number()) with { Name = from.Text() };
        if (_symbols.Count < MaxSymbols && _symbolChars + symbol.Name.Length <= MaxSymbolChars && _symbols.TryAdd(address, symbol))
        {
            _symbolChars += symbol.Name.Length;
        }
    }

    private void ReadEnd(ref ByteCursor from)
    {
        var time = Time(from.Signed());
        End = new(time, from.Text(), from.Time(), from.Time(), Count(ref from), Count(ref from));
        _isOver = true;
        if (_recordsLeft != 1)
        {
            throw new InvalidDataException("has records behind the end");
        }

        if (!_blocks.IsAtEnd())
        {
            throw new InvalidDataException("is the last one, and the file goes on");
        }

        static long Count(ref ByteCursor from) => (long)Math.Min(from.Number(), long.MaxValue);
    }

    private ref VmEvent Previous(uint vcpu)
    {
        if (vcpu >= (uint)_previous.Length)
        {
            var length = Math.Max((int)vcpu + 1, 2 * _previous.Length);
            Array.Resize(ref _previous, length);
            Array.Resize(ref _previousBlock, length);
        }

        if (_previousBlock[vcpu] != _blocks.Ordinal)
        {
            _previousBlock[vcpu] = _blocks.Ordinal;
            _previous[vcpu] = default;
        }

        return ref _previous[vcpu];
    }

    private DateTime Time(long ticks)
    {
        var start = Header.Started;
        return ticks >= DateTime.MinValue.Ticks - start.Ticks && ticks <= DateTime.MaxValue.Ticks - start.Ticks
            ? start.AddTicks(ticks)
            : throw new InvalidDataException("has a time that is none");
    }
}
