namespace Introspect.Hypervisor.Core.Cpu;

/// <summary>Instructions that always or on request leave the guest: privilege is checked here, the rest is the exit handler's.</summary>
internal static unsafe class ExitInstructions
{
    public static SlowOutcome Cpuid(CpuState* s, Insn* i) => Leave(s, new Exit { Kind = ExitKind.Cpuid });

    public static SlowOutcome Hlt(CpuState* s, Insn* i) => Privileged(s, new Exit { Kind = ExitKind.Hlt });

    public static SlowOutcome Wbinvd(CpuState* s, Insn* i) => Privileged(s, new Exit { Kind = ExitKind.Wbinvd });

    public static SlowOutcome Invd(CpuState* s, Insn* i) => Privileged(s, new Exit { Kind = ExitKind.Wbinvd, Value = 1 });

    public static SlowOutcome Rdmsr(CpuState* s, Insn* i) =>
        Privileged(s, new Exit { Kind = ExitKind.MsrRead, Index = (uint)s->Gpr[1] });

    public static SlowOutcome Wrmsr(CpuState* s, Insn* i) =>
        Privileged(s, new Exit { Kind = ExitKind.MsrWrite, Index = (uint)s->Gpr[1], Value = EdxEax(s) });

    public static SlowOutcome Xsetbv(CpuState* s, Insn* i)
    {
        if ((s->Cr4 & Cr4Osxsave) == 0)
        {
            Fault.InvalidOpcode(s);
            return SlowOutcome.Stopped;
        }

        return Privileged(s, new Exit { Kind = ExitKind.Xsetbv, Index = (uint)s->Gpr[1], Value = EdxEax(s) });
    }

    public static SlowOutcome Xgetbv(CpuState* s, Insn* i)
    {
        if ((s->Cr4 & Cr4Osxsave) == 0)
        {
            Fault.InvalidOpcode(s);
            return SlowOutcome.Stopped;
        }

        if ((uint)s->Gpr[1] != 0)
        {
            Fault.GeneralProtection(s, 0);
            return SlowOutcome.Stopped;
        }

        s->Gpr[0] = (uint)s->Xcr0;
        s->Gpr[2] = s->Xcr0 >> 32;
        return SlowOutcome.Next;
    }

    public static SlowOutcome Vmcall(CpuState* s, Insn* i) => Hypercall(s, CpuVendor.Vmx, 0);

    public static SlowOutcome Vmmcall(CpuState* s, Insn* i) => Hypercall(s, CpuVendor.Svm, 1);

    public static SlowOutcome Vmfunc(CpuState* s, Insn* i) =>
        Leave(s, new Exit { Kind = ExitKind.Vmfunc, Index = (uint)s->Gpr[0], Value = (uint)s->Gpr[1] });

    public static SlowOutcome Pause(CpuState* s, Insn* i) =>
        (s->Intercepts & Intercepts.Pause) != 0 && Cpu.Of(s).IsPauseLoop() ? Leave(s, new Exit { Kind = ExitKind.Pause }) : SlowOutcome.Next;

    public static SlowOutcome Rdtsc(CpuState* s, Insn* i) => ReadTsc(s, withAux: false);

    public static SlowOutcome Rdtscp(CpuState* s, Insn* i) => ReadTsc(s, withAux: true);

    public static SlowOutcome Rdpid(CpuState* s, Insn* i)
    {
        SlowHandlers.SetRegister(s, i->R0, i->OperandSize, s->TscAux);
        return SlowOutcome.Next;
    }

    /// <summary>MOV to CRn: R0 names the general register, R2 the control register.</summary>
    public static SlowOutcome MovToCr(CpuState* s, Insn* i)
    {
        var value = *(ulong*)((byte*)s + i->R0);
        if (!CpuModes.Is64(s))
        {
            value = (uint)value;
        }

        if (i->R2 == 2 && s->Cpl == 0)
        {
            s->Cr2 = value;
            return SlowOutcome.Next;
        }

        if (i->R2 == 3 && s->Cpl == 0 && (s->Intercepts & Intercepts.Cr3Write) == 0)
        {
            if (!SystemMode.ControlRegisters.WriteCr3(s, value, out _))
            {
                return SlowOutcome.Stopped;
            }

            // Translations carry no PCID, so those that "no flush" would keep go, too.
            Tlb.FlushNonGlobal(s);
            return SlowOutcome.Boundary;
        }

        return Privileged(s, new Exit { Kind = ExitKind.CrWrite, Index = i->R2, Value = value, Operand = (byte)(i->R0 / 8) });
    }

    public static SlowOutcome MovFromCr(CpuState* s, Insn* i)
    {
        if (s->Cpl != 0)
        {
            Fault.GeneralProtection(s, 0);
            return SlowOutcome.Stopped;
        }

        ulong value;
        switch (i->R2)
        {
            case 0: value = s->Cr0; break;
            case 2: value = s->Cr2; break;
            case 3: value = s->Cr3; break;
            case 4: value = s->Cr4; break;
            default:
                return Leave(s, new Exit { Kind = ExitKind.CrRead, Index = i->R2, Access = CrAccess.MovFrom, Operand = (byte)(i->R0 / 8) });
        }

        SlowHandlers.SetRegister(s, i->R0, CpuModes.Is64(s) ? 8 : 4, value);
        return SlowOutcome.Next;
    }

    public static SlowOutcome Clts(CpuState* s, Insn* i) =>
        Privileged(s, new Exit { Kind = ExitKind.CrWrite, Index = 0, Value = s->Cr0 & ~CpuModes.Cr0Ts, Access = CrAccess.Clts });

    /// <summary>LMSW changes PE, MP, EM and TS, and cannot clear PE.</summary>
    public static SlowOutcome Lmsw(CpuState* s, Insn* i)
    {
        if (s->Cpl != 0)
        {
            Fault.GeneralProtection(s, 0);
            return SlowOutcome.Stopped;
        }

        ulong source;
        var memory = (i->Flags & InsnFlags.Memory) != 0;
        if (memory)
        {
            if (!SlowHandlers.LoadOperand(s, i, 2, out source))
            {
                return SlowOutcome.Stopped;
            }
        }
        else
        {
            source = *(ushort*)((byte*)s + i->R0);
        }

        var value = SystemMode.ControlRegisters.LmswValue(s, (ushort)source);
        return Leave(s, new Exit
        {
            Kind = ExitKind.CrWrite,
            Value = value,
            Access = CrAccess.Lmsw,
            Operand = memory ? (byte)0xFF : (byte)(i->R0 / 8),
            Form = (ushort)source,
            Gla = memory ? OperandForm.Linear(s, i) : 0,
        });
    }

    public static SlowOutcome Invlpg(CpuState* s, Insn* i)
    {
        if (s->Cpl != 0)
        {
            Fault.GeneralProtection(s, 0);
            return SlowOutcome.Stopped;
        }

        var linear = Handlers.AddressChecked.Offset(s, i);
        if (!CpuModes.Is64(s) || i->Seg is (byte)SegmentIndex.Fs or (byte)SegmentIndex.Gs)
        {
            linear += s->Seg((SegmentIndex)i->Seg)->Base;
        }

        if (!CpuModes.Is64(s))
        {
            linear = (uint)linear;
        }

        if ((s->Intercepts & Intercepts.Invlpg) != 0)
        {
            return Leave(s, new Exit { Kind = ExitKind.Invlpg, Gla = linear });
        }

        Tlb.FlushPage(s, linear);
        return SlowOutcome.Boundary;
    }

    private const ulong Cr4Tsd = 1 << 2;
    private const ulong Cr4Osxsave = 1 << 18;

    private static SlowOutcome ReadTsc(CpuState* s, bool withAux)
    {
        if (s->Cpl != 0 && (s->Cr4 & Cr4Tsd) != 0)
        {
            Fault.GeneralProtection(s, 0);
            return SlowOutcome.Stopped;
        }

        if ((s->Intercepts & Intercepts.Rdtsc) != 0)
        {
            return Leave(s, new Exit { Kind = ExitKind.Rdtsc, Value = withAux ? 1UL : 0 });
        }

        var owner = Cpu.Of(s);
        var tsc = owner.Host.ReadTimestamp(owner.RetiredNow) + s->TscOffset;
        s->Gpr[0] = (uint)tsc;
        s->Gpr[2] = tsc >> 32;
        if (withAux)
        {
            s->Gpr[1] = (uint)s->TscAux;
        }

        return SlowOutcome.Next;
    }

    // The other vendor's instruction does not exist.
    private static SlowOutcome Hypercall(CpuState* s, CpuVendor vendor, ulong value)
    {
        if (Cpu.Of(s).Vendor != vendor)
        {
            Fault.InvalidOpcode(s);
            return SlowOutcome.Stopped;
        }

        return Leave(s, new Exit { Kind = ExitKind.Hypercall, Value = value });
    }

    private static ulong EdxEax(CpuState* s) => ((ulong)(uint)s->Gpr[2] << 32) | (uint)s->Gpr[0];

    private static SlowOutcome Privileged(CpuState* s, in Exit exit)
    {
        if (s->Cpl != 0)
        {
            Fault.GeneralProtection(s, 0);
            return SlowOutcome.Stopped;
        }

        return Leave(s, in exit);
    }

    private static SlowOutcome Leave(CpuState* s, in Exit exit)
    {
        s->Exit = exit;
        s->Stop = StopReason.Exit;
        return SlowOutcome.Stopped;
    }
}
