namespace Introspect.Hypervisor.Core.Cpu.SystemMode;

/// <summary>Reads descriptors out of the GDT and LDT and sets their accessed and busy bits.</summary>
internal static unsafe class DescriptorTables
{
    private const ulong AccessedBit = 1;
    private const ulong BusyBit = 2;

    /// <summary>Linear address of a descriptor; false, without a fault, when its table does not reach so far.</summary>
    public static bool Locate(CpuState* s, ushort selector, int size, out ulong linear)
    {
        ulong tableBase = s->GdtrBase;
        var limit = s->GdtrLimit;
        linear = 0;
        if (Selectors.IsLocal(selector))
        {
            var ldtr = s->Seg(SegmentIndex.Ldtr);
            if ((ldtr->Attributes & Segment.Unusable) != 0)
            {
                return false;
            }

            tableBase = ldtr->Base;
            limit = ldtr->Limit;
        }

        var offset = selector & 0xFFF8u;
        linear = tableBase + offset;
        return offset + (uint)size - 1 <= limit;
    }

    /// <summary>Reads 8 bytes of a descriptor; beyond its table the given exception with the selector.</summary>
    public static bool Read(CpuState* s, ushort selector, byte vector, out Descriptor descriptor)
    {
        descriptor = default;
        if (!Locate(s, selector, 8, out var linear))
        {
            return Fault.Raise(s, vector, Selectors.ErrorCode(selector));
        }

        if (!Access.ReadSystem(s, linear, 8, out var low))
        {
            return false;
        }

        descriptor = new Descriptor(low, 0, linear);
        return true;
    }

    /// <summary>
    /// Reads the second half of a 16-byte system descriptor of long mode. The type field there must be 0, so that
    /// its bytes cannot be taken for a descriptor of their own.
    /// </summary>
    public static bool ReadSecondHalf(CpuState* s, ushort selector, byte vector, ref Descriptor descriptor)
    {
        if (!Locate(s, selector, 16, out var linear))
        {
            return Fault.Raise(s, vector, Selectors.ErrorCode(selector));
        }

        if (!Access.ReadSystem(s, linear + 8, 8, out var high))
        {
            return false;
        }

        if ((high & (0x1FUL << 40)) != 0)
        {
            return Fault.Raise(s, vector, Selectors.ErrorCode(selector));
        }

        descriptor = new Descriptor(descriptor.Low, (uint)high, linear);
        return true;
    }

    /// <summary>Sets the accessed bit in memory and in the copy, if it was clear.</summary>
    public static bool MarkAccessed(CpuState* s, ref Descriptor descriptor)
    {
        if (descriptor.IsAccessed)
        {
            return true;
        }

        descriptor = descriptor.WithTypeBits(AccessedBit, 0);
        return WriteTypeByte(s, in descriptor);
    }

    /// <summary>Sets or clears the busy bit of a TSS descriptor in memory and in the copy.</summary>
    public static bool MarkBusy(CpuState* s, ref Descriptor descriptor, bool busy)
    {
        descriptor = busy ? descriptor.WithTypeBits(BusyBit, 0) : descriptor.WithTypeBits(0, BusyBit);
        return WriteTypeByte(s, in descriptor);
    }

    private static bool WriteTypeByte(CpuState* s, in Descriptor descriptor) =>
        Access.WriteSystem(s, descriptor.Address + 5, 1, (descriptor.Low >> 40) & 0xFF);
}
