using Iced.Intel;
using Introspect.Hypervisor.Core.Cpu.Handlers;
using Introspect.Hypervisor.Core.Cpu.VectorUnit;

namespace Introspect.Hypervisor.Core.Cpu;

/// <summary>x87, MMX and SSE arithmetic, by native functions, and what belongs beside it.</summary>
internal static unsafe partial class Binder
{
    private static readonly ushort FirstX87 = VectorOffset(s => s->X87);
    private static readonly ushort FirstYmm = VectorOffset(s => s->Ymm);

    private delegate void* VectorField(CpuState* s);

    private static bool BindBesideVector(in Instruction ins, Insn* i, BindContext context)
    {
        switch (ins.Code)
        {
            case Code.Lfence or Code.Mfence or Code.Sfence:
                BindSlow(i, &CacheInstructions.Fence);
                return true;
            case Code.Clflush_m8:
                BindMemory(in ins, i, context);
                BindSlow(i, &CacheInstructions.Clflush);
                return true;
            case Code.Movnti_m32_r32 or Code.Movnti_m64_r64:
                i->R1 = StateOffsets.Of(ins.Op1Register);
                i->Handler = Pick.Memory<MovMem<FromRegister>>(SizeOf(in ins, 1), BindMemory(in ins, i, context));
                return true;
            case Code.Maskmovq_rDI_mm_mm or Code.Maskmovdqu_rDI_xmm_xmm:
                i->R0 = VectorRegister(ins.Op1Register);
                i->R1 = VectorRegister(ins.Op2Register);
                i->R2 = (ushort)(ins.Op1Register.IsMM() ? VectorClass.Mmx : VectorClass.Sse);
                i->OperandSize = (byte)(ins.Op1Register.IsMM() ? 8 : 16);
                i->Flags |= InsnFlags.Memory;
                i->Base = StateOffsets.Of(Register.RDI);
                i->Index = StateOffsets.Zero;
                i->AddressSize = (byte)(ins.Op0Kind switch { OpKind.MemorySegDI => 2, OpKind.MemorySegEDI => 4, _ => 8 });
                BindSegment(i, DataSegment(in ins, context), context);
                BindSlow(i, &ByteMaskMoves.Run);
                return true;
            default:
                return false;
        }
    }

    private static bool BindNativeX87(in Instruction ins, Insn* i, BindContext context)
    {
        if (!NativeCode.IsAvailable || !NativeX87.IsListed(in ins) || !NativeX87.TryNormalize(in ins, out var fixedForm))
        {
            return false;
        }

        var stack = 0u;
        var memory = false;
        for (var n = 0; n < ins.OpCount; n++)
        {
            memory |= IsMemory(in ins, n);
            stack |= IsRegister(in ins, n) ? (uint)ins.GetOpRegister(n).GetNumber() << (3 * n) : 0;
        }

        i->Imm = (ulong)NativeCode.Get(((ulong)ins.Code << 32) | stack, in fixedForm, NativeX87.Write);
        i->R1 = X87Opcode(in ins);
        i->R2 = (ushort)(ins.RflagsModified != 0 ? NativeForm.WritesFlags : 0);
        if (i->Imm == 0)
        {
            return false;
        }

        if (!memory)
        {
            BindSlow(i, &NativeX87.RunRegister);
            return true;
        }

        i->OperandSize = (byte)ins.MemorySize.GetSize();
        BindMemory(in ins, i, context);
        if (IsX87Store(ins.Mnemonic))
        {
            BindSlow(i, &NativeX87.RunStore);
        }
        else
        {
            BindSlow(i, &NativeX87.RunLoad);
        }

        return true;
    }

    private static bool IsX87Store(Mnemonic mnemonic) =>
        mnemonic is Mnemonic.Fst or Mnemonic.Fstp or Mnemonic.Fist or Mnemonic.Fistp or Mnemonic.Fisttp or Mnemonic.Fbstp;

    /// <summary>The opcode that FNSTENV tells: the low bits of the first byte, and the ModRM byte.</summary>
    private static ushort X87Opcode(in Instruction ins)
    {
        var bytes = new OpcodeBytes();
        var encoder = Encoder.Create(ins.CodeSize switch { CodeSize.Code16 => 16, CodeSize.Code32 => 32, _ => 64 }, bytes);
        return encoder.TryEncode(in ins, ins.IP, out _, out _) ? bytes.X87Opcode : (ushort)0;
    }

    private static bool BindNativeVector(in Instruction ins, Insn* i, BindContext context)
    {
        if (!NativeCode.IsAvailable || !NativeVectorForms.IsListed(in ins)
            || !NativeVectorWriter.TryNormalize(in ins, out var fixedForm))
        {
            return false;
        }

        var memory = -1;
        uint last = 0;
        for (var n = 0; n < ins.OpCount; n++)
        {
            memory = IsMemory(in ins, n) ? n : memory;
            last = ins.GetOpKind(n) == OpKind.Immediate8 ? ins.Immediate8 : last;
        }

        var strings = NativeVectorForms.IsStringCompare(ins.Mnemonic);
        var key = ((ulong)ins.Code << 32) | ((uint)(memory + 1) << 8) | last;
        i->Imm = (ulong)NativeCode.Get(key, in fixedForm, strings ? NativeVectorWriter.WriteStringCompare : NativeVectorWriter.Write);
        if (i->Imm == 0)
        {
            return false;
        }

        i->R2 = (ushort)NativeVectorForms.Describe(in ins);
        i->R0 = IsRegister(in ins, 0) ? VectorRegister(ins.Op0Register) : (ushort)0;
        i->R1 = ins.OpCount > 1 && IsRegister(in ins, 1) ? VectorRegister(ins.Op1Register) : StateOffsets.Zero;
        if (memory >= 0)
        {
            i->OperandSize = (byte)ins.MemorySize.GetSize();
            BindMemory(in ins, i, context);
        }

        BindNativeFunction(in ins, i, memory, strings);
        return true;
    }

    private static void BindNativeFunction(in Instruction ins, Insn* i, int memory, bool strings)
    {
        if (strings)
        {
            BindSlow(i, &NativeVector.RunStringCompare);
        }
        else if (memory == 0)
        {
            BindSlow(i, &NativeVector.RunStore);
        }
        else if (NativeVectorForms.UsesMxcsr(ins.Mnemonic))
        {
            BindSlow(i, memory < 0 ? &NativeVector.RunFloatRegister : &NativeVector.RunFloatLoad);
        }
        else
        {
            BindSlow(i, memory < 0 ? &NativeVector.RunRegister : &NativeVector.RunLoad);
        }
    }

    /// <summary>The offset of an XMM, MMX or general register.</summary>
    private static ushort VectorRegister(Register register) =>
        register.IsXMM() ? (ushort)(FirstYmm + (register.GetNumber() * 32))
        : register.IsMM() ? (ushort)(FirstX87 + (register.GetNumber() * 16))
        : StateOffsets.Of(register);

    private static ushort VectorOffset(VectorField field)
    {
        CpuState state;
        return (ushort)((byte*)field(&state) - (byte*)&state);
    }

    /// <summary>Finds the first x87 opcode byte and the ModRM byte after it.</summary>
    private sealed class OpcodeBytes : CodeWriter
    {
        private int _escape = -1;
        private int _modRm = -1;

        public ushort X87Opcode => (ushort)(((_escape & 7) << 8) | (_modRm & 0xFF));

        public override void WriteByte(byte value)
        {
            if (_escape < 0)
            {
                _escape = (value & 0xF8) == 0xD8 ? value : -1;
            }
            else if (_modRm < 0)
            {
                _modRm = value;
            }
        }
    }
}
