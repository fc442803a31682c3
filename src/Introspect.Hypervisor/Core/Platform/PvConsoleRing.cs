using System.Runtime.InteropServices;

namespace Introspect.Hypervisor.Core.Platform;

/// <summary>
/// The hypervisor's side of the PV console ring (<c>struct xencons_interface</c> in the page of
/// HVM_PARAM_CONSOLE_PFN): in[1024], out[2048], then in_cons, in_prod, out_cons, out_prod. The guest owns the page
/// and can write anything there at any time.
/// </summary>
internal static class PvConsoleRing
{
    private const int InSize = 1024;
    private const int OutSize = 2048;
    private const int OutOffset = InSize;
    private const int IndexOffset = InSize + OutSize;
    private const int InConsumer = 0;
    private const int InProducer = 1;
    private const int OutConsumer = 2;
    private const int OutProducer = 3;

    /// <summary>Takes what the guest put into the ring and appends it to its console.</summary>
    /// <param name="page">The ring's page.</param>
    /// <param name="console">Where the output goes.</param>
    /// <returns>True when something was taken: the guest is to be told, it may wait for room.</returns>
    public static bool Drain(Span<byte> page, GuestConsole console)
    {
        var indices = MemoryMarshal.Cast<byte, uint>(page.Slice(IndexOffset, 16));
        var consumer = Volatile.Read(ref indices[OutConsumer]);
        var producer = Volatile.Read(ref indices[OutProducer]);
        var available = producer - consumer;
        if (available == 0)
        {
            return false;
        }

        // More than the ring holds cannot have been written by the rules: skip it all, as nothing of it is known.
        if (available <= OutSize)
        {
            Span<byte> copy = stackalloc byte[OutSize];
            for (var i = 0u; i < available; i++)
            {
                copy[(int)i] = page[OutOffset + (int)((consumer + i) % OutSize)];
            }

            console.Write(copy[..(int)available]);
        }

        Volatile.Write(ref indices[OutConsumer], producer);
        return true;
    }

    /// <summary>The guest ever wrote to the ring: it looks there for input, too.</summary>
    public static bool IsUsed(Span<byte> page) => Volatile.Read(ref MemoryMarshal.Cast<byte, uint>(page.Slice(IndexOffset, 16))[OutProducer]) != 0;

    /// <summary>Gives the guest waiting input, as far as it fits.</summary>
    /// <returns>True when something was given: the guest is to be told.</returns>
    public static bool Fill(Span<byte> page, GuestConsole console)
    {
        var indices = MemoryMarshal.Cast<byte, uint>(page.Slice(IndexOffset, 16));
        var consumer = Volatile.Read(ref indices[InConsumer]);
        var producer = Volatile.Read(ref indices[InProducer]);
        var used = producer - consumer;
        if (used >= InSize)
        {
            return false;
        }

        Span<byte> copy = stackalloc byte[InSize];
        var count = console.TakeInput(copy[..(int)(InSize - used)]);
        for (var i = 0; i < count; i++)
        {
            page[(int)((producer + (uint)i) % InSize)] = copy[i];
        }

        Volatile.Write(ref indices[InProducer], producer + (uint)count);
        return count != 0;
    }
}
