namespace Introspect.Hypervisor.Core.Cpu;

/// <summary>Instructions on single flags.</summary>
internal static unsafe class FlagHandlers
{
    public static SlowOutcome Clc(CpuState* s, Insn* i)
    {
        Flags.SetCf(s, false);
        return SlowOutcome.Next;
    }

    public static SlowOutcome Stc(CpuState* s, Insn* i)
    {
        Flags.SetCf(s, true);
        return SlowOutcome.Next;
    }

    public static SlowOutcome Cmc(CpuState* s, Insn* i)
    {
        Flags.SetCf(s, !Flags.Cf(s));
        return SlowOutcome.Next;
    }

    public static SlowOutcome Cld(CpuState* s, Insn* i)
    {
        s->FlagsOther &= ~RFlags.Df;
        return SlowOutcome.Next;
    }

    public static SlowOutcome Std(CpuState* s, Insn* i)
    {
        s->FlagsOther |= RFlags.Df;
        return SlowOutcome.Next;
    }

    public static SlowOutcome Lahf(CpuState* s, Insn* i)
    {
        *((byte*)s->Gpr + 1) = (byte)(Flags.ReadArithmetic(s) | RFlags.Fixed1);
        return SlowOutcome.Next;
    }

    public static SlowOutcome Sahf(CpuState* s, Insn* i)
    {
        var flags = *((byte*)s->Gpr + 1);
        Flags.WriteArithmetic(s, (flags & (RFlags.Arithmetic & 0xFF)) | (Flags.Of(s) ? RFlags.Of : 0));
        return SlowOutcome.Next;
    }

    /// <summary>salc: AL becomes 0xFF or 0 by CF.</summary>
    public static SlowOutcome Salc(CpuState* s, Insn* i)
    {
        *(byte*)s->Gpr = Flags.Cf(s) ? (byte)0xFF : (byte)0;
        return SlowOutcome.Next;
    }
}
