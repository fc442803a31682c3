using System.Runtime.InteropServices;

namespace Introspect.Hypervisor.Core.Hypercalls.Guest;

/// <summary>Structures to and from the caller's memory.</summary>
internal static class GuestCopy
{
    /// <summary>Reads a structure; false is EFAULT.</summary>
    public static bool TryRead<T>(this IGuestMemoryOperations memory, ulong address, out T value)
        where T : unmanaged
    {
        value = default;
        return memory.CopyFromGuest(address, MemoryMarshal.AsBytes(new Span<T>(ref value)));
    }

    /// <summary>Writes a structure; false is EFAULT.</summary>
    public static bool TryWrite<T>(this IGuestMemoryOperations memory, ulong address, in T value)
        where T : unmanaged =>
        memory.CopyToGuest(address, MemoryMarshal.AsBytes(new ReadOnlySpan<T>(in value)));

    /// <summary>Reads an element of an array of the guest's longs.</summary>
    public static bool TryReadLong(this IGuestMemoryOperations memory, ulong array, ulong index, bool is64, out ulong value)
    {
        if (is64)
        {
            return memory.TryRead(array + (index * 8), out value);
        }

        var ok = memory.TryRead(array + (index * 4), out uint narrow);
        value = narrow;
        return ok;
    }

    /// <summary>Writes an element of an array of the guest's longs.</summary>
    public static bool TryWriteLong(this IGuestMemoryOperations memory, ulong array, ulong index, bool is64, ulong value) =>
        is64 ? memory.TryWrite(array + (index * 8), value) : memory.TryWrite(array + (index * 4), (uint)value);
}
