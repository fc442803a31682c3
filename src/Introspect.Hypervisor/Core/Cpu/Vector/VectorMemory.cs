namespace Introspect.Hypervisor.Core.Cpu.VectorUnit;

/// <summary>Operands of any size up to a page: checked as a whole before the first byte is used.</summary>
internal static unsafe class VectorMemory
{
    /// <summary>Linear address of the memory operand, which must have an alignment (a power of two).</summary>
    public static bool Address(CpuState* s, Insn* i, int size, int alignment, bool write, out ulong linear) =>
        SlowHandlers.OperandAddress(s, i, size, write, out linear)
        && ((linear & (ulong)(alignment - 1)) == 0 || Fault.GeneralProtection(s, 0));

    /// <summary>Copies guest memory to a buffer.</summary>
    public static bool Read(CpuState* s, Insn* i, ulong linear, byte* to, int size)
    {
        for (var at = 0; at < size; at += SlowAccess.MaxBytes)
        {
            var part = Math.Min(size - at, SlowAccess.MaxBytes);
            var p = SlowAccess.Read(s, (SegmentIndex)i->Seg, Next(s, linear, at), part);
            if (p == null)
            {
                return false;
            }

            Buffer.MemoryCopy(p, to + at, part, part);
        }

        return true;
    }

    /// <summary>Copies a buffer to guest memory, all of it or nothing.</summary>
    public static bool Write(CpuState* s, Insn* i, ulong linear, byte* from, int size)
    {
        var segment = (SegmentIndex)i->Seg;
        if (size > SlowAccess.MaxBytes && !SlowAccess.Probe(s, segment, linear, size, AccessKind.Write, AccessRights.Current))
        {
            return false;
        }

        for (var at = 0; at < size; at += SlowAccess.MaxBytes)
        {
            var part = Math.Min(size - at, SlowAccess.MaxBytes);
            if (!SlowAccess.WriteBytes(s, segment, Next(s, linear, at), from + at, part, AccessRights.Current))
            {
                return false;
            }
        }

        return true;
    }

    private static ulong Next(CpuState* s, ulong linear, int distance) =>
        CpuModes.IsLongMode(s) ? linear + (uint)distance : (uint)(linear + (uint)distance);
}
