namespace Introspect.Hypervisor.Core.Cpu.SystemMode;

/// <summary>What the processor looks up in the current TSS: stacks of inner levels (Intel SDM vol. 3, 8.2 and 8.7).</summary>
internal static unsafe class TaskState
{
    /// <summary>Loads the stack of an inner level from a 16-bit or 32-bit TSS and checks its segment.</summary>
    public static bool InnerStack(CpuState* s, int level, out ushort selector, out Descriptor segment, out ulong pointer)
    {
        segment = default;
        pointer = 0;
        selector = 0;
        var tr = s->Seg(SegmentIndex.Tr);
        var size = Is32(tr) ? 4u : 2u;
        var offset = size + ((uint)level * 2 * size);

        // ESP and SS, of which the upper half is padding.
        if (offset + size + 1 > tr->Limit)
        {
            return Fault.Raise(s, Vector.InvalidTss, Selectors.ErrorCode(tr->Selector));
        }

        if (!Access.ReadSystem(s, tr->Base + offset, (int)size, out pointer)
            || !Access.ReadSystem(s, tr->Base + offset + size, 2, out var ss))
        {
            return false;
        }

        selector = (ushort)ss;
        if (Selectors.IsNull(selector))
        {
            return Fault.Raise(s, Vector.InvalidTss, 0);
        }

        return DescriptorTables.Read(s, selector, Vector.InvalidTss, out segment)
            && SegmentLoader.CheckStack(s, selector, in segment, level, Vector.InvalidTss);
    }

    /// <summary>RSP of an inner level from a 64-bit TSS.</summary>
    public static bool InnerPointer(CpuState* s, int level, out ulong pointer) =>
        ReadPointer(s, 4 + ((uint)level * 8), out pointer);

    /// <summary>An entry, 1 to 7, of the interrupt stack table of a 64-bit TSS.</summary>
    public static bool InterruptStack(CpuState* s, int entry, out ulong pointer) =>
        ReadPointer(s, 36 + ((uint)(entry - 1) * 8), out pointer);

    private static bool ReadPointer(CpuState* s, uint offset, out ulong pointer)
    {
        pointer = 0;
        var tr = s->Seg(SegmentIndex.Tr);
        return offset + 7 <= tr->Limit
            ? Access.ReadSystem(s, tr->Base + offset, 8, out pointer)
            : Fault.Raise(s, Vector.InvalidTss, Selectors.ErrorCode(tr->Selector));
    }

    private static bool Is32(Segment* tr) => (tr->Attributes & 8) != 0;
}
