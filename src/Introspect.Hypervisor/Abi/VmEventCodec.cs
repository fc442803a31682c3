using System.Buffers.Binary;
using System.Runtime.InteropServices;

namespace Introspect.Hypervisor.Abi;

/// <summary>
/// Converts events between a release's own layout and <see cref="VmEvent"/>. The header and the union's place are
/// the same in every version; what moved are the registers, the debug events and the size of the whole.
/// </summary>
internal sealed class VmEventCodec
{
    /// <summary>The oldest interface version known (Xen 4.6).</summary>
    public const uint OldestVersion = 1;

    private const int HeaderBytes = 24;
    private const int UnionOffset = 24;
    private const int DataOffset = 56;
    private const int ReasonOffset = 8;
    private const int CodeSegmentRightsV1 = 248;

    private static readonly VmEventCodec[] Codecs =
    [
        new(1, 312, hasDebugLength: false, pendingDbg: false, oldMsrValue: false, FirstRegisters),
        new(2, 312, hasDebugLength: true, pendingDbg: false, oldMsrValue: false, FirstRegisters),
        new(3, 312, hasDebugLength: true, pendingDbg: false, oldMsrValue: true, FirstRegisters),
        new(4, 376, hasDebugLength: true, pendingDbg: false, oldMsrValue: true, SegmentRegisters),
        new(5, 384, hasDebugLength: true, pendingDbg: false, oldMsrValue: true, GdtrRegisters),
        new(6, 384, hasDebugLength: true, pendingDbg: true, oldMsrValue: true, GdtrRegisters),
        new(7, 400, hasDebugLength: true, pendingDbg: true, oldMsrValue: true, [new(0, 0, 344)]),
    ];

    private readonly bool _hasDebugLength;
    private readonly bool _pendingDbg;
    private readonly bool _oldMsrValue;
    private readonly Piece[] _registers;

    private VmEventCodec(uint version, int size, bool hasDebugLength, bool pendingDbg, bool oldMsrValue, Piece[] registers)
    {
        Version = version;
        SizeInBytes = size;
        _hasDebugLength = hasDebugLength;
        _pendingDbg = pendingDbg;
        _oldMsrValue = oldMsrValue;
        _registers = registers;
    }

    // Pieces of the registers that lie together in both layouts: offset in the release's, in version 7's, bytes.
    // Versions 1 to 3: no DR6, no segments but CS's rights (which stand apart, below), no GDTR.
    private static Piece[] FirstRegisters => [new(0, 0, 136), new(136, 144, 96), new(232, 280, 16)];

    // Version 4: DR6 and the segments came.
    private static Piece[] SegmentRegisters => [new(0, 0, 240), new(240, 264, 64), new(304, 330, 12)];

    // Versions 5 and 6: GDTR came.
    private static Piece[] GdtrRegisters => [new(0, 0, 248), new(248, 264, 64), new(312, 328, 14)];

    /// <summary>The interface version spoken.</summary>
    public uint Version { get; }

    /// <summary>Bytes of an event of that version.</summary>
    public int SizeInBytes { get; }

    /// <summary>The codec of an interface version.</summary>
    /// <exception cref="HypervisorException">EOPNOTSUPP: a version that is not known here.</exception>
    public static VmEventCodec For(uint version) => version is >= OldestVersion and <= VmEvent.InterfaceVersion
        ? Codecs[version - OldestVersion]
        : throw new HypervisorException(
            Errno.EOPNOTSUPP,
            $"vm_event interface version {version} is not known; versions {OldestVersion} to {VmEvent.InterfaceVersion} (Xen 4.6 to 4.22) are");

    /// <summary>
    /// Reads a request as the hypervisor put it into the ring. What its version has no place for is 0, and the
    /// position in the trace buffer ~0, "not active".
    /// </summary>
    /// <returns>False when the bytes do not say that they are of this version.</returns>
    public bool TryDecode(ReadOnlySpan<byte> raw, out VmEvent request)
    {
        request = default;
        var shaped = MemoryMarshal.AsBytes(new Span<VmEvent>(ref request));
        if (raw.Length != SizeInBytes || BinaryPrimitives.ReadUInt32LittleEndian(raw) != Version)
        {
            return false;
        }

        if (Version == VmEvent.InterfaceVersion)
        {
            raw.CopyTo(shaped);
            return true;
        }

        raw[..HeaderBytes].CopyTo(shaped);
        request.Version = VmEvent.InterfaceVersion;
        raw[UnionOffset..DataOffset].CopyTo(shaped[UnionOffset..]);
        ReshapeUnion(ref request, raw);
        foreach (var piece in _registers)
        {
            raw.Slice(DataOffset + piece.Raw, piece.Length).CopyTo(shaped[(DataOffset + piece.Shaped)..]);
        }

        if (Version <= 3)
        {
            request.Registers.Cs = VmEventSegment.Pack(0, BinaryPrimitives.ReadUInt32LittleEndian(raw[(DataOffset + CodeSegmentRightsV1)..]));
        }

        request.Registers.VmtracePos = ulong.MaxValue;
        return true;
    }

    /// <summary>Writes a response (or, for tests and for the core, a request) as this version has it.</summary>
    public void Encode(in VmEvent response, Span<byte> raw)
    {
        if (raw.Length != SizeInBytes)
        {
            throw new ArgumentException($"An event of version {Version} has {SizeInBytes} bytes, not {raw.Length}.", nameof(raw));
        }

        var shaped = MemoryMarshal.AsBytes(new ReadOnlySpan<VmEvent>(in response));
        if (Version == VmEvent.InterfaceVersion)
        {
            shaped.CopyTo(raw);
            BinaryPrimitives.WriteUInt32LittleEndian(raw, Version);
            return;
        }

        raw.Clear();
        shaped[..DataOffset].CopyTo(raw);
        BinaryPrimitives.WriteUInt32LittleEndian(raw, Version);
        FlattenUnion(in response, raw);
        if ((response.Flags & (VmEventFlags.SetEmulReadData | VmEventFlags.SetEmulInsnData)) != 0)
        {
            // Emulation data shares its place with the registers, and is as long as they are in the version.
            var length = SizeInBytes - DataOffset;
            shaped.Slice(DataOffset, length).CopyTo(raw[DataOffset..]);
            if ((response.Flags & VmEventFlags.SetEmulReadData) != 0)
            {
                var size = Math.Min(response.EmulReadSize, (uint)(length - sizeof(uint)));
                BinaryPrimitives.WriteUInt32LittleEndian(raw[DataOffset..], size);
            }

            return;
        }

        foreach (var piece in _registers)
        {
            shaped.Slice(DataOffset + piece.Shaped, piece.Length).CopyTo(raw[(DataOffset + piece.Raw)..]);
        }

        if (Version <= 3)
        {
            BinaryPrimitives.WriteUInt32LittleEndian(raw[(DataOffset + CodeSegmentRightsV1)..], response.Registers.Cs.AccessRights);
        }
    }

    // Up to version 5 a debug event had no pending_dbg: the length stood in its place.
    private void ReshapeUnion(ref VmEvent request, ReadOnlySpan<byte> raw)
    {
        switch (request.Reason)
        {
            case VmEventReason.SoftwareBreakpoint or VmEventReason.DebugException when !_pendingDbg:
                request.Debug.PendingDbg = 0;
                request.Debug.InsnLength = _hasDebugLength ? BinaryPrimitives.ReadUInt32LittleEndian(raw[32..]) : 0;
                request.Debug.Type = _hasDebugLength ? raw[36] : (byte)0;
                break;
            case VmEventReason.MovToMsr when !_oldMsrValue:
                request.MovToMsr.OldValue = 0;
                break;
        }
    }

    private void FlattenUnion(in VmEvent response, Span<byte> raw)
    {
        switch ((VmEventReason)BinaryPrimitives.ReadUInt32LittleEndian(raw[ReasonOffset..]))
        {
            case VmEventReason.SoftwareBreakpoint or VmEventReason.DebugException when !_pendingDbg:
                raw[32..DataOffset].Clear();
                if (_hasDebugLength)
                {
                    BinaryPrimitives.WriteUInt32LittleEndian(raw[32..], response.Debug.InsnLength);
                    raw[36] = response.Debug.Type;
                }

                break;
            case VmEventReason.MovToMsr when !_oldMsrValue:
                raw[40..DataOffset].Clear();
                break;
        }
    }

    private readonly record struct Piece(int Raw, int Shaped, int Length);
}
