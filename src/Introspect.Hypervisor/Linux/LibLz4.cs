using System.Runtime.InteropServices;

namespace Introspect.Hypervisor.Linux;

/// <summary>Calls into liblz4 (<c>lz4.h</c>).</summary>
internal static unsafe partial class LibLz4
{
    private const string Soname = "liblz4.so.1";

    public static SystemLibrary Library { get; } = new(Soname, "liblz4-1");

    /// <summary>Unpacks one block.</summary>
    /// <returns>Bytes written; negative for a block that is damaged, or larger than the destination.</returns>
    public static int UnpackBlock(ReadOnlySpan<byte> source, Span<byte> destination)
    {
        // SAFETY: both spans are pinned for the call, which stays within the lengths it is given.
        fixed (byte* from = source)
        fixed (byte* to = destination)
        {
            return DecompressSafe(from, to, source.Length, destination.Length);
        }
    }

    [LibraryImport(Soname, EntryPoint = "LZ4_decompress_safe")]
    private static partial int DecompressSafe(byte* source, byte* destination, int size, int capacity);
}
