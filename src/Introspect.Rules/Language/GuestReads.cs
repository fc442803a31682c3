using System.Buffers.Binary;
using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;

namespace Introspect.Rules.Language;

/// <summary>Reads of guest memory: little-endian numbers. One that fails is counted, and makes the comparison untrue.</summary>
internal static class GuestReads
{
    /// <summary>Reads at a linear address, through the page tables that the vCPU has at the event.</summary>
    public static ulong Linear(ref VmEvent e, ref EvaluationContext c, ulong address, int bytes)
    {
        if (c.IsUnknown)
        {
            // The comparison is lost already: its address may be made of what could not be read.
            return 0;
        }

        c.MemoryReads++;
        Span<byte> buffer = stackalloc byte[sizeof(ulong)];
        buffer.Clear();
        return c.Memory is { } memory && TryReadLinear(memory, FieldReaders.SpaceOf(ref e), address, buffer[..bytes])
            ? BinaryPrimitives.ReadUInt64LittleEndian(buffer)
            : Failed(ref c);
    }

    /// <summary>Reads at a guest-physical address.</summary>
    public static ulong Physical(ref EvaluationContext c, ulong address, int bytes)
    {
        if (c.IsUnknown)
        {
            return 0;
        }

        c.MemoryReads++;
        Span<byte> buffer = stackalloc byte[sizeof(ulong)];
        buffer.Clear();
        return c.Memory is { } memory && TryReadPhysical(memory, new(address), buffer[..bytes])
            ? BinaryPrimitives.ReadUInt64LittleEndian(buffer)
            : Failed(ref c);
    }

    private static bool TryReadLinear(IGuestMemory memory, in AddressSpace space, ulong address, Span<byte> destination)
    {
        try
        {
            while (!destination.IsEmpty)
            {
                var length = Math.Min(destination.Length, Gfn.PageSize - (int)(address & (Gfn.PageSize - 1)));
                if (!memory.TryTranslate(space, new(address), out var physical) || !memory.TryReadPhysical(physical, destination[..length]))
                {
                    return false;
                }

                destination = destination[length..];
                address = unchecked(address + (ulong)length);
            }

            return true;
        }
        catch (HypervisorException)
        {
            // Whatever the reason is: there is no value to compare.
            return false;
        }
    }

    private static bool TryReadPhysical(IGuestMemory memory, GuestPhysical address, Span<byte> destination)
    {
        try
        {
            return memory.TryReadPhysical(address, destination);
        }
        catch (HypervisorException)
        {
            return false;
        }
    }

    private static ulong Failed(ref EvaluationContext c)
    {
        c.FailedMemoryReads++;
        return FieldReaders.Unknown(ref c);
    }
}
