using Iced.Intel;
using Introspect.Hypervisor.Core.Cpu.Handlers;

namespace Introspect.Hypervisor.Core.Cpu;

/// <summary>Bit instructions: BT family, scans and counts, double shifts, BMI, decimal arithmetic, MOVBE, CRC32, random numbers.</summary>
internal static unsafe partial class Binder
{
    private static bool BindBits(in Instruction ins, Insn* i, BindContext context) => ins.Mnemonic switch
    {
        Mnemonic.Bt => BitTest<Bt>(in ins, i, context),
        Mnemonic.Bts => BitTest<Bts>(in ins, i, context),
        Mnemonic.Btr => BitTest<Btr>(in ins, i, context),
        Mnemonic.Btc => BitTest<Btc>(in ins, i, context),
        Mnemonic.Bsf => BitScan<Bsf>(in ins, i, context),
        Mnemonic.Bsr => BitScan<Bsr>(in ins, i, context),
        Mnemonic.Tzcnt => Alu<Tzcnt>(in ins, i, context),
        Mnemonic.Lzcnt => Alu<Lzcnt>(in ins, i, context),
        Mnemonic.Popcnt => Alu<Popcnt>(in ins, i, context),
        Mnemonic.Adcx => Alu<Adcx>(in ins, i, context),
        Mnemonic.Adox => Alu<Adox>(in ins, i, context),
        Mnemonic.Shld => DoubleShift<Shld>(in ins, i, context),
        Mnemonic.Shrd => DoubleShift<Shrd>(in ins, i, context),
        _ => ins.Encoding == EncodingKind.VEX ? BindBitFields(in ins, i, context) : BindRareInteger(in ins, i, context),
    };

    private static bool BitTest<TOp>(in Instruction ins, Insn* i, BindContext context)
        where TOp : struct, IAluOp
    {
        if (!IsMemory(in ins, 0) || !IsRegister(in ins, 1))
        {
            return Alu<TOp>(in ins, i, context); // a bit number in an immediate stays in the word
        }

        var size = SizeOf(in ins, 0);
        i->R1 = StateOffsets.Of(ins.Op1Register);
        var wide = BindMemory(in ins, i, context) == AddressForm.Wide;
        var locked = ins.HasLockPrefix && TOp.Writes;
        i->Handler = wide
            ? locked ? Pick.At<AluMemLocked<TOp, FromRegister>, BitString64>(size) : Pick.At<AluMem<TOp, FromRegister>, BitString64>(size)
            : locked ? Pick.At<AluMemLocked<TOp, FromRegister>, BitStringChecked>(size) : Pick.At<AluMem<TOp, FromRegister>, BitStringChecked>(size);
        return true;
    }

    private static bool BitScan<TScan>(in Instruction ins, Insn* i, BindContext context)
        where TScan : struct, IBitScan
    {
        var size = SizeOf(in ins, 0);
        i->R0 = StateOffsets.Of(ins.Op0Register);
        if (IsMemory(in ins, 1))
        {
            i->Handler = Pick.Memory<BitScanMem<TScan>>(size, BindMemory(in ins, i, context));
        }
        else
        {
            i->R1 = StateOffsets.Of(ins.Op1Register);
            i->Handler = Pick.Sized<BitScanReg<TScan>>(size);
        }

        return true;
    }

    private static bool DoubleShift<TOp>(in Instruction ins, Insn* i, BindContext context)
        where TOp : struct, IDoubleShift
    {
        var size = SizeOf(in ins, 0);
        var byCl = IsRegister(in ins, 2);
        i->R1 = StateOffsets.Of(ins.Op1Register);
        if (!byCl)
        {
            i->Imm = ins.GetImmediate(2);
        }

        if (IsMemory(in ins, 0))
        {
            var form = BindMemory(in ins, i, context);
            i->Handler = byCl ? Pick.Memory<DoubleShiftMem<TOp, FromCl>>(size, form) : Pick.Memory<DoubleShiftMem<TOp, FromImmediate>>(size, form);
        }
        else
        {
            i->R0 = StateOffsets.Of(ins.Op0Register);
            i->Handler = byCl ? Pick.Sized<DoubleShiftReg<TOp, FromCl>>(size) : Pick.Sized<DoubleShiftReg<TOp, FromImmediate>>(size);
        }

        return true;
    }

    /// <summary>BMI1 and BMI2. VEX encodings are #UD in real and virtual-8086 mode.</summary>
    private static bool BindBitFields(in Instruction ins, Insn* i, BindContext context)
    {
        if (context.RealOrVm86)
        {
            return false;
        }

        switch (ins.Mnemonic)
        {
            case Mnemonic.Andn:
                return Three<Andn>(in ins, i, context, operand: 2, other: 1);
            case Mnemonic.Pdep:
                return Three<Pdep>(in ins, i, context, operand: 2, other: 1);
            case Mnemonic.Pext:
                return Three<Pext>(in ins, i, context, operand: 2, other: 1);
            case Mnemonic.Bextr:
                return Three<Bextr>(in ins, i, context, operand: 1, other: 2);
            case Mnemonic.Bzhi:
                return Three<Bzhi>(in ins, i, context, operand: 1, other: 2);
            case Mnemonic.Sarx:
                return Three<Sarx>(in ins, i, context, operand: 1, other: 2);
            case Mnemonic.Shlx:
                return Three<Shlx>(in ins, i, context, operand: 1, other: 2);
            case Mnemonic.Shrx:
                return Three<Shrx>(in ins, i, context, operand: 1, other: 2);
            case Mnemonic.Rorx:
                i->Imm = ins.GetImmediate(2);
                return WriteOnly<Rorx, FromImmediate>(in ins, i, context, operand: 1);
            case Mnemonic.Blsi:
                return WriteOnly<Blsi, FromImmediate>(in ins, i, context, operand: 1);
            case Mnemonic.Blsmsk:
                return WriteOnly<Blsmsk, FromImmediate>(in ins, i, context, operand: 1);
            case Mnemonic.Blsr:
                return WriteOnly<Blsr, FromImmediate>(in ins, i, context, operand: 1);
            case Mnemonic.Mulx:
                i->R0 = StateOffsets.Of(ins.Op0Register);
                i->R2 = StateOffsets.Of(ins.Op1Register);
                return SourceInR1(in ins, i, context, 2, &BitInstructions.Mulx);
            default:
                return false;
        }
    }

    private static bool Three<TOp>(in Instruction ins, Insn* i, BindContext context, int operand, int other)
        where TOp : struct, IAluOp
    {
        i->R2 = StateOffsets.Of(ins.GetOpRegister(other));
        return WriteOnly<TOp, FromThird>(in ins, i, context, operand);
    }

    private static bool WriteOnly<TOp, TSource>(in Instruction ins, Insn* i, BindContext context, int operand)
        where TOp : struct, IAluOp
        where TSource : struct, ISource
    {
        var size = SizeOf(in ins, 0);
        i->R0 = StateOffsets.Of(ins.Op0Register);
        if (IsMemory(in ins, operand))
        {
            i->Handler = Pick.Memory<ThreeMem<TOp, TSource>>(size, BindMemory(in ins, i, context));
        }
        else
        {
            i->R1 = StateOffsets.Of(ins.GetOpRegister(operand));
            i->Handler = Pick.Sized<ThreeReg<TOp, TSource>>(size);
        }

        return true;
    }

    private static bool BindRareInteger(in Instruction ins, Insn* i, BindContext context)
    {
        switch (ins.Mnemonic)
        {
            case Mnemonic.Cmpxchg8b:
                return MemoryOperand(in ins, i, context, &CompareExchangePairs.Cmpxchg8b);
            case Mnemonic.Cmpxchg16b:
                return MemoryOperand(in ins, i, context, &CompareExchangePairs.Cmpxchg16b);
            case Mnemonic.Clflush or Mnemonic.Clflushopt or Mnemonic.Clwb:
                return MemoryOperand(in ins, i, context, &BitInstructions.FlushLine);
            case Mnemonic.Movnti or Mnemonic.Movdiri:
                i->R1 = StateOffsets.Of(ins.Op1Register);
                i->Handler = Pick.Memory<MovMem<FromRegister>>(SizeOf(in ins, 0), BindMemory(in ins, i, context));
                return true;
            case Mnemonic.Movbe:
                i->OperandSize = (byte)SizeOf(in ins, 0);
                i->R0 = StateOffsets.Of(IsMemory(in ins, 0) ? ins.Op1Register : ins.Op0Register);
                return IsMemory(in ins, 0)
                    ? MemoryOperand(in ins, i, context, &BitInstructions.MovbeStore)
                    : MemoryOperand(in ins, i, context, &BitInstructions.MovbeLoad);
            case Mnemonic.Crc32:
                i->R0 = StateOffsets.Of(ins.Op0Register);
                return SourceInR1(in ins, i, context, 1, &BitInstructions.Crc32);
            case Mnemonic.Rdrand or Mnemonic.Rdseed:
                i->R0 = StateOffsets.Of(ins.Op0Register);
                i->OperandSize = (byte)SizeOf(in ins, 0);
                BindSlow(i, &RandomInstructions.Read);
                return true;
            case Mnemonic.Bound:
                i->R0 = StateOffsets.Of(ins.Op0Register);
                i->OperandSize = (byte)SizeOf(in ins, 0);
                return MemoryOperand(in ins, i, context, &BitInstructions.Bound);
            case Mnemonic.Xlatb:
                BindMemory(in ins, i, context);
                i->Index = StateOffsets.Zero; // AL, which is no index register, is the function's to add
                BindSlow(i, &BitInstructions.Xlat);
                return true;
            case Mnemonic.Aam:
                i->Imm = ins.Immediate8;
                BindSlow(i, &DecimalInstructions.Aam);
                return true;
            case Mnemonic.Aad:
                i->Imm = ins.Immediate8;
                BindSlow(i, &DecimalInstructions.Aad);
                return true;
            case Mnemonic.Daa:
                BindSlow(i, &DecimalInstructions.Daa);
                return true;
            case Mnemonic.Das:
                BindSlow(i, &DecimalInstructions.Das);
                return true;
            case Mnemonic.Aaa:
                BindSlow(i, &DecimalInstructions.Aaa);
                return true;
            case Mnemonic.Aas:
                BindSlow(i, &DecimalInstructions.Aas);
                return true;
            default:
                return false;
        }
    }

    private static bool MemoryOperand(
        in Instruction ins, Insn* i, BindContext context, delegate*<CpuState*, Insn*, SlowOutcome> function)
    {
        BindMemory(in ins, i, context);
        BindSlow(i, function);
        return true;
    }

    /// <summary>A register or memory source; <see cref="InsnFlags.Memory"/> tells which.</summary>
    private static bool SourceInR1(
        in Instruction ins, Insn* i, BindContext context, int operand, delegate*<CpuState*, Insn*, SlowOutcome> function)
    {
        i->OperandSize = (byte)SizeOf(in ins, operand);
        if (IsMemory(in ins, operand))
        {
            return MemoryOperand(in ins, i, context, function);
        }

        i->R1 = StateOffsets.Of(ins.GetOpRegister(operand));
        BindSlow(i, function);
        return true;
    }
}
