using System.Buffers.Binary;
using System.Diagnostics.CodeAnalysis;

namespace Introspect.Hypervisor.Core.Building;

/// <summary>Linux's boot image for x86: a setup header that tells where in it the packed kernel lies.</summary>
internal static class BzImage
{
    private const int SetupSectorsAt = 0x1f1;
    private const int SignatureAt = 0x202;
    private const int VersionAt = 0x206;
    private const int PayloadOffsetAt = 0x248;
    private const int PayloadLengthAt = 0x24c;
    private const int HeaderEnd = 0x250;

    private const int Sector = 512;

    /// <summary>The first version of the boot protocol that tells of the payload: 2.08.</summary>
    private const ushort PayloadVersion = 0x208;

    /// <summary>Whether the bytes begin as such an image does.</summary>
    public static bool Is(ReadOnlySpan<byte> image) =>
        image.Length >= VersionAt && image.Slice(SignatureAt, 4).SequenceEqual("HdrS"u8);

    /// <summary>Finds the packed kernel in bytes of which <see cref="Is"/> is true.</summary>
    public static bool TryFindPayload(ReadOnlyMemory<byte> image, out ReadOnlyMemory<byte> payload, [NotNullWhen(false)] out ElfError? error)
    {
        payload = default;
        ReadOnlySpan<byte> bytes = image.Span;
        if (bytes.Length < HeaderEnd)
        {
            error = new ElfError(
                ElfErrorKind.Truncated,
                $"the bzImage ends in its setup header: it has {bytes.Length} bytes of {HeaderEnd}; give the whole file");
            return false;
        }

        ushort version = BinaryPrimitives.ReadUInt16LittleEndian(bytes[VersionAt..]);
        if (version < PayloadVersion)
        {
            error = new ElfError(
                ElfErrorKind.BadBzImage,
                $"the bzImage is of boot protocol {version >> 8}.{version & 0xff:00}, which does not tell where its kernel lies; give one of 2.08 (Linux 2.6.26) or later");
            return false;
        }

        // 0 stands for 4, by the boot protocol's oldest rule; the boot sector comes before them.
        int sectors = bytes[SetupSectorsAt] is var count and not 0 ? count : 4;
        ulong offset = ((ulong)(sectors + 1) * Sector) + BinaryPrimitives.ReadUInt32LittleEndian(bytes[PayloadOffsetAt..]);
        ulong length = BinaryPrimitives.ReadUInt32LittleEndian(bytes[PayloadLengthAt..]);
        if (!ElfReader.Fits(offset, length, (ulong)bytes.Length))
        {
            error = new ElfError(
                ElfErrorKind.Truncated,
                $"the bzImage has its kernel in 0x{length:x} bytes at offset 0x{offset:x}, behind the file of {bytes.Length} bytes; give the whole file");
            return false;
        }

        payload = image.Slice((int)offset, (int)length);
        error = null;
        return true;
    }
}
