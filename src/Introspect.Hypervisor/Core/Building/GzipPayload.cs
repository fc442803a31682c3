using System.IO.Compression;
using System.Runtime.InteropServices;

namespace Introspect.Hypervisor.Core.Building;

/// <summary>A kernel packed with gzip, whose own trailer holds its size.</summary>
internal static class GzipPayload
{
    public static string? Unpack(ReadOnlyMemory<byte> source, Span<byte> destination)
    {
        using MemoryStream packed = MemoryMarshal.TryGetArray(source, out ArraySegment<byte> array)
            ? new MemoryStream(array.Array!, array.Offset, array.Count, writable: false)
            : new MemoryStream(source.ToArray(), writable: false);
        using GZipStream stream = new(packed, CompressionMode.Decompress);
        try
        {
            int count = stream.ReadAtLeast(destination, destination.Length, throwOnEndOfStream: false);
            return count != destination.Length ? $"it has {count} bytes"
                : stream.ReadByte() >= 0 ? "it is larger"
                : null;
        }
        catch (InvalidDataException)
        {
            return "it is damaged";
        }
    }
}
