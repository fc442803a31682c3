using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Text;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Domains;
using Introspect.Hypervisor.Core.Execution;
using Introspect.Hypervisor.Core.Memory;

namespace Introspect.Hypervisor.Core.Saving;

/// <summary>A run of frames that have a page.</summary>
internal readonly record struct SavedFrames(ulong First, uint Count, P2mType Type);

/// <summary>A section's record.</summary>
internal readonly record struct SavedSection(ushort TypeCode, ushort Version, uint Instance);

/// <summary>
/// What is done with the parts of a saved domain, in the order in which they come. Each part was checked as far as that is
/// possible without a domain; the reader, which stands at its record, says what is wrong where it still cannot be taken.
/// A part that is not implemented is passed over.
/// </summary>
internal interface ISavedDomainSink
{
    /// <summary>What it is, and what CPUID told it.</summary>
    void Begin(SavedDomainInfo info, SavedCpuPolicy policy, SavedStreamReader reader);

    /// <summary>An HVM parameter.</summary>
    void Parameter(uint index, ulong value, SavedStreamReader reader)
    {
    }

    /// <summary>The memory map.</summary>
    void MemoryMap(ReadOnlySpan<E820Entry> entries, SavedStreamReader reader)
    {
    }

    /// <summary>Frames that have a page.</summary>
    void Frames(in SavedFrames frames, SavedStreamReader reader)
    {
    }

    /// <summary>Contents of pages (<see cref="SavedPages"/>).</summary>
    void Pages(SavedStreamReader reader)
    {
    }

    /// <summary>The shared_info page, and where it is mapped or all ones.</summary>
    void SharedInfo(ulong gfn, ReadOnlySpan<byte> page, SavedStreamReader reader)
    {
    }

    /// <summary>A frame of the grant table, and where it is mapped or all ones.</summary>
    void GrantFrame(uint index, ulong gfn, ReadOnlySpan<byte> page, SavedStreamReader reader)
    {
    }

    /// <summary>Where a vCPU keeps its vcpu_info.</summary>
    void VcpuInfo(in VcpuInfoPlace place, SavedStreamReader reader)
    {
    }

    /// <summary>The hvm context.</summary>
    void HvmContext(ReadOnlySpan<byte> context, SavedStreamReader reader)
    {
    }

    /// <summary>A section.</summary>
    void Section(in SavedSection section, ReadOnlySpan<byte> state, SavedStreamReader reader)
    {
    }

    /// <summary>Where the turns stand.</summary>
    void Interleaving(in InterleavingState state, SavedStreamReader reader)
    {
    }

    /// <summary>The console.</summary>
    void Console(ReadOnlySpan<byte> state, SavedStreamReader reader)
    {
    }

    /// <summary>What a toolstack keeps with the domain.</summary>
    void Extra(string name, ReadOnlySpan<byte> value, SavedStreamReader reader)
    {
    }

    /// <summary>What it is to xenstore: more of it, where there was some before.</summary>
    void Store(ReadOnlySpan<byte> state, SavedStreamReader reader)
    {
    }

    /// <summary>The end was seen, and all was as it was written.</summary>
    void End(SavedStreamReader reader)
    {
    }
}

/// <summary>Reads a saved domain from its first byte to its last, checks every part, and hands it on.</summary>
internal sealed class SavedDomainReader
{
    private readonly SavedStreamReader _reader;
    private readonly ISavedDomainSink _sink;
    private SavedDomainInfo? _info;
    private SavedKind _seen;
    private ulong _frameAfter;
    private ulong _pageAfter;
    private long _pages;
    private uint _grantFrames;
    private bool _hasContext;

    private SavedDomainReader(Stream stream, string name, ISavedDomainSink sink) =>
        (_reader, _sink) = (new SavedStreamReader(stream, name), sink);

    /// <summary>Reads a stream to its end.</summary>
    /// <param name="stream">Stands before the header.</param>
    /// <param name="name">What it is called where something is wrong with it.</param>
    /// <param name="sink">What is done with the parts.</param>
    /// <exception cref="HypervisorException">Something in it is not as it was written, or not known.</exception>
    public static void Read(Stream stream, string name, ISavedDomainSink sink) =>
        new SavedDomainReader(stream, name, sink).Read();

    private void Read()
    {
        while (_reader.Next())
        {
            var expected = _info is null ? SavedKind.Domain : _seen == SavedKind.Domain ? SavedKind.CpuPolicy : _reader.Kind;
            if (_reader.Kind != expected)
            {
                throw _reader.Malformed($"there is no record of kind {expected} before it");
            }

            Dispatch();
            _seen = _reader.Kind;
        }

        if (_seen < SavedKind.CpuPolicy || !_hasContext)
        {
            throw _reader.Malformed($"there is no record of kind {(_seen < SavedKind.CpuPolicy ? SavedKind.CpuPolicy : SavedKind.HvmContext)} before it");
        }

        _sink.End(_reader);
    }

    private void Dispatch()
    {
        switch (_reader.Kind)
        {
            case SavedKind.Domain:
                _info = SavedDomainInfo.Parse(_reader);
                break;
            case SavedKind.CpuPolicy:
                _sink.Begin(_info!, SavedCpuPolicy.Parse(_reader), _reader);
                break;
            case SavedKind.Parameters:
                Parameters();
                break;
            case SavedKind.MemoryMap:
                Exactly(_reader.Payload.Length % Marshal.SizeOf<E820Entry>() == 0);
                _sink.MemoryMap(MemoryMarshal.Cast<byte, E820Entry>(_reader.Payload), _reader);
                break;
            case SavedKind.Frames:
                Frames();
                break;
            case SavedKind.Pages:
                SavedPages.Check(_reader, ref _pageAfter);
                _sink.Pages(_reader);
                break;
            case SavedKind.SharedInfo:
                Exactly(_reader.Payload.Length == sizeof(ulong) + Gfn.PageSize);
                _sink.SharedInfo(Frame(0, mayBeNone: true), _reader.Payload[sizeof(ulong)..], _reader);
                break;
            case SavedKind.GrantFrame:
                Exactly(_reader.Payload.Length == sizeof(uint) + sizeof(ulong) + Gfn.PageSize);
                Exactly(BinaryPrimitives.ReadUInt32LittleEndian(_reader.Payload) == _grantFrames && _grantFrames < GrantFrames.Maximum);
                _sink.GrantFrame(_grantFrames++, Frame(sizeof(uint), mayBeNone: true), _reader.Payload[(sizeof(uint) + sizeof(ulong))..], _reader);
                break;
            case SavedKind.VcpuInfo:
                VcpuInfos();
                break;
            case SavedKind.HvmContext:
                CheckContext();
                _hasContext = true;
                _sink.HvmContext(_reader.Payload, _reader);
                break;
            case SavedKind.Section:
                Section();
                break;
            case SavedKind.Interleaving:
                Interleaving();
                break;
            case SavedKind.Console:
                _sink.Console(_reader.Payload, _reader);
                break;
            case SavedKind.Extra:
                Extra();
                break;
            case SavedKind.Store:
                _sink.Store(_reader.Payload, _reader);
                break;
            default:
                throw new InvalidOperationException($"A record of kind {_reader.Kind} came through.");
        }
    }

    private void Parameters()
    {
        Exactly(_reader.Payload.Length % SavedFormat.ParameterBytes == 0);
        var after = -1L;
        for (var at = 0; at < _reader.Payload.Length; at += SavedFormat.ParameterBytes)
        {
            var index = BinaryPrimitives.ReadUInt32LittleEndian(_reader.Payload[at..]);
            var value = BinaryPrimitives.ReadUInt64LittleEndian(_reader.Payload[(at + 8)..]);
            if (index >= HvmParam.Count || index <= after)
            {
                throw _reader.Malformed($"parameter {index} does not exist, or not in this place");
            }

            after = index;
            _sink.Parameter(index, value, _reader);
        }
    }

    private void Frames()
    {
        Exactly(_reader.Payload.Length % SavedFormat.RunBytes == 0);
        for (var at = 0; at < _reader.Payload.Length; at += SavedFormat.RunBytes)
        {
            var run = new SavedFrames(
                BinaryPrimitives.ReadUInt64LittleEndian(_reader.Payload[at..]),
                BinaryPrimitives.ReadUInt32LittleEndian(_reader.Payload[(at + 8)..]),
                (P2mType)BinaryPrimitives.ReadUInt32LittleEndian(_reader.Payload[(at + 12)..]));
            if (run.First < _frameAfter || run.Count == 0 || run.First > _info!.MaxMappedGfn || run.Count - 1 > _info.MaxMappedGfn - run.First)
            {
                throw _reader.Malformed($"there are no {run.Count} frames from 0x{run.First:x} on");
            }

            if (BinaryPrimitives.ReadUInt32LittleEndian(_reader.Payload[(at + 12)..]) is not ((uint)P2mType.RamRw or (uint)P2mType.RamRo))
            {
                throw _reader.Refuse(Errno.EOPNOTSUPP, $"this release does not know frames of type {(uint)run.Type}: restore it with the release that saved it");
            }

            _frameAfter = run.First + run.Count;
            _pages += run.Count;
            if (_pages > _info.MaxPages)
            {
                throw _reader.Malformed($"the domain may have {_info.MaxPages} pages, and has more");
            }

            _sink.Frames(in run, _reader);
        }
    }

    private void VcpuInfos()
    {
        const int PlaceBytes = 16;
        const uint InfoBytes = 64;
        Exactly(_reader.Payload.Length % PlaceBytes == 0);
        var after = -1L;
        for (var at = 0; at < _reader.Payload.Length; at += PlaceBytes)
        {
            var place = new VcpuInfoPlace(
                BinaryPrimitives.ReadUInt32LittleEndian(_reader.Payload[at..]),
                Frame(at + 8, mayBeNone: false),
                BinaryPrimitives.ReadUInt32LittleEndian(_reader.Payload[(at + 4)..]));
            if (place.Vcpu <= after || place.Vcpu >= _info!.Config.MaxVcpus || place.Offset > Gfn.PageSize - InfoBytes || place.Offset % sizeof(ulong) != 0)
            {
                throw _reader.Malformed($"vCPU {place.Vcpu} cannot have its vcpu_info at offset {place.Offset} of a page");
            }

            after = place.Vcpu;
            _sink.VcpuInfo(in place, _reader);
        }
    }

    // What is in it is the sections' to know: here, that it is whole.
    private void CheckContext()
    {
        var rest = _reader.Payload;
        var isFirst = true;
        while (MemoryMarshal.TryRead<HvmSaveDescriptor>(rest, out var descriptor))
        {
            rest = rest[Marshal.SizeOf<HvmSaveDescriptor>()..];
            if ((uint)rest.Length < descriptor.Length || isFirst != (descriptor.TypeCode == HvmSaveCode.Header))
            {
                break;
            }

            if (descriptor.TypeCode == HvmSaveCode.End)
            {
                Exactly(rest.IsEmpty);
                return;
            }

            isFirst = false;
            rest = rest[(int)descriptor.Length..];
        }

        throw _reader.Malformed("the hvm context in it is not whole");
    }

    private void Section()
    {
        Exactly(_reader.Payload.Length >= SavedFormat.SectionPrefixBytes);
        var section = new SavedSection(
            BinaryPrimitives.ReadUInt16LittleEndian(_reader.Payload),
            BinaryPrimitives.ReadUInt16LittleEndian(_reader.Payload[2..]),
            BinaryPrimitives.ReadUInt32LittleEndian(_reader.Payload[4..]));
        _sink.Section(in section, _reader.Payload[SavedFormat.SectionPrefixBytes..], _reader);
    }

    private void Interleaving()
    {
        Exactly(_reader.Payload.Length == SavedFormat.MostBytes(SavedKind.Interleaving));
        var state = new InterleavingState(
            BinaryPrimitives.ReadUInt32LittleEndian(_reader.Payload),
            BinaryPrimitives.ReadUInt32LittleEndian(_reader.Payload[4..]) != 0,
            BinaryPrimitives.ReadInt64LittleEndian(_reader.Payload[8..]));
        if (state.Last >= _info!.Config.MaxVcpus && (state.IsInTurn || state.Last != uint.MaxValue))
        {
            throw _reader.Malformed($"there is no vCPU {state.Last}");
        }

        _sink.Interleaving(in state, _reader);
    }

    private void Extra()
    {
        var length = _reader.Payload.Length == 0 ? 0 : (int)_reader.Payload[0];
        Exactly(length is > 0 and <= SavedFormat.MaxExtraName && length < _reader.Payload.Length);
        _sink.Extra(Encoding.UTF8.GetString(_reader.Payload.Slice(1, length)), _reader.Payload[(1 + length)..], _reader);
    }

    private ulong Frame(int at, bool mayBeNone)
    {
        var gfn = BinaryPrimitives.ReadUInt64LittleEndian(_reader.Payload[at..]);
        return gfn < Physmap.DefaultEntryCount || (mayBeNone && gfn == ~0UL) ? gfn : throw _reader.Malformed($"there is no frame 0x{gfn:x}");
    }

    private void Exactly(bool condition)
    {
        if (!condition)
        {
            throw _reader.Malformed($"it has {_reader.Payload.Length} bytes, which are not what such a record has");
        }
    }
}
