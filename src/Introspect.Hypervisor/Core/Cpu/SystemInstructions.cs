using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Cpu.Handlers;
using Introspect.Hypervisor.Core.Cpu.SystemMode;

namespace Introspect.Hypervisor.Core.Cpu;

/// <summary>Slow functions of the system instructions: they fetch operands and leave the rules to <c>SystemMode</c>.</summary>
internal static unsafe class SystemInstructions
{
    public static SlowOutcome Cli(CpuState* s, Insn* i) => Done(FlagInstructions.Cli(s));

    public static SlowOutcome Sti(CpuState* s, Insn* i) => AtBoundary(FlagInstructions.Sti(s));

    public static SlowOutcome Pushf(CpuState* s, Insn* i) => Done(FlagInstructions.Pushf(s, i->OperandSize));

    public static SlowOutcome Popf(CpuState* s, Insn* i) => AtBoundary(FlagInstructions.Popf(s, i->OperandSize));

    public static SlowOutcome Stac(CpuState* s, Insn* i) => SetAc(s, true);

    public static SlowOutcome Clac(CpuState* s, Insn* i) => SetAc(s, false);

    public static SlowOutcome Int(CpuState* s, Insn* i) => Jumped(SoftwareInterrupts.Int(s, (byte)i->Imm, i->Length));

    public static SlowOutcome Int3(CpuState* s, Insn* i) => Done(SoftwareInterrupts.Int3(s, i->Length));

    public static SlowOutcome Into(CpuState* s, Insn* i) => Done(SoftwareInterrupts.Into(s, i->Length));

    public static SlowOutcome Int1(CpuState* s, Insn* i) => Done(SoftwareInterrupts.Int1(s, i->Length));

    public static SlowOutcome Iret(CpuState* s, Insn* i) => Jumped(InterruptReturn.Return(s, i->OperandSize, i->Length));

    public static SlowOutcome FarReturn(CpuState* s, Insn* i) => Jumped(FarReturns.Return(s, i->OperandSize, (ushort)i->Imm));

    public static SlowOutcome Syscall(CpuState* s, Insn* i) => Jumped(FastSystemCalls.Syscall(s, i->Length));

    public static SlowOutcome Sysret(CpuState* s, Insn* i) => Jumped(FastSystemCalls.Sysret(s, i->OperandSize));

    public static SlowOutcome Sysenter(CpuState* s, Insn* i) => Jumped(FastSystemCalls.Sysenter(s));

    public static SlowOutcome Sysexit(CpuState* s, Insn* i) => Jumped(FastSystemCalls.Sysexit(s, i->OperandSize));

    public static SlowOutcome Swapgs(CpuState* s, Insn* i) => Done(FastSystemCalls.Swapgs(s));

    /// <summary>JMP far, direct: selector in R2, offset in Imm.</summary>
    public static SlowOutcome FarJump(CpuState* s, Insn* i) =>
        Jumped(FarTransfers.Jump(s, i->R2, i->Imm, i->OperandSize, i->Length));

    public static SlowOutcome FarCall(CpuState* s, Insn* i) =>
        Jumped(FarTransfers.Call(s, i->R2, i->Imm, i->OperandSize, i->Length));

    public static SlowOutcome FarJumpMem(CpuState* s, Insn* i) =>
        Jumped(FarPointer(s, i, out var selector, out var offset) && FarTransfers.Jump(s, selector, offset, i->OperandSize, i->Length));

    public static SlowOutcome FarCallMem(CpuState* s, Insn* i) =>
        Jumped(FarPointer(s, i, out var selector, out var offset) && FarTransfers.Call(s, selector, offset, i->OperandSize, i->Length));

    /// <summary>MOV Sreg, r/m16: the segment is in R2.</summary>
    public static SlowOutcome MovToSegment(CpuState* s, Insn* i) =>
        AtBoundary(Source(s, i, 2, out var selector) && SegmentLoader.Move(s, (SegmentIndex)i->R2, (ushort)selector));

    public static SlowOutcome MovFromSegment(CpuState* s, Insn* i)
    {
        ulong selector = s->Seg((SegmentIndex)i->R2)->Selector;
        return Done(Destination(s, i, selector));
    }

    public static SlowOutcome PushSegment(CpuState* s, Insn* i) => Done(SegmentLoader.Push(s, (SegmentIndex)i->R2, i->OperandSize));

    public static SlowOutcome PopSegment(CpuState* s, Insn* i) => AtBoundary(SegmentLoader.Pop(s, (SegmentIndex)i->R2, i->OperandSize));

    public static SlowOutcome LoadFarPointer(CpuState* s, Insn* i) =>
        AtBoundary(SegmentLoader.LoadFarPointer(s, (SegmentIndex)i->R2, i->R0 / 8, (SegmentIndex)i->Seg, AddressChecked.Offset(s, i), i->OperandSize));

    public static SlowOutcome Lgdt(CpuState* s, Insn* i) => LoadTable(s, i, TableRegister.Gdtr, DescriptorRegister.Gdtr);

    public static SlowOutcome Lidt(CpuState* s, Insn* i) => LoadTable(s, i, TableRegister.Idtr, DescriptorRegister.Idtr);

    public static SlowOutcome Sgdt(CpuState* s, Insn* i) => StoreTable(s, i, TableRegister.Gdtr, DescriptorRegister.Gdtr);

    public static SlowOutcome Sidt(CpuState* s, Insn* i) => StoreTable(s, i, TableRegister.Idtr, DescriptorRegister.Idtr);

    public static SlowOutcome Lldt(CpuState* s, Insn* i)
    {
        if (IsIntercepted(s) && s->Cpl == 0 && !CpuModes.IsRealOrVm86(s))
        {
            return DescriptorExit(s, i, DescriptorRegister.Ldtr, write: true);
        }

        return AtBoundary(SystemRegisters.CheckLoad(s) && Source(s, i, 2, out var selector) && SystemRegisters.LoadLdt(s, (ushort)selector));
    }

    public static SlowOutcome Ltr(CpuState* s, Insn* i)
    {
        if (IsIntercepted(s) && s->Cpl == 0 && !CpuModes.IsRealOrVm86(s))
        {
            return DescriptorExit(s, i, DescriptorRegister.Tr, write: true);
        }

        return AtBoundary(SystemRegisters.CheckLoad(s) && Source(s, i, 2, out var selector) && SystemRegisters.LoadTask(s, (ushort)selector));
    }

    public static SlowOutcome Sldt(CpuState* s, Insn* i) => StoreSelector(s, i, SegmentIndex.Ldtr, DescriptorRegister.Ldtr);

    public static SlowOutcome Str(CpuState* s, Insn* i) => StoreSelector(s, i, SegmentIndex.Tr, DescriptorRegister.Tr);

    public static SlowOutcome Smsw(CpuState* s, Insn* i) =>
        Done(SystemRegisters.StoreMachineStatus(s, out var value) && Destination(s, i, value));

    public static SlowOutcome Verr(CpuState* s, Insn* i) =>
        Done(Source(s, i, 2, out var selector) && DescriptorQueries.Verr(s, (ushort)selector));

    public static SlowOutcome Verw(CpuState* s, Insn* i) =>
        Done(Source(s, i, 2, out var selector) && DescriptorQueries.Verw(s, (ushort)selector));

    public static SlowOutcome Lar(CpuState* s, Insn* i) =>
        Done(Source(s, i, 2, out var selector) && DescriptorQueries.Lar(s, (ushort)selector, i->R0 / 8, i->OperandSize));

    public static SlowOutcome Lsl(CpuState* s, Insn* i) =>
        Done(Source(s, i, 2, out var selector) && DescriptorQueries.Lsl(s, (ushort)selector, i->R0 / 8, i->OperandSize));

    /// <summary>ARPL r/m16, r16: the source is R2.</summary>
    public static SlowOutcome Arpl(CpuState* s, Insn* i)
    {
        if (!Source(s, i, 2, out var destination)
            || !DescriptorQueries.Arpl(s, (ushort)destination, *(ushort*)((byte*)s + i->R2), out var result))
        {
            return SlowOutcome.Stopped;
        }

        return result == destination || Destination(s, i, result, 2) ? SlowOutcome.Next : SlowOutcome.Stopped;
    }

    /// <summary>MOV DRn: the general register is R0, the debug register R2.</summary>
    public static SlowOutcome MovToDr(CpuState* s, Insn* i)
    {
        if (IsDebugExit(s, i, write: true))
        {
            return SlowOutcome.Stopped;
        }

        var done = DebugRegisterAccess.Write(s, i->R2, *(ulong*)((byte*)s + i->R0));
        return AtBoundary(done);
    }

    public static SlowOutcome MovFromDr(CpuState* s, Insn* i)
    {
        if (IsDebugExit(s, i, write: false) || !DebugRegisterAccess.Read(s, i->R2, out var value))
        {
            return SlowOutcome.Stopped;
        }

        SlowHandlers.SetRegister(s, i->R0, CpuModes.Is64(s) ? 8 : 4, value);
        return SlowOutcome.Next;
    }

    public static SlowOutcome Rdfsbase(CpuState* s, Insn* i) => ReadBase(s, i, SegmentIndex.Fs);

    public static SlowOutcome Rdgsbase(CpuState* s, Insn* i) => ReadBase(s, i, SegmentIndex.Gs);

    public static SlowOutcome Wrfsbase(CpuState* s, Insn* i) => WriteBase(s, i, SegmentIndex.Fs);

    public static SlowOutcome Wrgsbase(CpuState* s, Insn* i) => WriteBase(s, i, SegmentIndex.Gs);

    private const ulong Cr4FsGsBase = 1 << 16;

    private static SlowOutcome Done(bool done) => done ? SlowOutcome.Next : SlowOutcome.Stopped;

    private static SlowOutcome AtBoundary(bool done) => done ? SlowOutcome.Boundary : SlowOutcome.Stopped;

    private static SlowOutcome Jumped(bool done) => done ? SlowOutcome.Jumped : SlowOutcome.Stopped;

    private static bool IsIntercepted(CpuState* s) => (s->Intercepts & Intercepts.DescriptorTables) != 0;

    private static SlowOutcome SetAc(CpuState* s, bool value)
    {
        if (s->Cpl != 0 || !Cpu.Of(s).HasSmap)
        {
            Fault.InvalidOpcode(s);
            return SlowOutcome.Stopped;
        }

        s->FlagsOther = value ? s->FlagsOther | RFlags.Ac : s->FlagsOther & ~RFlags.Ac;
        CpuModes.SelectTlb(s);
        return SlowOutcome.Next;
    }

    private static SlowOutcome LoadTable(CpuState* s, Insn* i, TableRegister table, DescriptorRegister register)
    {
        if (IsIntercepted(s) && s->Cpl == 0)
        {
            return DescriptorExit(s, i, register, write: true);
        }

        return AtBoundary(SystemRegisters.LoadTable(s, table, (SegmentIndex)i->Seg, AddressChecked.Offset(s, i), i->OperandSize));
    }

    private static SlowOutcome StoreTable(CpuState* s, Insn* i, TableRegister table, DescriptorRegister register) =>
        IsIntercepted(s)
            ? SystemRegisters.CheckUmip(s) ? DescriptorExit(s, i, register, write: false) : SlowOutcome.Stopped
            : Done(SystemRegisters.StoreTable(s, table, (SegmentIndex)i->Seg, AddressChecked.Offset(s, i)));

    private static SlowOutcome StoreSelector(CpuState* s, Insn* i, SegmentIndex segment, DescriptorRegister register)
    {
        if (!SystemRegisters.StoreSelector(s, segment, out var selector))
        {
            return SlowOutcome.Stopped;
        }

        return IsIntercepted(s) ? DescriptorExit(s, i, register, write: false) : Done(Destination(s, i, selector));
    }

    private static SlowOutcome DescriptorExit(CpuState* s, Insn* i, DescriptorRegister register, bool write)
    {
        var memory = (i->Flags & InsnFlags.Memory) != 0;
        s->Exit = new Exit
        {
            Kind = ExitKind.DescriptorAccess,
            Index = (uint)register,
            Value = write ? 1UL : 0,
            Operand = memory ? (byte)0xFF : (byte)(i->R0 / 8),
            Gla = memory ? OperandForm.Linear(s, i) : 0,
            Displacement = memory ? OperandForm.Displacement(s, i) : 0,
            Form = OperandForm.Of(i),
        };
        s->Stop = StopReason.Exit;
        return SlowOutcome.Stopped;
    }

    private static bool IsDebugExit(CpuState* s, Insn* i, bool write)
    {
        if ((s->Intercepts & Intercepts.DebugRegisters) == 0 || s->Cpl != 0)
        {
            return false;
        }

        s->Exit = new Exit { Kind = ExitKind.DrAccess, Index = i->R2, Value = write ? 1UL : 0, Operand = (byte)(i->R0 / 8) };
        s->Stop = StopReason.Exit;
        return true;
    }

    /// <summary>Reads the source: memory, or the register in R0.</summary>
    private static bool Source(CpuState* s, Insn* i, int size, out ulong value)
    {
        if ((i->Flags & InsnFlags.Memory) != 0)
        {
            return SlowHandlers.LoadOperand(s, i, size, out value);
        }

        // R1 names the source where R0 is the destination.
        value = *(ulong*)((byte*)s + (i->R1 != 0 ? i->R1 - 1 : i->R0));
        return true;
    }

    /// <summary>Writes a selector-like result: 16 bits to memory, the operand size to a register.</summary>
    private static bool Destination(CpuState* s, Insn* i, ulong value, int registerSize = 0)
    {
        if ((i->Flags & InsnFlags.Memory) != 0)
        {
            return SlowHandlers.StoreOperand(s, i, 2, value);
        }

        SlowHandlers.SetRegister(s, i->R0, registerSize == 0 ? i->OperandSize : registerSize, value);
        return true;
    }

    private static bool FarPointer(CpuState* s, Insn* i, out ushort selector, out ulong offset)
    {
        selector = 0;
        offset = 0;
        if (!SlowHandlers.OperandAddress(s, i, i->OperandSize + 2, false, out var linear)
            || !Access.Read(s, linear, i->OperandSize, out offset)
            || !Access.Read(s, linear + i->OperandSize, 2, out var value))
        {
            return false;
        }

        selector = (ushort)value;
        return true;
    }

    private static SlowOutcome ReadBase(CpuState* s, Insn* i, SegmentIndex segment)
    {
        if ((s->Cr4 & Cr4FsGsBase) == 0)
        {
            Fault.InvalidOpcode(s);
            return SlowOutcome.Stopped;
        }

        SlowHandlers.SetRegister(s, i->R0, i->OperandSize, s->Seg(segment)->Base);
        return SlowOutcome.Next;
    }

    private static SlowOutcome WriteBase(CpuState* s, Insn* i, SegmentIndex segment)
    {
        if ((s->Cr4 & Cr4FsGsBase) == 0)
        {
            Fault.InvalidOpcode(s);
            return SlowOutcome.Stopped;
        }

        var value = *(ulong*)((byte*)s + i->R0);
        if (i->OperandSize == 4)
        {
            value = (uint)value;
        }

        if (!Mmu.IsCanonical(s, value))
        {
            Fault.GeneralProtection(s, 0);
            return SlowOutcome.Stopped;
        }

        s->Seg(segment)->Base = value;
        return SlowOutcome.Next;
    }
}
