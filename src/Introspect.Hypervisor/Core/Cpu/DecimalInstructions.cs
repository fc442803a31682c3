namespace Introspect.Hypervisor.Core.Cpu;

/// <summary>
/// Decimal arithmetic, which 64-bit mode does not have. Flags that the manuals leave undefined: SF, ZF and PF
/// follow AL, OF is 0, and so are CF and AF after AAM and AAD.
/// </summary>
internal static unsafe class DecimalInstructions
{
    public static SlowOutcome Daa(CpuState* s, Insn* i) => Adjust(s, subtract: false);

    public static SlowOutcome Das(CpuState* s, Insn* i) => Adjust(s, subtract: true);

    public static SlowOutcome Aaa(CpuState* s, Insn* i) => AdjustUnpacked(s, 0x106);

    public static SlowOutcome Aas(CpuState* s, Insn* i) => AdjustUnpacked(s, -0x106);

    /// <summary>aam: a base of 0 is a division by zero.</summary>
    public static SlowOutcome Aam(CpuState* s, Insn* i)
    {
        var radix = (byte)i->Imm;
        if (radix == 0)
        {
            Fault.Raise(s, Vector.DivideError);
            return SlowOutcome.Stopped;
        }

        var al = *(byte*)s->Gpr;
        *(ushort*)s->Gpr = (ushort)((al / radix << 8) | (al % radix));
        Flags.SetLogic<byte>(s, (ulong)(al % radix));
        return SlowOutcome.Next;
    }

    public static SlowOutcome Aad(CpuState* s, Insn* i)
    {
        var ax = *(ushort*)s->Gpr;
        var al = (byte)((byte)ax + ((ax >> 8) * (byte)i->Imm));
        *(ushort*)s->Gpr = al;
        Flags.SetLogic<byte>(s, al);
        return SlowOutcome.Next;
    }

    private static SlowOutcome Adjust(CpuState* s, bool subtract)
    {
        var old = *(byte*)s->Gpr;
        var carry = Flags.Cf(s);
        var low = (old & 0xF) > 9 || Flags.Af(s);
        var high = old > 0x99 || carry;
        var change = (low ? 6 : 0) + (high ? 0x60 : 0);
        var al = (byte)(subtract ? old - change : old + change);

        // CF is what the correction of the high digit sets, or, for DAS, a borrow of the low one's.
        var cf = high || (subtract && low && old < 6);
        *(byte*)s->Gpr = al;
        SetFlags(s, al, cf, low);
        return SlowOutcome.Next;
    }

    private static SlowOutcome AdjustUnpacked(CpuState* s, int change)
    {
        var ax = *(ushort*)s->Gpr;
        var adjust = (ax & 0xF) > 9 || Flags.Af(s);
        if (adjust)
        {
            ax = (ushort)(ax + change);
        }

        ax &= 0xFF0F;
        *(ushort*)s->Gpr = ax;
        SetFlags(s, (byte)ax, adjust, adjust);
        return SlowOutcome.Next;
    }

    private static void SetFlags(CpuState* s, byte result, bool cf, bool af)
    {
        Flags.SetResult<byte>(s, result, cf, false);
        s->FlagsAux |= af ? 8u : 0;
    }
}
