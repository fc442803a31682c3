namespace Introspect.Hypervisor.Core.Cpu.SystemMode;

/// <summary>
/// SYSCALL, SYSRET, SYSENTER, SYSEXIT and SWAPGS. Intel has SYSCALL in 64-bit mode only and SYSENTER everywhere; AMD
/// has SYSCALL everywhere and SYSENTER outside of long mode only.
/// </summary>
internal static unsafe class FastSystemCalls
{
    // Flat segments as the instructions make them: present, accessed, 4 GiB.
    private const uint FlatCode = 0x809B;
    private const uint FlatData = 0xC093;
    private const uint SysretFlags = 0x3C7FD7;

    /// <summary>SYSCALL.</summary>
    public static bool Syscall(CpuState* s, int length)
    {
        var amd = IsAmd(s);
        if ((s->Efer & CpuModes.EferSce) == 0 || (!amd && !CpuModes.Is64(s)))
        {
            return Fault.InvalidOpcode(s);
        }

        var selector = (ushort)((s->Star >> 32) & 0xFFFC);
        var next = Registers.NextRip(s, length);
        if (!CpuModes.IsLongMode(s))
        {
            s->Gpr[Registers.Rcx] = (uint)next;
            Flags.Write(s, 0, RFlags.Vm | RFlags.If | RFlags.Rf);
            LoadFlat(s, selector, (ushort)(selector + 8), 0, wide: false);
            s->Rip = (uint)s->Star;
            CpuModes.Update(s);
            DebugTraps.StepByNewTrapFlag(s);
            return true;
        }

        var from64 = CpuModes.Is64(s);
        var flags = Flags.Read(s) & ~RFlags.Rf;
        s->Gpr[Registers.Rcx] = next;
        s->Gpr[Registers.R11] = flags;
        Flags.Write(s, 0, ((uint)s->SyscallMask | RFlags.Rf) & ~RFlags.Fixed1);
        LoadFlat(s, selector, (ushort)(selector + 8), 0, wide: true);
        s->Rip = from64 ? s->Lstar : s->Cstar;
        CpuModes.Update(s);
        DebugTraps.StepByNewTrapFlag(s);
        return true;
    }

    /// <summary>
    /// SYSRET. A non-canonical return address is #GP(0) at CPL 0 on Intel; on AMD the fetch at CPL 3 finds it.
    /// </summary>
    public static bool Sysret(CpuState* s, int operandSize)
    {
        var amd = IsAmd(s);
        if ((s->Efer & CpuModes.EferSce) == 0 || (!amd && !CpuModes.Is64(s)))
        {
            return Fault.InvalidOpcode(s);
        }

        if (CpuModes.IsRealOrVm86(s) || s->Cpl != 0)
        {
            return Fault.GeneralProtection(s, 0);
        }

        var from64 = CpuModes.Is64(s);
        var to64 = from64 && operandSize == 8;
        var target = to64 ? s->Gpr[Registers.Rcx] : (uint)s->Gpr[Registers.Rcx];
        if (to64 && !amd && !Mmu.IsCanonical(s, target))
        {
            return Fault.GeneralProtection(s, 0);
        }

        if (from64)
        {
            Flags.Write(s, (uint)s->Gpr[Registers.R11] & SysretFlags, RFlags.All & ~RFlags.Fixed1);
        }
        else
        {
            Flags.Write(s, RFlags.If, RFlags.If);
        }

        var selector = (ushort)(s->Star >> 48);
        var ss = *s->Seg(SegmentIndex.Ss);
        LoadFlat(s, (ushort)((to64 ? selector + 16 : selector) | 3), (ushort)((selector + 8) | 3), 3, to64);
        if (amd)
        {
            // AMD writes the selector of SS and leaves its hidden part as it was.
            ss.Selector = (ushort)((selector + 8) | 3);
            *s->Seg(SegmentIndex.Ss) = ss;
        }

        s->Rip = target;
        CpuModes.Update(s);
        DebugTraps.StepByNewTrapFlag(s);
        return true;
    }

    /// <summary>SYSENTER.</summary>
    public static bool Sysenter(CpuState* s)
    {
        var longMode = CpuModes.IsLongMode(s);
        if (longMode && IsAmd(s))
        {
            return Fault.InvalidOpcode(s);
        }

        if ((s->Cr0 & CpuModes.Cr0Pe) == 0 || (s->SysenterCs & 0xFFFC) == 0)
        {
            return Fault.GeneralProtection(s, 0);
        }

        var selector = (ushort)(s->SysenterCs & 0xFFFC);
        Flags.Write(s, 0, RFlags.Vm | RFlags.If | RFlags.Rf);
        LoadFlat(s, selector, (ushort)(selector + 8), 0, longMode);
        s->Gpr[Registers.Rsp] = longMode ? s->SysenterEsp : (uint)s->SysenterEsp;
        s->Rip = longMode ? s->SysenterEip : (uint)s->SysenterEip;
        CpuModes.Update(s);
        return true;
    }

    /// <summary>SYSEXIT: RIP from RDX, RSP from RCX.</summary>
    public static bool Sysexit(CpuState* s, int operandSize)
    {
        if (CpuModes.IsLongMode(s) && IsAmd(s))
        {
            return Fault.InvalidOpcode(s);
        }

        if (CpuModes.IsRealOrVm86(s) || s->Cpl != 0 || (s->SysenterCs & 0xFFFC) == 0)
        {
            return Fault.GeneralProtection(s, 0);
        }

        var rip = s->Gpr[Registers.Rdx];
        var rsp = s->Gpr[Registers.Rcx];
        var to64 = operandSize == 8;
        if (to64 && !(Mmu.IsCanonical(s, rip) && Mmu.IsCanonical(s, rsp)))
        {
            return Fault.GeneralProtection(s, 0);
        }

        var selector = (ushort)s->SysenterCs;
        var (code, stack) = to64 ? (selector + 32, selector + 40) : (selector + 16, selector + 24);
        LoadFlat(s, (ushort)(code | 3), (ushort)(stack | 3), 3, to64);
        s->Rip = to64 ? rip : (uint)rip;
        s->Gpr[Registers.Rsp] = to64 ? rsp : (uint)rsp;
        CpuModes.Update(s);
        return true;
    }

    /// <summary>SWAPGS: 64-bit mode and CPL 0 only.</summary>
    public static bool Swapgs(CpuState* s)
    {
        if (!CpuModes.Is64(s))
        {
            return Fault.InvalidOpcode(s);
        }

        if (s->Cpl != 0)
        {
            return Fault.GeneralProtection(s, 0);
        }

        var gs = s->Seg(SegmentIndex.Gs);
        (gs->Base, s->KernelGsBase) = (s->KernelGsBase, gs->Base);
        return true;
    }

    private static bool IsAmd(CpuState* s) => Cpu.Of(s).Vendor == CpuVendor.Svm;

    /// <summary>CS and SS without descriptors: base 0, 4 GiB, DPL of the level that is entered.</summary>
    private static void LoadFlat(CpuState* s, ushort code, ushort stack, int cpl, bool wide)
    {
        var dpl = (uint)cpl << 5;
        *s->Seg(SegmentIndex.Cs) = new Segment
        {
            Limit = uint.MaxValue,
            Attributes = FlatCode | dpl | (wide ? Segment.LongMode : Segment.Default32),
            Selector = code,
        };
        *s->Seg(SegmentIndex.Ss) = new Segment
        {
            Limit = uint.MaxValue,
            Attributes = FlatData | dpl,
            Selector = stack,
        };
        s->Cpl = cpl;
    }
}
