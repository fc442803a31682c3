using System.Buffers.Binary;
using System.IO.Compression;
using Introspect.Hypervisor;

namespace Introspect.Rules.Capture;

/// <summary>Writes blocks, each in one go, so that whatever happens all before it are whole.</summary>
internal sealed class BlockWriter
{
    // Fast, and good enough for what differences leave over.
    private const int Quality = 1;
    private const int WindowBits = 18;

    private readonly Stream _stream;
    private readonly byte[] _block;
    private readonly bool _compress;
    private uint _ordinal;

    public BlockWriter(Stream stream, int maxRaw, bool compress)
    {
        _stream = stream;
        _compress = compress;
        _block = new byte[CaptureFormat.BlockHeaderBytes + maxRaw];
    }

    /// <summary>Bytes written: whole blocks alone.</summary>
    public long Position { get; private set; }

    /// <summary>Bytes before compression.</summary>
    public long RawBytes { get; private set; }

    public void WritePrelude()
    {
        Span<byte> prelude = stackalloc byte[CaptureFormat.PreludeBytes];
        prelude.Clear();
        CaptureFormat.Magic.CopyTo(prelude);
        BinaryPrimitives.WriteUInt16LittleEndian(prelude[8..], CaptureFormat.Version);
        BinaryPrimitives.WriteUInt32LittleEndian(prelude[12..], Crc32C.Of(prelude[..12]));
        Put(prelude);
    }

    public void Write(BlockKind kind, ReadOnlySpan<byte> raw, uint records)
    {
        var content = _block.AsSpan(CaptureFormat.BlockHeaderBytes);
        var compression = BlockCompression.Brotli;
        if (!_compress || !BrotliEncoder.TryCompress(raw, content[..Math.Max(0, raw.Length - 1)], out var stored, Quality, WindowBits))
        {
            compression = BlockCompression.None;
            raw.CopyTo(content);
            stored = raw.Length;
        }

        var header = _block.AsSpan(0, CaptureFormat.BlockHeaderBytes);
        BinaryPrimitives.WriteUInt32LittleEndian(header, CaptureFormat.BlockMarker);
        header[4] = (byte)kind;
        header[5] = (byte)compression;
        header[6..8].Clear();
        BinaryPrimitives.WriteUInt32LittleEndian(header[8..], _ordinal);
        BinaryPrimitives.WriteUInt32LittleEndian(header[12..], records);
        BinaryPrimitives.WriteUInt32LittleEndian(header[16..], (uint)raw.Length);
        BinaryPrimitives.WriteUInt32LittleEndian(header[20..], (uint)stored);
        BinaryPrimitives.WriteUInt32LittleEndian(header[24..], Crc32C.Of(content[..stored]));
        BinaryPrimitives.WriteUInt32LittleEndian(header[28..], Crc32C.Of(header[..28]));
        Put(_block.AsSpan(0, CaptureFormat.BlockHeaderBytes + stored));
        _ordinal++;
        RawBytes += raw.Length;
    }

    private void Put(ReadOnlySpan<byte> bytes)
    {
        try
        {
            _stream.Write(bytes);
            _stream.Flush();
            Position += bytes.Length;
        }
        catch
        {
            CutOff();
            throw;
        }
    }

    // What a full disk took of the block is of no use to anybody.
    private void CutOff()
    {
        try
        {
            if (_stream.CanSeek)
            {
                _stream.SetLength(Position);
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException or NotSupportedException)
        {
            // The first failure says what is wrong. Readers find the last whole block all the same.
        }
    }
}
