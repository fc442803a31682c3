using Iced.Intel;

namespace Introspect.Hypervisor.Core.Cpu;

/// <summary>Far transfers, segment registers and descriptor tables.</summary>
internal static unsafe partial class Binder
{
    private static bool BindTransfers(in Instruction ins, Insn* i, BindContext context)
    {
        switch (ins.Mnemonic)
        {
            case Mnemonic.Cli:
                return Slow(i, &SystemInstructions.Cli);
            case Mnemonic.Sti:
                return Slow(i, &SystemInstructions.Sti);
            case Mnemonic.Pushf or Mnemonic.Pushfd or Mnemonic.Pushfq:
                i->OperandSize = FlagsSize(ins.Mnemonic, Mnemonic.Pushf, Mnemonic.Pushfd);
                return Slow(i, &SystemInstructions.Pushf);
            case Mnemonic.Popf or Mnemonic.Popfd or Mnemonic.Popfq:
                i->OperandSize = FlagsSize(ins.Mnemonic, Mnemonic.Popf, Mnemonic.Popfd);
                return Slow(i, &SystemInstructions.Popf);
            case Mnemonic.Stac:
                return Slow(i, &SystemInstructions.Stac);
            case Mnemonic.Clac:
                return Slow(i, &SystemInstructions.Clac);
            case Mnemonic.Int:
                i->Imm = ins.Immediate8;
                return Slow(i, &SystemInstructions.Int);
            case Mnemonic.Int3:
                return Slow(i, &SystemInstructions.Int3);
            case Mnemonic.Into:
                return Slow(i, &SystemInstructions.Into);
            case Mnemonic.Int1:
                return Slow(i, &SystemInstructions.Int1);
            case Mnemonic.Iret or Mnemonic.Iretd or Mnemonic.Iretq:
                i->OperandSize = FlagsSize(ins.Mnemonic, Mnemonic.Iret, Mnemonic.Iretd);
                return Slow(i, &SystemInstructions.Iret);
            case Mnemonic.Retf:
                i->Imm = ins.OpCount > 0 ? ins.Immediate16 : 0UL;
                i->OperandSize = ins.Code switch
                {
                    Code.Retfw or Code.Retfw_imm16 => 2,
                    Code.Retfd or Code.Retfd_imm16 => 4,
                    _ => 8,
                };
                return Slow(i, &SystemInstructions.FarReturn);
            case Mnemonic.Syscall:
                return Slow(i, &SystemInstructions.Syscall);
            case Mnemonic.Sysret or Mnemonic.Sysretq:
                i->OperandSize = (byte)(ins.Code == Code.Sysretq ? 8 : 4);
                return Slow(i, &SystemInstructions.Sysret);
            case Mnemonic.Sysenter:
                return Slow(i, &SystemInstructions.Sysenter);
            case Mnemonic.Sysexit or Mnemonic.Sysexitq:
                i->OperandSize = (byte)(ins.Code == Code.Sysexitq ? 8 : 4);
                return Slow(i, &SystemInstructions.Sysexit);
            case Mnemonic.Swapgs:
                return Slow(i, &SystemInstructions.Swapgs);
            case Mnemonic.Jmp or Mnemonic.Call:
                return BindFar(in ins, i, context, ins.Mnemonic == Mnemonic.Call);
            default:
                return false;
        }
    }

    private static bool BindFar(in Instruction ins, Insn* i, BindContext context, bool call)
    {
        if (ins.IsJmpFar || ins.IsCallFar)
        {
            i->R2 = ins.FarBranchSelector;
            i->Imm = ins.Op0Kind == OpKind.FarBranch16 ? ins.FarBranch16 : ins.FarBranch32;
            i->OperandSize = (byte)(ins.Op0Kind == OpKind.FarBranch16 ? 2 : 4);
            return Slow(i, call ? &SystemInstructions.FarCall : &SystemInstructions.FarJump);
        }

        if (!ins.IsJmpFarIndirect && !ins.IsCallFarIndirect)
        {
            return false;
        }

        BindMemory(in ins, i, context);
        i->OperandSize = (byte)(ins.MemorySize.GetSize() - 2);
        return Slow(i, call ? &SystemInstructions.FarCallMem : &SystemInstructions.FarJumpMem);
    }

    private static bool BindSegments(in Instruction ins, Insn* i, BindContext context)
    {
        switch (ins.Mnemonic)
        {
            case Mnemonic.Mov when IsRegister(in ins, 0) && ins.Op0Register.IsSegmentRegister():
                i->R2 = (ushort)StateOffsets.Segment(ins.Op0Register);
                RegisterOrMemory(in ins, i, context, 1);
                return Slow(i, &SystemInstructions.MovToSegment);
            case Mnemonic.Mov when IsRegister(in ins, 1) && ins.Op1Register.IsSegmentRegister():
                i->R2 = (ushort)StateOffsets.Segment(ins.Op1Register);
                RegisterOrMemory(in ins, i, context, 0);
                return Slow(i, &SystemInstructions.MovFromSegment);
            case Mnemonic.Mov when IsRegister(in ins, 0) && ins.Op0Register.IsDR():
                i->R0 = StateOffsets.Of(ins.Op1Register);
                i->R2 = (ushort)ins.Op0Register.GetNumber();
                return i->R2 < 8 && Slow(i, &SystemInstructions.MovToDr);
            case Mnemonic.Mov when IsRegister(in ins, 1) && ins.Op1Register.IsDR():
                i->R0 = StateOffsets.Of(ins.Op0Register);
                i->R2 = (ushort)ins.Op1Register.GetNumber();
                return i->R2 < 8 && Slow(i, &SystemInstructions.MovFromDr);
            case Mnemonic.Push when IsRegister(in ins, 0) && ins.Op0Register.IsSegmentRegister():
                i->R2 = (ushort)StateOffsets.Segment(ins.Op0Register);
                i->OperandSize = (byte)Math.Abs(ins.StackPointerIncrement);
                return Slow(i, &SystemInstructions.PushSegment);
            case Mnemonic.Pop when IsRegister(in ins, 0) && ins.Op0Register.IsSegmentRegister():
                i->R2 = (ushort)StateOffsets.Segment(ins.Op0Register);
                i->OperandSize = (byte)Math.Abs(ins.StackPointerIncrement);
                return Slow(i, &SystemInstructions.PopSegment);
            case Mnemonic.Lds:
                return FarPointerLoad(in ins, i, context, SegmentIndex.Ds);
            case Mnemonic.Les:
                return FarPointerLoad(in ins, i, context, SegmentIndex.Es);
            case Mnemonic.Lfs:
                return FarPointerLoad(in ins, i, context, SegmentIndex.Fs);
            case Mnemonic.Lgs:
                return FarPointerLoad(in ins, i, context, SegmentIndex.Gs);
            case Mnemonic.Lss:
                return FarPointerLoad(in ins, i, context, SegmentIndex.Ss);
            case Mnemonic.Rdfsbase:
                return Base(in ins, i, &SystemInstructions.Rdfsbase);
            case Mnemonic.Rdgsbase:
                return Base(in ins, i, &SystemInstructions.Rdgsbase);
            case Mnemonic.Wrfsbase:
                return Base(in ins, i, &SystemInstructions.Wrfsbase);
            case Mnemonic.Wrgsbase:
                return Base(in ins, i, &SystemInstructions.Wrgsbase);
            default:
                return false;
        }
    }

    private static bool BindTables(in Instruction ins, Insn* i, BindContext context)
    {
        switch (ins.Mnemonic)
        {
            case Mnemonic.Lgdt:
                return Table(in ins, i, context, &SystemInstructions.Lgdt);
            case Mnemonic.Lidt:
                return Table(in ins, i, context, &SystemInstructions.Lidt);
            case Mnemonic.Sgdt:
                return Table(in ins, i, context, &SystemInstructions.Sgdt);
            case Mnemonic.Sidt:
                return Table(in ins, i, context, &SystemInstructions.Sidt);
            case Mnemonic.Lldt:
                RegisterOrMemory(in ins, i, context, 0);
                return Slow(i, &SystemInstructions.Lldt);
            case Mnemonic.Ltr:
                RegisterOrMemory(in ins, i, context, 0);
                return Slow(i, &SystemInstructions.Ltr);
            case Mnemonic.Sldt:
                RegisterOrMemory(in ins, i, context, 0);
                return Slow(i, &SystemInstructions.Sldt);
            case Mnemonic.Str:
                RegisterOrMemory(in ins, i, context, 0);
                return Slow(i, &SystemInstructions.Str);
            case Mnemonic.Smsw:
                RegisterOrMemory(in ins, i, context, 0);
                return Slow(i, &SystemInstructions.Smsw);
            case Mnemonic.Verr:
                RegisterOrMemory(in ins, i, context, 0);
                return Slow(i, &SystemInstructions.Verr);
            case Mnemonic.Verw:
                RegisterOrMemory(in ins, i, context, 0);
                return Slow(i, &SystemInstructions.Verw);
            case Mnemonic.Lar:
                return Query(in ins, i, context, &SystemInstructions.Lar);
            case Mnemonic.Lsl:
                return Query(in ins, i, context, &SystemInstructions.Lsl);
            case Mnemonic.Arpl:
                RegisterOrMemory(in ins, i, context, 0);
                i->R2 = StateOffsets.Of(ins.Op1Register);
                return Slow(i, &SystemInstructions.Arpl);
            default:
                return false;
        }
    }

    /// <summary>Binds and says so, for a switch that returns.</summary>
    private static bool Slow(Insn* i, delegate*<CpuState*, Insn*, SlowOutcome> function)
    {
        BindSlow(i, function);
        return true;
    }

    private static void RegisterOrMemory(in Instruction ins, Insn* i, BindContext context, int operand)
    {
        if (IsMemory(in ins, operand))
        {
            BindMemory(in ins, i, context);
            return;
        }

        var register = ins.GetOpRegister(operand);
        i->R0 = StateOffsets.Of(register);
        i->OperandSize = (byte)register.GetSize();
    }

    private static bool FarPointerLoad(in Instruction ins, Insn* i, BindContext context, SegmentIndex segment)
    {
        BindMemory(in ins, i, context);
        i->R0 = StateOffsets.Of(ins.Op0Register);
        i->R2 = (ushort)segment;
        i->OperandSize = (byte)ins.Op0Register.GetSize();
        return Slow(i, &SystemInstructions.LoadFarPointer);
    }

    private static bool Base(in Instruction ins, Insn* i, delegate*<CpuState*, Insn*, SlowOutcome> function)
    {
        i->R0 = StateOffsets.Of(ins.Op0Register);
        i->OperandSize = (byte)ins.Op0Register.GetSize();
        return Slow(i, function);
    }

    private static bool Table(in Instruction ins, Insn* i, BindContext context, delegate*<CpuState*, Insn*, SlowOutcome> function)
    {
        BindMemory(in ins, i, context);
        i->OperandSize = ins.Code switch
        {
            Code.Lgdt_m1632_16 or Code.Lidt_m1632_16 or Code.Sgdt_m1632_16 or Code.Sidt_m1632_16 => 2,
            Code.Lgdt_m1664 or Code.Lidt_m1664 or Code.Sgdt_m1664 or Code.Sidt_m1664 => 8,
            _ => 4,
        };
        return Slow(i, function);
    }

    /// <summary>LAR and LSL: destination in R0; a register source is R1 plus one, so that 0 means none.</summary>
    private static bool Query(in Instruction ins, Insn* i, BindContext context, delegate*<CpuState*, Insn*, SlowOutcome> function)
    {
        i->R0 = StateOffsets.Of(ins.Op0Register);
        i->OperandSize = (byte)ins.Op0Register.GetSize();
        if (IsMemory(in ins, 1))
        {
            BindMemory(in ins, i, context);
        }
        else
        {
            i->R1 = (ushort)(StateOffsets.Of(ins.Op1Register) + 1);
        }

        return Slow(i, function);
    }

    private static byte FlagsSize(Mnemonic mnemonic, Mnemonic word, Mnemonic doubleWord) =>
        (byte)(mnemonic == word ? 2 : mnemonic == doubleWord ? 4 : 8);
}
