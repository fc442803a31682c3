using System.Runtime.InteropServices;

namespace Introspect.Hypervisor.Core.Xenstore;

/// <summary>
/// The store's side of the page that it shares with a guest (<c>struct xenstore_domain_interface</c>): req[1024], rsp[1024],
/// then req_cons, req_prod, rsp_cons, rsp_prod, features, connection, error. The guest can write anything there at any time:
/// each index is read once, and checked as read.
/// </summary>
internal static class StoreRing
{
    /// <summary>Bytes in each direction.</summary>
    public const int Size = 1024;

    private const int Indices = 2 * Size;
    private const int RequestConsumer = 0;
    private const int RequestProducer = 1;
    private const int ResponseConsumer = 2;
    private const int ResponseProducer = 3;
    private const int Features = 4;
    private const int Connection = 5;
    private const int Error = 6;
    private const int FieldCount = 7;
    private const uint Reconnect = 1;

    /// <summary>Takes bytes that the guest sent.</summary>
    /// <returns>How many; -1: the indices cannot be.</returns>
    public static int Read(Span<byte> page, Span<byte> destination)
    {
        var fields = Fields(page);
        var consumer = Volatile.Read(ref fields[RequestConsumer]);
        var available = Volatile.Read(ref fields[RequestProducer]) - consumer;
        if (available > Size)
        {
            return -1;
        }

        var count = (int)Math.Min(available, (uint)destination.Length);
        var at = (int)(consumer % Size);
        var first = Math.Min(count, Size - at);
        page.Slice(at, first).CopyTo(destination);
        page[..(count - first)].CopyTo(destination[first..]);
        Interlocked.MemoryBarrier();
        Volatile.Write(ref fields[RequestConsumer], consumer + (uint)count);
        return count;
    }

    /// <summary>Gives the guest bytes, as far as it has room.</summary>
    /// <returns>How many; -1: the indices cannot be.</returns>
    public static int Write(Span<byte> page, ReadOnlySpan<byte> source)
    {
        var fields = Fields(page);
        var producer = Volatile.Read(ref fields[ResponseProducer]);
        var used = producer - Volatile.Read(ref fields[ResponseConsumer]);
        if (used > Size)
        {
            return -1;
        }

        var count = Math.Min(source.Length, Size - (int)used);
        var at = (int)(producer % Size);
        var first = Math.Min(count, Size - at);
        source[..first].CopyTo(page[(Size + at)..]);
        source[first..count].CopyTo(page[Size..]);
        Volatile.Write(ref fields[ResponseProducer], producer + (uint)count);

        // The guest says that it read when it found the ring full: what it reads from here on is looked at again before a wait.
        Interlocked.MemoryBarrier();
        return count;
    }

    /// <summary>Says what there is to make use of, and that all is well.</summary>
    public static void Announce(Span<byte> page, uint features, StoreFault fault)
    {
        var fields = Fields(page);
        Volatile.Write(ref fields[Features], features);
        Volatile.Write(ref fields[Error], (uint)fault);
    }

    /// <summary>The guest wants to begin anew.</summary>
    public static bool WantsReconnect(Span<byte> page) => Volatile.Read(ref Fields(page)[Connection]) == Reconnect;

    /// <summary>Empties both directions and tells the guest that it can begin.</summary>
    public static void CompleteReconnect(Span<byte> page)
    {
        var fields = Fields(page);
        Volatile.Write(ref fields[RequestConsumer], 0);
        Volatile.Write(ref fields[RequestProducer], 0);
        Volatile.Write(ref fields[ResponseConsumer], 0);
        Volatile.Write(ref fields[ResponseProducer], 0);
        Volatile.Write(ref fields[Error], (uint)StoreFault.None);
        Volatile.Write(ref fields[Connection], 0);
    }

    private static Span<uint> Fields(Span<byte> page) => MemoryMarshal.Cast<byte, uint>(page.Slice(Indices, FieldCount * sizeof(uint)));
}
