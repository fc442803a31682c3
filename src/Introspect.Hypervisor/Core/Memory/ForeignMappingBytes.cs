namespace Introspect.Hypervisor.Core.Memory;

/// <summary>The bytes of a foreign mapping.</summary>
internal static unsafe class ForeignMappingBytes
{
    /// <summary>All bytes; they are there until the mapping is disposed.</summary>
    public static Span<byte> AsSpan(this ForeignMapping mapping) =>
        // SAFETY: the mapping says where it is and how long; checked() refuses one too long for a span.
        new((void*)mapping.Address, checked((int)mapping.Length));
}
