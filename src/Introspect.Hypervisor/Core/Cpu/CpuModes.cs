namespace Introspect.Hypervisor.Core.Cpu;

/// <summary>What follows from control registers, EFER, CS, SS and RFLAGS: the decode mode and the TLB bank.</summary>
internal static unsafe class CpuModes
{
    public const ulong Cr0Pe = 1;
    public const ulong Cr0Mp = 1 << 1;
    public const ulong Cr0Em = 1 << 2;
    public const ulong Cr0Ts = 1 << 3;
    public const ulong Cr0Wp = 1 << 16;
    public const ulong Cr0Am = 1 << 18;
    public const ulong Cr0Pg = 1UL << 31;
    public const ulong Cr4Pse = 1 << 4;
    public const ulong Cr4Pae = 1 << 5;
    public const ulong Cr4Pge = 1 << 7;
    public const ulong Cr4La57 = 1 << 12;
    public const ulong Cr4Smep = 1 << 20;
    public const ulong Cr4Smap = 1 << 21;
    public const ulong EferSce = 1;
    public const ulong EferLme = 1 << 8;
    public const ulong EferLma = 1 << 10;
    public const ulong EferNxe = 1 << 11;

    /// <summary>True in long mode (64-bit or compatibility).</summary>
    public static bool IsLongMode(CpuState* s) => (s->Efer & EferLma) != 0;

    /// <summary>True when a 64-bit code segment runs.</summary>
    public static bool Is64(CpuState* s) => (s->Mode & CpuMode.SizeMask) == CpuMode.Code64;

    /// <summary>True in real mode or virtual-8086 mode.</summary>
    public static bool IsRealOrVm86(CpuState* s) => (s->Mode & CpuMode.RealOrVm86) != 0;

    /// <summary>
    /// Recomputes <see cref="CpuState.Mode"/> and the TLB bank after a change to CS, SS, a data segment, CPL,
    /// CR0, CR4, EFER, RFLAGS.VM or RFLAGS.AC. CPL is the caller's to set.
    /// </summary>
    public static void Update(CpuState* s)
    {
        var cs = s->Seg(SegmentIndex.Cs);
        var real = (s->Cr0 & Cr0Pe) == 0 || (s->FlagsOther & RFlags.Vm) != 0;
        var mode = real ? CpuMode.RealOrVm86 : default;
        if (IsLongMode(s) && !real && (cs->Attributes & Segment.LongMode) != 0)
        {
            mode |= CpuMode.Code64;
        }
        else
        {
            if ((cs->Attributes & Segment.Default32) != 0)
            {
                mode |= CpuMode.Code32;
            }

            if (IsFlat(s, SegmentIndex.Ds) && IsFlat(s, SegmentIndex.Es) && IsFlat(s, SegmentIndex.Ss)
                && (s->Seg(SegmentIndex.Ss)->Attributes & Segment.Default32) != 0)
            {
                mode |= CpuMode.FlatData;
            }
        }

        if (s->Cpl == 3)
        {
            mode |= CpuMode.User;
        }

        // The jump cache is keyed by RIP, so it is valid for one code base only.
        var codeBase = (mode & CpuMode.SizeMask) == CpuMode.Code64 ? 0 : cs->Base;
        if (s->CodeBase != codeBase)
        {
            s->CodeBase = codeBase;
            Tlb.BumpJumpGeneration(s);
        }

        s->Mode = mode;
        s->JumpKey = (s->JumpKey & ~0xFFUL) | (byte)mode;
        SelectTlb(s);
    }

    /// <summary>Chooses the TLB bank for data accesses.</summary>
    public static void SelectTlb(CpuState* s)
    {
        var user = s->Cpl == 3;
        var alignment = user && (s->Cr0 & Cr0Am) != 0 && (s->FlagsOther & RFlags.Ac) != 0;
        s->SlowAccess = (s->SlowAccess & ~SlowAccessReasons.AlignmentCheck)
            | (alignment ? SlowAccessReasons.AlignmentCheck : 0);
        var banks = s->TlbBanks;
        var bank = s->SlowAccess != 0 ? TlbBank.None
            : user ? TlbBank.User
            : (s->FlagsOther & RFlags.Ac) != 0 && (s->Cr4 & Cr4Smap) != 0 ? TlbBank.SupervisorAc
            : TlbBank.Supervisor;
        s->Tlb = banks + ((int)bank * Tlb.Entries);
    }

    private static bool IsFlat(CpuState* s, SegmentIndex index)
    {
        var segment = s->Seg(index);

        // Writable data, expand-up, accessed or not, present, usable, 4 GiB from 0.
        return segment->Base == 0 && segment->Limit == ~0u
            && (segment->Attributes & (Segment.Unusable | Segment.Present | Segment.CodeOrData | 0xE)) == (Segment.Present | Segment.CodeOrData | 2);
    }
}
