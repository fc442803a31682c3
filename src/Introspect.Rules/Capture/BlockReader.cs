using System.Buffers.Binary;
using System.Globalization;
using System.IO.Compression;
using Introspect.Hypervisor;

namespace Introspect.Rules.Capture;

/// <summary>
/// Reads blocks, checked, into memory of a bounded size. A file that ends inside of a block was cut off there; anything
/// else that is not as it was written is damage.
/// </summary>
internal sealed class BlockReader(Stream stream)
{
    private readonly byte[] _header = new byte[CaptureFormat.BlockHeaderBytes];
    private byte[] _stored = [];
    private byte[] _raw = [];
    private int _length;

    /// <summary>The content of the block.</summary>
    public ReadOnlySpan<byte> Content => _raw.AsSpan(0, _length);

    public BlockKind Kind { get; private set; }

    public uint Records { get; private set; }

    /// <summary>Number of the block, from 0.</summary>
    public uint Ordinal { get; private set; }

    /// <summary>Where the block begins in the file.</summary>
    public long Start { get; private set; }

    /// <summary>Where the next one begins.</summary>
    public long Position { get; private set; }

    /// <summary>Blocks read.</summary>
    public uint Count { get; private set; }

    /// <summary>Bytes of the contents read, before compression.</summary>
    public long RawBytes { get; private set; }

    /// <summary>Bytes behind the last whole block.</summary>
    public long CutOff { get; private set; }

    /// <summary>Reads what stands before the first block.</summary>
    public int ReadPrelude()
    {
        Span<byte> prelude = stackalloc byte[CaptureFormat.PreludeBytes];
        var read = Fill(prelude);
        if (!prelude[..Math.Min(read, CaptureFormat.Magic.Length)].SequenceEqual(CaptureFormat.Magic[..Math.Min(read, CaptureFormat.Magic.Length)]) || read == 0)
        {
            throw new CaptureException(0, read == 0 ? "the file is empty" : "this is no capture; 'introspect record' makes them");
        }

        if (read < prelude.Length)
        {
            throw new CaptureException(0, $"the file ends after {read} bytes, before its header: the recording was cut off at once");
        }

        var version = BinaryPrimitives.ReadUInt16LittleEndian(prelude[8..]);
        if (BinaryPrimitives.ReadUInt32LittleEndian(prelude[12..]) != Crc32C.Of(prelude[..12]))
        {
            throw new CaptureException(0, "the first 16 bytes are damaged: their checksum is wrong; copy the file again, or record anew");
        }

        Position = CaptureFormat.PreludeBytes;
        return version is >= 1 and <= CaptureFormat.Version ? version
            : throw new CaptureException(0, $"the file has format version {version}, and this program reads up to {CaptureFormat.Version}; use a newer one");
    }

    /// <summary>Reads the next block.</summary>
    /// <returns>False at the end of the file, or of what of it is whole.</returns>
    public bool TryRead()
    {
        if (CutOff != 0)
        {
            return false;
        }

        (Start, Ordinal) = (Position, Count);
        var read = Fill(_header);
        if (read < _header.Length)
        {
            CutOff = read;
            return false;
        }

        if (!_header.AsSpan().ContainsAnyExcept((byte)0) && TrySkipZeros())
        {
            return false;
        }

        var header = _header.AsSpan();
        var (checksum, expected) = (Crc32C.Of(header[..28]), BinaryPrimitives.ReadUInt32LittleEndian(header[28..]));
        if (checksum != expected)
        {
            throw Damaged(string.Create(CultureInfo.InvariantCulture, $"is damaged: the checksum of its header is 0x{checksum:x8}, not 0x{expected:x8}"));
        }

        var (stored, raw) = Parse(header);
        Grow(ref _stored, (int)stored);
        read = Fill(_stored.AsSpan(0, (int)stored));
        if (read < stored)
        {
            CutOff = CaptureFormat.BlockHeaderBytes + read;
            return false;
        }

        (checksum, expected) = (Crc32C.Of(_stored.AsSpan(0, (int)stored)), BinaryPrimitives.ReadUInt32LittleEndian(header[24..]));
        if (checksum != expected)
        {
            throw Damaged(string.Create(CultureInfo.InvariantCulture, $"is damaged: the checksum of its content is 0x{checksum:x8}, not 0x{expected:x8}"));
        }

        Unpack((BlockCompression)header[5], (int)stored, (int)raw);
        Position = Start + CaptureFormat.BlockHeaderBytes + stored;
        RawBytes += raw;
        Count++;
        return true;
    }

    /// <summary>True when the file has nothing more.</summary>
    public bool IsAtEnd() => Fill(_header.AsSpan(0, 1)) == 0;

    public CaptureException Damaged(string what, Exception? inner = null) => CaptureException.InBlock(Ordinal, Start, what, inner);

    private (uint Stored, uint Raw) Parse(ReadOnlySpan<byte> header)
    {
        if (BinaryPrimitives.ReadUInt32LittleEndian(header) != CaptureFormat.BlockMarker)
        {
            throw Damaged("is none: it does not begin with BLOK");
        }

        var ordinal = BinaryPrimitives.ReadUInt32LittleEndian(header[8..]);
        var raw = BinaryPrimitives.ReadUInt32LittleEndian(header[16..]);
        var stored = BinaryPrimitives.ReadUInt32LittleEndian(header[20..]);
        Kind = (BlockKind)header[4];
        Records = BinaryPrimitives.ReadUInt32LittleEndian(header[12..]);
        return ordinal != Count ? throw Damaged($"is in the wrong place: it is number {ordinal}, so that blocks are missing or twice there")
            : Kind is not (BlockKind.Header or BlockKind.Records) ? throw Damaged($"is of the unknown kind {(int)Kind}")
            : (Kind == BlockKind.Header) != (Count == 0) ? throw Damaged(Count == 0 ? "is not the header" : "is a second header")
            : raw > CaptureFormat.MaxBlockBytes || stored > CaptureFormat.MaxBlockBytes ? throw Damaged($"is too large ({stored} bytes, {raw} before compression; {CaptureFormat.MaxBlockBytes} is the most)")
            : (stored, raw);
    }

    private void Unpack(BlockCompression compression, int stored, int raw)
    {
        Grow(ref _raw, raw);
        _length = raw;
        var content = _stored.AsSpan(0, stored);
        switch (compression)
        {
            case BlockCompression.None when stored == raw:
                content.CopyTo(_raw);
                break;
            case BlockCompression.Brotli when BrotliDecoder.TryDecompress(content, _raw.AsSpan(0, raw), out var written) && written == raw:
                break;
            case BlockCompression.None or BlockCompression.Brotli:
                throw Damaged("does not unpack to what it says");
            default:
                throw Damaged($"is compressed in the unknown way {(int)compression}");
        }
    }

    // A file system that came back after a loss of power may have lengthened the file with zeros.
    private bool TrySkipZeros()
    {
        Span<byte> rest = stackalloc byte[4096];
        CutOff = CaptureFormat.BlockHeaderBytes;
        while (Fill(rest) is var read && read > 0)
        {
            if (rest[..read].ContainsAnyExcept((byte)0))
            {
                CutOff = 0;
                throw Damaged("is none: it begins with zeros");
            }

            CutOff += read;
        }

        return true;
    }

    private int Fill(Span<byte> destination) => stream.ReadAtLeast(destination, destination.Length, throwOnEndOfStream: false);

    private static void Grow(ref byte[] buffer, int length)
    {
        if (buffer.Length < length)
        {
            buffer = new byte[length];
        }
    }
}
