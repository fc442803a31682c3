using System.Buffers.Binary;

namespace Introspect.Hypervisor.Core.Building;

/// <summary>Reads fields of an ELF structure whose bytes were bounds-checked as a whole.</summary>
/// <param name="bytes">The structure.</param>
/// <param name="is64">The image's class.</param>
internal readonly ref struct ElfReader(ReadOnlySpan<byte> bytes, bool is64)
{
    private readonly ReadOnlySpan<byte> _bytes = bytes;

    public byte U8(int offset) => _bytes[offset];

    public ushort U16(int offset) => BinaryPrimitives.ReadUInt16LittleEndian(_bytes[offset..]);

    public uint U32(int offset) => BinaryPrimitives.ReadUInt32LittleEndian(_bytes[offset..]);

    public ulong U64(int offset) => BinaryPrimitives.ReadUInt64LittleEndian(_bytes[offset..]);

    /// <summary>A field of the class's own width, at the class's own offset.</summary>
    public ulong Word(int offset32, int offset64) => is64 ? U64(offset64) : U32(offset32);

    public uint U32(int offset32, int offset64) => U32(is64 ? offset64 : offset32);

    public ushort U16(int offset32, int offset64) => U16(is64 ? offset64 : offset32);

    /// <summary>Whether a range lies in a number of bytes; safe against overflow.</summary>
    public static bool Fits(ulong offset, ulong length, ulong total) => offset <= total && length <= total - offset;
}
