using System.Runtime.InteropServices;

namespace Introspect.Hypervisor.Linux;

/// <summary>Calls into liblzma (<c>lzma/container.h</c>), which unpacks xz.</summary>
internal static unsafe partial class LibLzma
{
    private const string Soname = "liblzma.so.5";

    /// <summary>Suffices for dictionaries of 128 MiB, the largest that kernels are packed with; more is refused before it is allocated.</summary>
    private const ulong MemoryLimit = 192 << 20;

    public static SystemLibrary Library { get; } = new(Soname, "liblzma5");

    /// <summary>Unpacks one xz stream that fills the destination; what is wrong otherwise.</summary>
    public static string? Unpack(ReadOnlySpan<byte> source, Span<byte> destination)
    {
        ulong memory = MemoryLimit;
        nuint read = 0;
        nuint written = 0;
        int result;
        // SAFETY: both spans are pinned for the call, which stays within the lengths it is given.
        fixed (byte* from = source)
        fixed (byte* to = destination)
        {
            result = StreamBufferDecode(&memory, 0, null, from, &read, (nuint)source.Length, to, &written, (nuint)destination.Length);
        }

        return result switch
        {
            0 => written != (nuint)destination.Length ? $"it has {written} bytes" : read != (nuint)source.Length ? $"it ends after {read} of {source.Length} packed bytes" : null,
            5 => "there is no memory for its dictionary",
            6 => $"its dictionary needs {memory >> 20} MiB of memory, and {MemoryLimit >> 20} are the most that is given",
            7 => "it is no xz stream",
            8 => "it uses a filter that liblzma does not know",
            9 => "it is damaged",
            10 => "it is cut off, or larger",
            _ => $"liblzma says {result}",
        };
    }

    [LibraryImport(Soname, EntryPoint = "lzma_stream_buffer_decode")]
    private static partial int StreamBufferDecode(
        ulong* memoryLimit, uint flags, void* allocator, byte* source, nuint* sourcePosition, nuint sourceSize, byte* destination, nuint* destinationPosition, nuint destinationSize);
}
