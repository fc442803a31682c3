using System.Runtime.InteropServices;

namespace Introspect.Hypervisor.Linux;

/// <summary>Calls into libzstd (<c>zstd.h</c>).</summary>
internal static unsafe partial class LibZstd
{
    private const string Soname = "libzstd.so.1";

    public static SystemLibrary Library { get; } = new(Soname, "libzstd1");

    /// <summary>Unpacks frames that fill the destination; what is wrong otherwise.</summary>
    public static string? Unpack(ReadOnlySpan<byte> source, Span<byte> destination)
    {
        nuint result;
        // SAFETY: both spans are pinned for the call, which stays within the lengths it is given.
        fixed (byte* from = source)
        fixed (byte* to = destination)
        {
            result = Decompress(to, (nuint)destination.Length, from, (nuint)source.Length);
        }

        return IsError(result) != 0 ? Marshal.PtrToStringUTF8(ErrorName(result)) ?? "it is damaged"
            : result != (nuint)destination.Length ? $"it has {result} bytes"
            : null;
    }

    [LibraryImport(Soname, EntryPoint = "ZSTD_decompress")]
    private static partial nuint Decompress(byte* destination, nuint capacity, byte* source, nuint size);

    [LibraryImport(Soname, EntryPoint = "ZSTD_isError")]
    private static partial uint IsError(nuint code);

    /// <summary>A constant string of the library's.</summary>
    [LibraryImport(Soname, EntryPoint = "ZSTD_getErrorName")]
    private static partial nint ErrorName(nuint code);
}
