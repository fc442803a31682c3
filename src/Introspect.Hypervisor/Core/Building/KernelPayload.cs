using System.Buffers.Binary;
using System.Diagnostics.CodeAnalysis;
using Introspect.Hypervisor.Linux;

namespace Introspect.Hypervisor.Core.Building;

/// <summary>
/// The packed kernel of a bzImage, with its size before packing in the last four bytes. Memory is allocated for that
/// size once, and only when it is one that a kernel can have.
/// </summary>
internal static class KernelPayload
{
    /// <summary>The largest kernel.</summary>
    public const long MaximumSize = 512 << 20;

    /// <summary>How many times larger than packed a kernel may be, beyond a mebibyte: real ones are four to eight times.</summary>
    public const int MaximumRatio = 64;

    private const long Mebibyte = 1 << 20;

    private static readonly (string Name, byte[] Magic)[] Refused = [("bzip2", "BZh"u8.ToArray()), ("LZMA", [0x5d, 0x00]), ("LZO", [0x89, 0x4c, 0x5a, 0x4f])];

    /// <summary>Unpacks a payload.</summary>
    public static bool TryUnpack(ReadOnlyMemory<byte> payload, out ReadOnlyMemory<byte> kernel, [NotNullWhen(false)] out ElfError? error)
    {
        foreach (PayloadFormat format in PayloadFormat.All)
        {
            if (payload.Span.StartsWith(format.Magic))
            {
                return TryUnpack(payload, format, out kernel, out error);
            }
        }

        kernel = default;
        foreach ((string name, byte[] magic) in Refused)
        {
            if (payload.Span.StartsWith(magic))
            {
                error = new ElfError(
                    ElfErrorKind.UnknownPacking,
                    $"the bzImage's kernel is packed with {name}, which is not unpacked here; build it with gzip, xz, zstd or lz4, or give its vmlinux");
                return false;
            }
        }

        string start = Convert.ToHexStringLower(payload.Span[..Math.Min(4, payload.Length)]);
        error = new ElfError(
            ElfErrorKind.UnknownPacking,
            $"the bzImage's kernel is packed in an unknown way: it starts with '{start}'; build it with gzip, xz, zstd or lz4, or give its vmlinux");
        return false;
    }

    /// <summary>Unpacks a payload of a known format.</summary>
    public static bool TryUnpack(
        ReadOnlyMemory<byte> payload, PayloadFormat format, out ReadOnlyMemory<byte> kernel, [NotNullWhen(false)] out ElfError? error)
    {
        kernel = default;
        int packed = payload.Length - sizeof(uint);
        uint size = packed < 0 ? 0 : BinaryPrimitives.ReadUInt32LittleEndian(payload.Span[packed..]);
        if (size == 0 || size > MaximumSize || size > Mebibyte + ((long)MaximumRatio * payload.Length))
        {
            error = new ElfError(
                ElfErrorKind.BadPayload,
                $"the bzImage's kernel has {payload.Length} bytes packed with {format.Name} and says that it has {size} unpacked, which no kernel has; the image is damaged, get it anew");
            return false;
        }

        if (format.Library is { IsInstalled: false } library)
        {
            error = new ElfError(ElfErrorKind.LibraryMissing, $"the bzImage's kernel is packed with {format.Name}, and {library.Missing}");
            return false;
        }

        byte[] unpacked = new byte[size];
        string? mistake = format.Unpack(format.SizeIsOurs ? payload[..packed] : payload, unpacked);
        error = mistake is null
            ? null
            : new ElfError(
                ElfErrorKind.BadPayload,
                $"the bzImage's kernel, {size} bytes packed with {format.Name}, cannot be unpacked: {mistake}; the image is damaged, get it anew");
        kernel = mistake is null ? unpacked : default;
        return mistake is null;
    }
}

/// <summary>A way in which kernels are packed.</summary>
/// <param name="Name">For people.</param>
/// <param name="MagicBytes">How it begins.</param>
/// <param name="Library">The library that unpacks it; null: the framework does.</param>
/// <param name="SizeIsOurs">The size at the end was put there by Linux's build and is no part of the format.</param>
/// <param name="Unpack">Fills a destination exactly, or says what is wrong.</param>
internal sealed record PayloadFormat(string Name, byte[] MagicBytes, SystemLibrary? Library, bool SizeIsOurs, PayloadUnpacker Unpack)
{
    /// <summary>Those that are unpacked here.</summary>
    public static IReadOnlyList<PayloadFormat> All { get; } =
    [
        new("gzip", [0x1f, 0x8b], null, SizeIsOurs: false, GzipPayload.Unpack),
        new("xz", [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00], LibLzma.Library, SizeIsOurs: true, static (source, destination) => LibLzma.Unpack(source.Span, destination)),
        new("zstd", [0x28, 0xb5, 0x2f, 0xfd], LibZstd.Library, SizeIsOurs: true, static (source, destination) => LibZstd.Unpack(source.Span, destination)),
        new("lz4", [0x02, 0x21, 0x4c, 0x18], LibLz4.Library, SizeIsOurs: true, static (source, destination) => Lz4Payload.Unpack(source.Span, destination)),
    ];

    /// <summary>How it begins.</summary>
    public ReadOnlySpan<byte> Magic => MagicBytes;
}

/// <summary>Unpacks into a destination that must become full to the last byte.</summary>
/// <returns>What is wrong, in words; null for nothing.</returns>
internal delegate string? PayloadUnpacker(ReadOnlyMemory<byte> source, Span<byte> destination);
