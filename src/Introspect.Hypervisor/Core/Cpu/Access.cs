using System.Runtime.CompilerServices;

namespace Introspect.Hypervisor.Core.Cpu;

/// <summary>
/// Guest data access by linear address. The fast path is one hash, one compare and one add; everything else
/// (walks, page crossings, devices, emulation, breakpoints, alignment checks) is in <see cref="SlowAccess"/>.
/// A null pointer or false means that the instruction must stop: the fault or exit is in the state, and
/// nothing was committed.
/// </summary>
internal static unsafe class Access
{
    /// <summary>Address of readable bytes: guest memory itself, or <see cref="CpuState.Bounce"/> when they had to be gathered.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static byte* Read<T>(CpuState* s, Insn* i, ulong linear)
        where T : unmanaged
    {
        var entry = Tlb.Slot(s->Tlb, linear);
        return (linear ^ entry->Read) <= 4096 - (uint)sizeof(T)
            ? (byte*)(linear + entry->Addend)
            : SlowAccess.Read(s, (SegmentIndex)i->Seg, linear, sizeof(T));
    }

    /// <summary>Stores the low bytes of a value.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Write<T>(CpuState* s, Insn* i, ulong linear, ulong value)
        where T : unmanaged
    {
        var entry = Tlb.Slot(s->Tlb, linear);
        if ((linear ^ entry->Write) > 4096 - (uint)sizeof(T))
        {
            return SlowAccess.Write(s, (SegmentIndex)i->Seg, linear, value, sizeof(T));
        }

        // Casts only: a reinterpreted local would be address-taken, and its handler lose the tail call.
        var p = linear + entry->Addend;
        if (sizeof(T) == 8)
        {
            *(ulong*)p = value;
        }
        else if (sizeof(T) == 4)
        {
            *(uint*)p = (uint)value;
        }
        else if (sizeof(T) == 2)
        {
            *(ushort*)p = (ushort)value;
        }
        else
        {
            *(byte*)p = (byte)value;
        }

        return true;
    }

    /// <summary>
    /// Address of bytes to read, change and write back. When it is <see cref="CpuState.Bounce"/>, the change is
    /// finished by <see cref="SlowAccess.CommitBounce"/>.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static byte* Modify<T>(CpuState* s, Insn* i, ulong linear)
        where T : unmanaged
    {
        var entry = Tlb.Slot(s->Tlb, linear);
        return (linear ^ entry->Write) <= 4096 - (uint)sizeof(T)
            ? (byte*)(linear + entry->Addend)
            : SlowAccess.Modify(s, (SegmentIndex)i->Seg, linear, sizeof(T));
    }

    /// <summary>Reads 1, 2, 4 or 8 bytes with the current privilege level's rights.</summary>
    public static bool Read(CpuState* s, ulong linear, int size, out ulong value) =>
        Take(SlowAccess.Read(s, SegmentIndex.Ds, linear, size), size, out value);

    /// <summary>Writes 1, 2, 4 or 8 bytes with the current privilege level's rights.</summary>
    public static bool Write(CpuState* s, ulong linear, int size, ulong value) =>
        SlowAccess.Write(s, SegmentIndex.Ds, linear, value, size);

    /// <summary>Would a write succeed? Faults like one.</summary>
    public static bool ProbeWrite(CpuState* s, ulong linear, int size) =>
        SlowAccess.Probe(s, SegmentIndex.Ds, linear, size, AccessKind.Write, AccessRights.Current);

    /// <summary>Implicit supervisor read: GDT, LDT, IDT, TSS.</summary>
    public static bool ReadSystem(CpuState* s, ulong linear, int size, out ulong value) =>
        Take(SlowAccess.ReadAs(s, SegmentIndex.Ds, linear, size, AccessRights.System), size, out value);

    /// <summary>Implicit supervisor write: accessed and busy bits, TSS, stacks of an inner level.</summary>
    public static bool WriteSystem(CpuState* s, ulong linear, int size, ulong value) =>
        SlowAccess.WriteAs(s, SegmentIndex.Ds, linear, value, size, AccessRights.System);

    /// <summary>Segment and offset to linear, with the limit, type and canonical checks of the mode.</summary>
    public static bool Linear(CpuState* s, SegmentIndex seg, ulong offset, int size, bool write, out ulong linear)
    {
        var segment = s->Seg(seg);
        if (CpuModes.Is64(s))
        {
            linear = offset + (seg is SegmentIndex.Fs or SegmentIndex.Gs ? segment->Base : 0);
            return (Mmu.IsCanonical(s, linear) && Mmu.IsCanonical(s, linear + (uint)size - 1)) || Fault.Segment(s, seg);
        }

        linear = (uint)(segment->Base + offset);
        var attributes = segment->Attributes;
        if (CpuModes.IsRealOrVm86(s))
        {
            return (offset <= segment->Limit && segment->Limit - offset >= (uint)size - 1) || Fault.Segment(s, seg);
        }

        if ((attributes & Segment.Unusable) != 0)
        {
            return Fault.Segment(s, seg);
        }

        var code = (attributes & 8) != 0;
        var readOrWrite = (attributes & 2) != 0;
        if ((write && (code || !readOrWrite)) || (!write && code && !readOrWrite))
        {
            return Fault.Segment(s, seg);
        }

        var last = offset + (uint)size - 1;
        if (!code && (attributes & 4) != 0)
        {
            var top = (attributes & Segment.Default32) != 0 ? 0xFFFFFFFFUL : 0xFFFF;
            return (offset > segment->Limit && last <= top) || Fault.Segment(s, seg);
        }

        return last <= segment->Limit || Fault.Segment(s, seg);
    }

    private static bool Take(byte* p, int size, out ulong value)
    {
        value = p == null ? 0 : SlowAccess.Load(p, size);
        return p != null;
    }
}
