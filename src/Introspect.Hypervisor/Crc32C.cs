using System.Buffers.Binary;
using System.Numerics;

namespace Introspect.Hypervisor;

/// <summary>CRC-32C (Castagnoli), as iSCSI and ext4 have it.</summary>
internal static class Crc32C
{
    /// <summary>The checksum of nothing, from which <see cref="Append"/> goes on.</summary>
    public const uint Empty = 0;

    /// <summary>The checksum of some bytes.</summary>
    public static uint Of(ReadOnlySpan<byte> bytes) => Append(Empty, bytes);

    /// <summary>The checksum of what a checksum is of, with more bytes behind it.</summary>
    public static uint Append(uint checksum, ReadOnlySpan<byte> bytes)
    {
        var crc = ~checksum;
        for (; bytes.Length >= sizeof(ulong); bytes = bytes[sizeof(ulong)..])
        {
            crc = BitOperations.Crc32C(crc, BinaryPrimitives.ReadUInt64LittleEndian(bytes));
        }

        foreach (var value in bytes)
        {
            crc = BitOperations.Crc32C(crc, value);
        }

        return ~crc;
    }
}
