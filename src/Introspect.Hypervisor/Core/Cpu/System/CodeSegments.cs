namespace Introspect.Hypervisor.Core.Cpu.SystemMode;

/// <summary>Checks and loads of CS, shared by every far transfer (Intel SDM vol. 3, 5.8; vol. 2, JMP, CALL, RET, IRET).</summary>
internal static unsafe class CodeSegments
{
    /// <summary>A code segment named by the instruction itself (JMP far, CALL far): conforming, or exactly at CPL.</summary>
    public static bool CheckDirect(CpuState* s, ushort selector, in Descriptor descriptor)
    {
        var reachable = descriptor.IsConforming
            ? descriptor.Dpl <= s->Cpl
            : Selectors.Rpl(selector) <= s->Cpl && descriptor.Dpl == s->Cpl;
        if (!descriptor.IsCode || IsContradictory(s, in descriptor) || !reachable)
        {
            return Fault.GeneralProtection(s, Selectors.ErrorCode(selector));
        }

        return CheckPresent(s, selector, in descriptor);
    }

    /// <summary>A code segment popped by RETF or IRET: RPL is the level to return to.</summary>
    public static bool ReadForReturn(CpuState* s, ushort selector, out Descriptor descriptor)
    {
        descriptor = default;
        if (Selectors.IsNull(selector))
        {
            return Fault.GeneralProtection(s, 0);
        }

        if (!DescriptorTables.Read(s, selector, Vector.GeneralProtection, out descriptor))
        {
            return false;
        }

        var rpl = Selectors.Rpl(selector);
        var matches = descriptor.IsConforming ? descriptor.Dpl <= rpl : descriptor.Dpl == rpl;
        if (!descriptor.IsCode || IsContradictory(s, in descriptor) || rpl < s->Cpl || !matches)
        {
            return Fault.GeneralProtection(s, Selectors.ErrorCode(selector));
        }

        return CheckPresent(s, selector, in descriptor);
    }

    /// <summary>
    /// The code segment of a call, interrupt or trap gate: DPL at or inside of CPL, RPL does not matter. In long mode
    /// it must be 64-bit code. A jump cannot change the level: for it non-conforming code must be exactly at CPL.
    /// </summary>
    public static bool ReadForGate(CpuState* s, ushort selector, bool jump, out Descriptor descriptor)
    {
        descriptor = default;
        if (Selectors.IsNull(selector))
        {
            return Fault.GeneralProtection(s, 0);
        }

        if (!DescriptorTables.Read(s, selector, Vector.GeneralProtection, out descriptor))
        {
            return false;
        }

        var wrongWidth = CpuModes.IsLongMode(s) && (!descriptor.IsLong || descriptor.IsDefault32);
        var wrongLevel = descriptor.Dpl > s->Cpl || (jump && !descriptor.IsConforming && descriptor.Dpl != s->Cpl);
        if (!descriptor.IsCode || wrongLevel || wrongWidth)
        {
            return Fault.GeneralProtection(s, Selectors.ErrorCode(selector));
        }

        return CheckPresent(s, selector, in descriptor);
    }

    /// <summary>Entry point within the segment, or canonical for 64-bit code; else #GP(0). Cuts it to the segment's width.</summary>
    public static bool CheckOffset(CpuState* s, in Descriptor code, ref ulong offset)
    {
        if (Is64Bit(s, in code))
        {
            return Mmu.IsCanonical(s, offset) || Fault.GeneralProtection(s, 0);
        }

        offset = (uint)offset;
        return offset <= code.Limit || Fault.GeneralProtection(s, 0);
    }

    /// <summary>True when code of this segment runs in 64-bit mode.</summary>
    public static bool Is64Bit(CpuState* s, in Descriptor code) => CpuModes.IsLongMode(s) && code.IsLong;

    /// <summary>Makes the segment CS at a privilege level and goes to an offset. Nothing can fail any more.</summary>
    public static void Enter(CpuState* s, ushort selector, in Descriptor code, int cpl, ulong offset)
    {
        *s->Seg(SegmentIndex.Cs) = code.ToSegment(Selectors.WithRpl(selector, cpl));
        s->Cpl = cpl;
        s->Rip = offset;
        CpuModes.Update(s);
    }

    /// <summary>Real and virtual-8086 mode: CS:IP, with the limit that the hidden part has.</summary>
    public static bool EnterReal(CpuState* s, ushort selector, ulong offset)
    {
        if (!CheckRealOffset(s, offset))
        {
            return false;
        }

        SegmentLoader.LoadReal(s, SegmentIndex.Cs, selector);
        s->Rip = offset;
        CpuModes.Update(s);
        return true;
    }

    /// <summary>#GP(0) for an entry point beyond the limit in real and virtual-8086 mode.</summary>
    public static bool CheckRealOffset(CpuState* s, ulong offset) =>
        offset <= s->Seg(SegmentIndex.Cs)->Limit || Fault.GeneralProtection(s, 0);

    /// <summary>L and D both set has no meaning in long mode.</summary>
    private static bool IsContradictory(CpuState* s, in Descriptor code) =>
        CpuModes.IsLongMode(s) && code.IsLong && code.IsDefault32;

    private static bool CheckPresent(CpuState* s, ushort selector, in Descriptor descriptor) =>
        descriptor.IsPresent || Fault.Raise(s, Vector.SegmentNotPresent, Selectors.ErrorCode(selector));
}
