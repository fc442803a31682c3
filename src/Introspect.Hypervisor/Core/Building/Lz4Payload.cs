using System.Buffers.Binary;
using Introspect.Hypervisor.Linux;

namespace Introspect.Hypervisor.Core.Building;

/// <summary>A kernel packed in lz4's legacy frames (<c>lz4 -l</c>): a magic number, then blocks of up to 8 MiB behind their packed sizes.</summary>
internal static class Lz4Payload
{
    private const uint Magic = 0x184c2102;
    private const int BlockSize = 8 << 20;

    public static string? Unpack(ReadOnlySpan<byte> source, Span<byte> destination)
    {
        int at = 0;
        int written = 0;
        while (at < source.Length)
        {
            if (source.Length - at < sizeof(uint))
            {
                return $"a block's size at offset 0x{at:x} is cut off";
            }

            uint size = BinaryPrimitives.ReadUInt32LittleEndian(source[at..]);
            at += sizeof(uint);
            if (size == Magic)
            {
                // Frames may follow each other.
                continue;
            }

            if (size == 0 || size > (uint)(source.Length - at))
            {
                return $"the block at offset 0x{at:x} says that it has {size} bytes, and {source.Length - at} are left";
            }

            int room = Math.Min(BlockSize, destination.Length - written);
            int count = LibLz4.UnpackBlock(source.Slice(at, (int)size), destination.Slice(written, room));
            if (count < 0)
            {
                return $"the block at offset 0x{at:x} is damaged, or larger than {room} bytes";
            }

            at += (int)size;
            written += count;
        }

        return written == destination.Length ? null : $"it has {written} bytes";
    }
}
