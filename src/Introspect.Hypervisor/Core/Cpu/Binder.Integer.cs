using Iced.Intel;
using Introspect.Hypervisor.Core.Cpu.Handlers;

namespace Introspect.Hypervisor.Core.Cpu;

/// <summary>Arithmetic, moves, shifts and bit instructions.</summary>
internal static unsafe partial class Binder
{
    private static bool BindAlu(in Instruction ins, Insn* i, BindContext context) => ins.Mnemonic switch
    {
        Mnemonic.Add => Alu<Add>(in ins, i, context),
        Mnemonic.Adc => Alu<Adc>(in ins, i, context),
        Mnemonic.Sub => Alu<Sub>(in ins, i, context),
        Mnemonic.Sbb => Alu<Sbb>(in ins, i, context),
        Mnemonic.Cmp => Alu<Cmp>(in ins, i, context),
        Mnemonic.And => Alu<And>(in ins, i, context),
        Mnemonic.Or => Alu<Or>(in ins, i, context),
        Mnemonic.Xor => Alu<Xor>(in ins, i, context),
        Mnemonic.Test => Alu<Test>(in ins, i, context),
        Mnemonic.Inc => Unary<Inc>(in ins, i, context),
        Mnemonic.Dec => Unary<Dec>(in ins, i, context),
        Mnemonic.Neg => Unary<Neg>(in ins, i, context),
        Mnemonic.Not => Unary<Not>(in ins, i, context),
        Mnemonic.Mul => Wide<Mul>(in ins, i, context),
        Mnemonic.Imul => ImulForms(in ins, i, context),
        Mnemonic.Div => Wide<Div>(in ins, i, context),
        Mnemonic.Idiv => Wide<Idiv>(in ins, i, context),
        _ => false,
    };

    private static bool Alu<TOp>(in Instruction ins, Insn* i, BindContext context)
        where TOp : struct, IAluOp
    {
        var size = SizeOf(in ins, 0);
        if (IsMemory(in ins, 0))
        {
            var form = BindMemory(in ins, i, context);
            var locked = ins.HasLockPrefix && TOp.Writes;
            if (IsRegister(in ins, 1))
            {
                i->R1 = StateOffsets.Of(ins.Op1Register);
                i->Handler = locked ? Pick.Memory<AluMemLocked<TOp, FromRegister>>(size, form) : Pick.Memory<AluMem<TOp, FromRegister>>(size, form);
            }
            else
            {
                i->Imm = Truncate(ins.GetImmediate(1), size);
                i->Handler = locked ? Pick.Memory<AluMemLocked<TOp, FromImmediate>>(size, form) : Pick.Memory<AluMem<TOp, FromImmediate>>(size, form);
            }

            return true;
        }

        i->R0 = StateOffsets.Of(ins.Op0Register);
        if (IsMemory(in ins, 1))
        {
            i->Handler = Pick.Memory<AluRegMem<TOp>>(size, BindMemory(in ins, i, context));
        }
        else if (IsRegister(in ins, 1))
        {
            i->R1 = StateOffsets.Of(ins.Op1Register);
            i->Handler = Pick.Sized<AluRegReg<TOp>>(size);
        }
        else
        {
            i->Imm = Truncate(ins.GetImmediate(1), size);
            i->Handler = Pick.Sized<AluRegImm<TOp>>(size);
        }

        return true;
    }

    private static bool Unary<TOp>(in Instruction ins, Insn* i, BindContext context)
        where TOp : struct, IAluOp
    {
        var size = SizeOf(in ins, 0);
        if (IsMemory(in ins, 0))
        {
            var form = BindMemory(in ins, i, context);
            i->Handler = ins.HasLockPrefix ? Pick.Memory<AluMemLocked<TOp, FromImmediate>>(size, form) : Pick.Memory<AluMem<TOp, FromImmediate>>(size, form);
        }
        else
        {
            i->R0 = StateOffsets.Of(ins.Op0Register);
            i->Handler = Pick.Sized<UnaryReg<TOp>>(size);
        }

        return true;
    }

    private static bool Wide<TOp>(in Instruction ins, Insn* i, BindContext context)
        where TOp : struct, IWideOp
    {
        var size = SizeOf(in ins, 0);
        if (IsMemory(in ins, 0))
        {
            i->Handler = Pick.Memory<WideMem<TOp>>(size, BindMemory(in ins, i, context));
        }
        else
        {
            i->R0 = StateOffsets.Of(ins.Op0Register);
            i->Handler = Pick.Sized<WideReg<TOp>>(size);
        }

        return true;
    }

    private static bool ImulForms(in Instruction ins, Insn* i, BindContext context)
    {
        if (ins.OpCount == 1)
        {
            return Wide<Imul>(in ins, i, context);
        }

        if (ins.OpCount == 2)
        {
            return Alu<ImulTruncated>(in ins, i, context);
        }

        var size = SizeOf(in ins, 0);
        i->R0 = StateOffsets.Of(ins.Op0Register);
        i->Imm = Truncate(ins.GetImmediate(2), size);
        if (IsMemory(in ins, 1))
        {
            i->Handler = Pick.Memory<ImulRegMemImm>(size, BindMemory(in ins, i, context));
        }
        else
        {
            i->R1 = StateOffsets.Of(ins.Op1Register);
            i->Handler = Pick.Sized<ImulRegRegImm>(size);
        }

        return true;
    }

    private static bool BindMove(in Instruction ins, Insn* i, BindContext context)
    {
        switch (ins.Mnemonic)
        {
            case Mnemonic.Mov:
                return Mov(in ins, i, context);
            case Mnemonic.Movzx:
                return Extend<ZeroExtension>(in ins, i, context);
            case Mnemonic.Movsx:
            case Mnemonic.Movsxd:
                return Extend<SignExtension>(in ins, i, context);
            case Mnemonic.Lea:
                i->R0 = StateOffsets.Of(ins.Op0Register);
                i->Handler = BindMemory(in ins, i, context) == AddressForm.Wide
                    ? Pick.Sized<LeaWide>(SizeOf(in ins, 0))
                    : Pick.Sized<Lea>(SizeOf(in ins, 0));
                return true;
            case Mnemonic.Xchg:
                return Exchange<XchgRegReg, XchgMem>(in ins, i, context);
            case Mnemonic.Xadd:
                return Exchange<XaddRegReg, XaddMem>(in ins, i, context);
            case Mnemonic.Cmpxchg:
                return Exchange<CmpxchgRegReg, CmpxchgMem>(in ins, i, context);
            case Mnemonic.Bswap:
                i->R0 = StateOffsets.Of(ins.Op0Register);
                i->Handler = Pick.Sized<Bswap>(SizeOf(in ins, 0));
                return true;
            case Mnemonic.Cbw:
                i->Handler = &SimpleHandlers.Cbw;
                return true;
            case Mnemonic.Cwde:
                i->Handler = &SimpleHandlers.Cwde;
                return true;
            case Mnemonic.Cdqe:
                i->Handler = &SimpleHandlers.Cdqe;
                return true;
            case Mnemonic.Cwd:
                i->Handler = &SimpleHandlers.Cwd;
                return true;
            case Mnemonic.Cdq:
                i->Handler = &SimpleHandlers.Cdq;
                return true;
            case Mnemonic.Cqo:
                i->Handler = &SimpleHandlers.Cqo;
                return true;
            case Mnemonic.Nop or Mnemonic.Prefetchnta or Mnemonic.Prefetcht0 or Mnemonic.Prefetcht1 or Mnemonic.Prefetcht2
                or Mnemonic.Prefetchw or Mnemonic.Prefetch or Mnemonic.Prefetchwt1 or Mnemonic.Reservednop or Mnemonic.Endbr64 or Mnemonic.Endbr32
                or Mnemonic.Lfence or Mnemonic.Mfence or Mnemonic.Sfence or Mnemonic.Cldemote:
                i->Handler = &SimpleHandlers.Nop;
                return true;
            default:
                break;
        }

        var condition = ins.ConditionCode;
        if (condition == ConditionCode.None || ins.OpCount == 0)
        {
            return false;
        }

        if (ins.Mnemonic is >= Mnemonic.Seta and <= Mnemonic.Sets)
        {
            if (IsMemory(in ins, 0))
            {
                i->Handler = PickCondition.Set(condition, BindMemory(in ins, i, context));
            }
            else
            {
                i->R0 = StateOffsets.Of(ins.Op0Register);
                i->Handler = PickCondition.Set(condition, null);
            }

            return true;
        }

        if (ins.Mnemonic is >= Mnemonic.Cmova and <= Mnemonic.Cmovs)
        {
            i->R0 = StateOffsets.Of(ins.Op0Register);
            if (IsMemory(in ins, 1))
            {
                i->Handler = PickCondition.Move(condition, SizeOf(in ins, 0), BindMemory(in ins, i, context));
            }
            else
            {
                i->R1 = StateOffsets.Of(ins.Op1Register);
                i->Handler = PickCondition.Move(condition, SizeOf(in ins, 0), null);
            }

            return true;
        }

        return false;
    }

    private static bool Mov(in Instruction ins, Insn* i, BindContext context)
    {
        if (IsMemory(in ins, 0))
        {
            if (IsRegister(in ins, 1) && !ins.Op1Register.IsGPR())
            {
                return false; // segment registers are the system binder's
            }

            var size = SizeOf(in ins, 0);
            var form = BindMemory(in ins, i, context);
            if (IsRegister(in ins, 1))
            {
                i->R1 = StateOffsets.Of(ins.Op1Register);
                i->Handler = Pick.Memory<MovMem<FromRegister>>(size, form);
            }
            else
            {
                i->Imm = Truncate(ins.GetImmediate(1), size);
                i->Handler = Pick.Memory<MovMem<FromImmediate>>(size, form);
            }

            return true;
        }

        if (!ins.Op0Register.IsGPR() || (IsRegister(in ins, 1) && !ins.Op1Register.IsGPR()))
        {
            return false; // control, debug and segment registers
        }

        i->R0 = StateOffsets.Of(ins.Op0Register);
        var width = SizeOf(in ins, 0);
        if (IsMemory(in ins, 1))
        {
            i->Handler = Pick.Memory<MovRegMem>(width, BindMemory(in ins, i, context));
        }
        else if (IsRegister(in ins, 1))
        {
            i->R1 = StateOffsets.Of(ins.Op1Register);
            i->Handler = Pick.Sized<MovRegReg>(width);
        }
        else
        {
            i->Imm = Truncate(ins.GetImmediate(1), width);
            i->Handler = Pick.Sized<MovRegImm>(width);
        }

        return true;
    }

    private static bool Extend<TSign>(in Instruction ins, Insn* i, BindContext context)
        where TSign : struct, IExtension
    {
        i->R0 = StateOffsets.Of(ins.Op0Register);
        i->OperandSize = (byte)SizeOf(in ins, 0);
        var size = SizeOf(in ins, 1);
        if (IsMemory(in ins, 1))
        {
            i->Handler = Pick.Memory<ExtendMem<TSign>>(size, BindMemory(in ins, i, context));
        }
        else
        {
            i->R1 = StateOffsets.Of(ins.Op1Register);
            i->Handler = Pick.Sized<ExtendReg<TSign>>(size);
        }

        return true;
    }

    private static bool Exchange<TRegister, TMemory>(in Instruction ins, Insn* i, BindContext context)
        where TRegister : struct, ISizedHandler
        where TMemory : struct, IMemoryHandler
    {
        var size = SizeOf(in ins, 0);
        if (IsMemory(in ins, 0))
        {
            i->R1 = StateOffsets.Of(ins.Op1Register);
            i->Handler = Pick.Memory<TMemory>(size, BindMemory(in ins, i, context));
        }
        else if (IsMemory(in ins, 1))
        {
            i->R1 = StateOffsets.Of(ins.Op0Register);
            i->Handler = Pick.Memory<TMemory>(size, BindMemory(in ins, i, context));
        }
        else
        {
            i->R0 = StateOffsets.Of(ins.Op0Register);
            i->R1 = StateOffsets.Of(ins.Op1Register);
            i->Handler = Pick.Sized<TRegister>(size);
        }

        return true;
    }

    private static bool BindShift(in Instruction ins, Insn* i, BindContext context) => ins.Mnemonic switch
    {
        Mnemonic.Shl or Mnemonic.Sal => Shift<Shl>(in ins, i, context),
        Mnemonic.Shr => Shift<Shr>(in ins, i, context),
        Mnemonic.Sar => Shift<Sar>(in ins, i, context),
        Mnemonic.Rol => Shift<Rol>(in ins, i, context),
        Mnemonic.Ror => Shift<Ror>(in ins, i, context),
        Mnemonic.Rcl => Shift<Rcl>(in ins, i, context),
        Mnemonic.Rcr => Shift<Rcr>(in ins, i, context),
        _ => false,
    };

    private static bool Shift<TOp>(in Instruction ins, Insn* i, BindContext context)
        where TOp : struct, IAluOp
    {
        var size = SizeOf(in ins, 0);
        var byCl = IsRegister(in ins, 1);
        if (!byCl)
        {
            i->Imm = ins.GetImmediate(1);
        }

        if (IsMemory(in ins, 0))
        {
            var form = BindMemory(in ins, i, context);
            i->Handler = byCl ? Pick.Memory<AluMem<TOp, FromCl>>(size, form) : Pick.Memory<AluMem<TOp, FromImmediate>>(size, form);
        }
        else
        {
            i->R0 = StateOffsets.Of(ins.Op0Register);
            i->Handler = byCl ? Pick.Sized<ShiftReg<TOp, FromCl>>(size) : Pick.Sized<ShiftReg<TOp, FromImmediate>>(size);
        }

        return true;
    }

    private static ulong Truncate(ulong value, int size) => size == 8 ? value : value & ((1UL << (8 * size)) - 1);
}
