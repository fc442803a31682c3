using System.Runtime.Intrinsics.X86;
using Iced.Intel;

namespace Introspect.Hypervisor.Core.Cpu.VectorUnit;

/// <summary>Bits in <see cref="Insn.R2"/> of an instruction that runs natively: its class, and what else it does.</summary>
[Flags]
internal enum NativeForm : ushort
{
    None = 0,

    /// <summary>The <see cref="VectorClass"/>.</summary>
    ClassMask = 0xFF,

    /// <summary>The memory operand must be aligned to its size.</summary>
    Aligned = 0x100,

    /// <summary>It changes RFLAGS.</summary>
    WritesFlags = 0x200,

    /// <summary>It makes the x87 stack full, as MMX instructions do.</summary>
    EntersMmx = 0x400,

    /// <summary>Its result goes to an MMX register.</summary>
    ResultInMmx = 0x800,

    /// <summary>The result is a float whose underflow must be looked for when underflow is not masked.</summary>
    SingleResult = 0x1000,

    /// <summary>The same with a double.</summary>
    DoubleResult = 0x2000,

    /// <summary>Only the lowest element is computed.</summary>
    ScalarResult = 0x4000,
}

/// <summary>Which MMX and SSE instructions run natively, and how.</summary>
internal static class NativeVectorForms
{
    /// <summary>True for an instruction of a feature that is implemented and that this host has.</summary>
    public static bool IsListed(in Instruction ins)
    {
        // PAUSE has a vector feature's bit but no operands.
        if (ins.Encoding != EncodingKind.Legacy || ins.OpCount == 0)
        {
            return false;
        }

        foreach (var feature in ins.CpuidFeatures)
        {
            if (!HostHas(feature))
            {
                return false;
            }
        }

        return true;
    }

    /// <summary>True when rounding, denormals and exceptions of the instruction follow MXCSR.</summary>
    public static bool UsesMxcsr(Mnemonic mnemonic) => mnemonic is Mnemonic.Comiss or Mnemonic.Comisd or Mnemonic.Ucomiss or Mnemonic.Ucomisd
        or Mnemonic.Cmpps or Mnemonic.Cmppd or Mnemonic.Cmpss or Mnemonic.Cmpsd
        or Mnemonic.Maxps or Mnemonic.Maxpd or Mnemonic.Maxss or Mnemonic.Maxsd
        or Mnemonic.Minps or Mnemonic.Minpd or Mnemonic.Minss or Mnemonic.Minsd
        or Mnemonic.Sqrtps or Mnemonic.Sqrtpd or Mnemonic.Sqrtss or Mnemonic.Sqrtsd
        or Mnemonic.Roundps or Mnemonic.Roundpd or Mnemonic.Roundss or Mnemonic.Roundsd
        or Mnemonic.Cvtps2pd or Mnemonic.Cvtss2sd or Mnemonic.Cvtdq2pd or Mnemonic.Cvtdq2ps or Mnemonic.Cvtpi2pd or Mnemonic.Cvtpi2ps
        or Mnemonic.Cvtsi2sd or Mnemonic.Cvtsi2ss
        or Mnemonic.Cvtpd2dq or Mnemonic.Cvttpd2dq or Mnemonic.Cvtps2dq or Mnemonic.Cvttps2dq
        or Mnemonic.Cvtpd2pi or Mnemonic.Cvttpd2pi or Mnemonic.Cvtps2pi or Mnemonic.Cvttps2pi
        or Mnemonic.Cvtsd2si or Mnemonic.Cvttsd2si or Mnemonic.Cvtss2si or Mnemonic.Cvttss2si
        || (Result(mnemonic) != NativeForm.None);

    /// <summary>Type of the result of an instruction that can underflow.</summary>
    public static NativeForm Result(Mnemonic mnemonic) => mnemonic switch
    {
        Mnemonic.Addps or Mnemonic.Subps or Mnemonic.Mulps or Mnemonic.Divps or Mnemonic.Addsubps or Mnemonic.Haddps
            or Mnemonic.Hsubps or Mnemonic.Dpps => NativeForm.SingleResult,
        Mnemonic.Addss or Mnemonic.Subss or Mnemonic.Mulss or Mnemonic.Divss or Mnemonic.Cvtsd2ss =>
            NativeForm.SingleResult | NativeForm.ScalarResult,

        // The upper half of its result is zero.
        Mnemonic.Cvtpd2ps => NativeForm.SingleResult,
        Mnemonic.Addpd or Mnemonic.Subpd or Mnemonic.Mulpd or Mnemonic.Divpd or Mnemonic.Addsubpd or Mnemonic.Haddpd
            or Mnemonic.Hsubpd or Mnemonic.Dppd => NativeForm.DoubleResult,
        Mnemonic.Addsd or Mnemonic.Subsd or Mnemonic.Mulsd or Mnemonic.Divsd => NativeForm.DoubleResult | NativeForm.ScalarResult,
        _ => NativeForm.None,
    };

    public static bool IsStringCompare(Mnemonic mnemonic) =>
        mnemonic is Mnemonic.Pcmpestri or Mnemonic.Pcmpestrm or Mnemonic.Pcmpistri or Mnemonic.Pcmpistrm
            or Mnemonic.Pcmpestri64 or Mnemonic.Pcmpestrm64;

    /// <summary>True when an operand is an MMX register.</summary>
    public static bool HasMmx(in Instruction ins) => HasOperand(in ins, r => r.IsMM());

    /// <summary>Class and properties of a listed instruction.</summary>
    public static NativeForm Describe(in Instruction ins)
    {
        var mmx = HasMmx(in ins);
        var xmm = HasOperand(in ins, r => r.IsXMM());
        var memory = HasMemory(in ins);

        // CVTPI2PS enters MMX with a memory operand too; CVTPI2PD does not.
        mmx |= ins.Mnemonic == Mnemonic.Cvtpi2ps;
        var kind = xmm ? mmx ? VectorClass.SseMmx : VectorClass.Sse : mmx ? VectorClass.Mmx : VectorClass.General;
        var form = (NativeForm)kind | Result(ins.Mnemonic);
        form |= mmx ? NativeForm.EntersMmx : 0;
        form |= mmx && ins.Op0Kind == OpKind.Register && ins.Op0Register.IsMM() ? NativeForm.ResultInMmx : 0;
        form |= ins.RflagsModified != 0 ? NativeForm.WritesFlags : 0;
        form |= memory && ins.MemorySize.GetSize() == 16 && !AllowsUnaligned(ins.Mnemonic) ? NativeForm.Aligned : 0;
        return form;
    }

    private static bool AllowsUnaligned(Mnemonic mnemonic) =>
        mnemonic is Mnemonic.Movups or Mnemonic.Movupd or Mnemonic.Movdqu or Mnemonic.Lddqu || IsStringCompare(mnemonic);

    private static bool HasMemory(in Instruction ins)
    {
        for (var n = 0; n < ins.OpCount; n++)
        {
            if (ins.GetOpKind(n) == OpKind.Memory)
            {
                return true;
            }
        }

        return false;
    }

    private static bool HasOperand(in Instruction ins, Func<Register, bool> test)
    {
        for (var n = 0; n < ins.OpCount; n++)
        {
            if (ins.GetOpKind(n) == OpKind.Register && test(ins.GetOpRegister(n)))
            {
                return true;
            }
        }

        return false;
    }

    private static bool HostHas(CpuidFeature feature) => feature switch
    {
        CpuidFeature.MMX or CpuidFeature.SSE or CpuidFeature.SSE2 => Sse2.IsSupported,
        CpuidFeature.SSE3 => Sse3.IsSupported,
        CpuidFeature.SSSE3 => Ssse3.IsSupported,
        CpuidFeature.SSE4_1 => Sse41.IsSupported,
        CpuidFeature.SSE4_2 => Sse42.IsSupported,
        _ => false,
    };
}
