using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Introspect.Hypervisor.Core.Cpu.VectorUnit;

/// <summary>
/// Writes the functions for MMX and SSE. Called with rdi = operand 0, rsi = operand 1, rdx = the
/// <see cref="NativeFrame"/>; registers 1 and 2 of a kind (rax and rcx of the general ones) stand for the operands.
/// </summary>
internal static class NativeVectorWriter
{
    /// <summary>The instruction with the operands that functions use. False when it has operands of another kind.</summary>
    public static bool TryNormalize(in Instruction guest, out Instruction ins)
    {
        ins = new Instruction { Code = guest.Code };
        var count = guest.OpCount;
        for (var n = 0; n < count; n++)
        {
            var kind = guest.GetOpKind(n);
            if (kind == OpKind.Immediate8 && n == count - 1)
            {
                ins.SetOpKind(n, kind);
                ins.SetImmediate(n, guest.Immediate8);
            }
            else if (n > 1)
            {
                return false;
            }
            else if (kind == OpKind.Memory)
            {
                ins.SetOpKind(n, kind);
                ins.MemoryBase = n == 0 ? Register.RDI : Register.RSI;
            }
            else if (kind == OpKind.Register && Fixed(guest.GetOpRegister(n), n) is var register and not Register.None)
            {
                ins.SetOpKind(n, kind);
                ins.SetOpRegister(n, register);
            }
            else
            {
                return false;
            }
        }

        return true;
    }

    /// <summary>A function for an instruction with up to two operands.</summary>
    public static void Write(Assembler a, in Instruction ins)
    {
        if (ins.Mnemonic is Mnemonic.Pblendvb or Mnemonic.Blendvps or Mnemonic.Blendvpd)
        {
            a.mov(rax, __qword_ptr[rdx + NativeFrame.Xmm0Offset]);
            a.movups(xmm0, __xmmword_ptr[rax]);
        }

        Load(a, in ins, 0);
        Load(a, in ins, 1);
        var usesMxcsr = NativeVectorForms.UsesMxcsr(ins.Mnemonic);
        if (usesMxcsr)
        {
            a.ldmxcsr(__dword_ptr[rdx + NativeFrame.MxcsrOffset]);
        }

        a.AddInstruction(ins);
        if (usesMxcsr)
        {
            a.stmxcsr(__dword_ptr[rdx + NativeFrame.MxcsrOffset]);
            a.ldmxcsr(__dword_ptr[rdx + NativeFrame.HostMxcsrOffset]);
        }

        if (ins.RflagsModified != 0)
        {
            a.pushfq();
            a.pop(__qword_ptr[rdx + NativeFrame.FlagsOffset]);
        }

        Store(a, in ins);
        if (NativeVectorForms.HasMmx(in ins))
        {
            a.emms();
        }

        a.ret();
    }

    /// <summary>A function for the string compares, which have rax, rdx and rcx or XMM0 beside their operands.</summary>
    public static void WriteStringCompare(Assembler a, in Instruction ins)
    {
        a.mov(r8, rdx);
        a.movups(xmm1, __xmmword_ptr[rdi]);
        Load(a, in ins, 1);
        a.mov(rax, __qword_ptr[r8 + NativeFrame.Xmm0Offset]);
        a.movups(xmm0, __xmmword_ptr[rax]);
        a.mov(rax, __qword_ptr[r8 + NativeFrame.RaxOffset]);
        a.mov(rcx, __qword_ptr[r8 + NativeFrame.RcxOffset]);
        a.mov(rdx, __qword_ptr[r8 + NativeFrame.RdxOffset]);
        a.AddInstruction(ins);
        a.pushfq();
        a.pop(__qword_ptr[r8 + NativeFrame.FlagsOffset]);
        a.mov(__qword_ptr[r8 + NativeFrame.RcxOffset], rcx);
        a.mov(rax, __qword_ptr[r8 + NativeFrame.Xmm0Offset]);
        a.movups(__xmmword_ptr[rax], xmm0);
        a.ret();
    }

    private static Register Fixed(Register register, int operand) => operand == 0
        ? register.IsXMM() ? Register.XMM1
            : register.IsMM() ? Register.MM1
            : register.IsGPR64() ? Register.RAX
            : register.IsGPR32() ? Register.EAX
            : Register.None
        : register.IsXMM() ? Register.XMM2
            : register.IsMM() ? Register.MM2
            : register.IsGPR64() ? Register.RCX
            : register.IsGPR32() ? Register.ECX
            : register.IsGPR16() ? Register.CX
            : register.IsGPR8() ? Register.CL
            : Register.None;

    private static void Load(Assembler a, in Instruction ins, int operand)
    {
        if (operand >= ins.OpCount || ins.GetOpKind(operand) != OpKind.Register)
        {
            return;
        }

        var from = operand == 0 ? rdi : rsi;
        var register = ins.GetOpRegister(operand);
        if (register.IsXMM())
        {
            a.movups(operand == 0 ? xmm1 : xmm2, __xmmword_ptr[from]);
        }
        else if (register.IsMM())
        {
            a.movq(operand == 0 ? mm1 : mm2, __qword_ptr[from]);
        }
        else
        {
            a.mov(operand == 0 ? rax : rcx, __qword_ptr[from]);
        }
    }

    private static void Store(Assembler a, in Instruction ins)
    {
        if (ins.Op0Kind != OpKind.Register)
        {
            return;
        }

        var register = ins.Op0Register;
        if (register.IsXMM())
        {
            a.movups(__xmmword_ptr[rdi], xmm1);
        }
        else if (register.IsMM())
        {
            a.movq(__qword_ptr[rdi], mm1);
        }
        else
        {
            // A 32-bit result has zero-extended itself.
            a.mov(__qword_ptr[rdi], rax);
        }
    }
}
