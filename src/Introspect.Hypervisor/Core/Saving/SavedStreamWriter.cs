using System.Buffers.Binary;

namespace Introspect.Hypervisor.Core.Saving;

/// <summary>Writes the records of a saved domain, with their checksums.</summary>
internal sealed class SavedStreamWriter
{
    private readonly Stream _stream;
    private uint _checksum = Crc32C.Empty;
    private ulong _records;
    private ulong _bytes;

    /// <summary>Begins with the header.</summary>
    public SavedStreamWriter(Stream stream)
    {
        _stream = stream;
        Span<byte> header = stackalloc byte[SavedFormat.HeaderBytes];
        header.Clear();
        SavedFormat.Magic.CopyTo(header);
        BinaryPrimitives.WriteUInt32LittleEndian(header[16..], SavedFormat.Version);
        BinaryPrimitives.WriteUInt32LittleEndian(header[20..], SavedFormat.ArchitectureX86);
        BinaryPrimitives.WriteUInt32LittleEndian(header[SavedFormat.HeaderChecksum..], Crc32C.Of(header[..SavedFormat.HeaderChecksum]));
        Emit(header);
    }

    /// <summary>Writes a record whose payload is in two parts.</summary>
    public void Write(SavedKind kind, ReadOnlySpan<byte> first, ReadOnlySpan<byte> second = default)
    {
        var length = first.Length + second.Length;
        if (length > SavedFormat.MostBytes(kind))
        {
            throw new InvalidOperationException($"A record of kind {kind} has {length} bytes, more than a reader takes.");
        }

        Span<byte> prefix = stackalloc byte[SavedFormat.PrefixBytes];
        BinaryPrimitives.WriteUInt32LittleEndian(prefix, (uint)kind);
        BinaryPrimitives.WriteInt32LittleEndian(prefix[4..], length);
        BinaryPrimitives.WriteUInt32LittleEndian(prefix[8..], Crc32C.Append(Crc32C.Of(first), second));
        BinaryPrimitives.WriteUInt32LittleEndian(prefix[12..], Crc32C.Of(prefix[..12]));
        Emit(prefix);
        Emit(first);
        Emit(second);
        _records++;
    }

    /// <summary>Ends the stream: what has no end was cut off.</summary>
    public void End()
    {
        Span<byte> end = stackalloc byte[SavedFormat.EndBytes];
        BinaryPrimitives.WriteUInt64LittleEndian(end, _records);
        BinaryPrimitives.WriteUInt64LittleEndian(end[8..], _bytes);
        BinaryPrimitives.WriteUInt32LittleEndian(end[16..], _checksum);
        Write(SavedKind.End, end);
        _stream.Flush();
    }

    private void Emit(ReadOnlySpan<byte> bytes)
    {
        _stream.Write(bytes);
        _checksum = Crc32C.Append(_checksum, bytes);
        _bytes += (ulong)bytes.Length;
    }
}
