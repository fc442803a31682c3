using Iced.Intel;
using Introspect.Hypervisor.Core.Cpu;

namespace Introspect.Hypervisor.Tests.Cpu.Lockstep;

/// <summary>Which instructions are compared, and which flags the manuals leave undefined after each.</summary>
internal static class DefinedFlags
{
    private const uint AllSix = RFlags.Arithmetic;
    private const uint SignsAndParity = RFlags.Sf | RFlags.Zf | RFlags.Af | RFlags.Pf;

    /// <summary>Flags that are undefined whatever the operands are.</summary>
    public static readonly Dictionary<Mnemonic, uint> Undefined = Build();

    /// <summary>Flags that are undefined for these inputs.</summary>
    public static uint UndefinedFor(in Instruction i, ulong count)
    {
        var bits = 8 * OperandSize(in i);
        var masked = (int)count & (bits == 64 ? 63 : 31);
        switch (i.Mnemonic)
        {
            case Mnemonic.Shl or Mnemonic.Sal or Mnemonic.Shr or Mnemonic.Sar:
                return masked == 0 ? 0 : RFlags.Af | (masked != 1 ? RFlags.Of : 0)
                    | (masked >= bits && i.Mnemonic != Mnemonic.Sar ? RFlags.Cf : 0);
            case Mnemonic.Rol or Mnemonic.Ror or Mnemonic.Rcl or Mnemonic.Rcr:
                return masked is 0 or 1 ? 0 : RFlags.Of;
            case Mnemonic.Shld or Mnemonic.Shrd:
                return masked == 0 ? 0 : RFlags.Af | (masked != 1 ? RFlags.Of : 0);
            default:
                return Undefined[i.Mnemonic];
        }
    }

    /// <summary>Size of the first operand in bytes.</summary>
    public static int OperandSize(in Instruction i) =>
        i.OpCount == 0 ? 8 : i.Op0Kind == OpKind.Register ? i.Op0Register.GetSize() : i.MemorySize.GetSize();

    private static Dictionary<Mnemonic, uint> Build()
    {
        var table = new Dictionary<Mnemonic, uint>();
        Add(
            table, 0, Mnemonic.Add, Mnemonic.Adc, Mnemonic.Sub, Mnemonic.Sbb, Mnemonic.Cmp, Mnemonic.Inc, Mnemonic.Dec, Mnemonic.Neg,
            Mnemonic.Not, Mnemonic.Mov, Mnemonic.Movzx, Mnemonic.Movsx, Mnemonic.Movsxd, Mnemonic.Lea, Mnemonic.Xchg, Mnemonic.Xadd,
            Mnemonic.Cmpxchg, Mnemonic.Cmpxchg8b, Mnemonic.Cmpxchg16b, Mnemonic.Cbw, Mnemonic.Cwde, Mnemonic.Cdqe,
            Mnemonic.Cwd, Mnemonic.Cdq, Mnemonic.Cqo, Mnemonic.Push, Mnemonic.Pop, Mnemonic.Lahf, Mnemonic.Sahf, Mnemonic.Clc,
            Mnemonic.Stc, Mnemonic.Cmc, Mnemonic.Cld, Mnemonic.Std, Mnemonic.Xlatb, Mnemonic.Movbe, Mnemonic.Movnti, Mnemonic.Crc32,
            Mnemonic.Popcnt, Mnemonic.Mulx, Mnemonic.Pdep, Mnemonic.Pext, Mnemonic.Rorx, Mnemonic.Sarx, Mnemonic.Shlx, Mnemonic.Shrx,
            Mnemonic.Adcx, Mnemonic.Adox, Mnemonic.Nop, Mnemonic.Clflush, Mnemonic.Clflushopt, Mnemonic.Clwb,
            Mnemonic.Movsb, Mnemonic.Movsw, Mnemonic.Movsd, Mnemonic.Movsq, Mnemonic.Stosb, Mnemonic.Stosw, Mnemonic.Stosd,
            Mnemonic.Stosq, Mnemonic.Lodsb, Mnemonic.Lodsw, Mnemonic.Lodsd, Mnemonic.Lodsq, Mnemonic.Scasb, Mnemonic.Scasw,
            Mnemonic.Scasd, Mnemonic.Scasq, Mnemonic.Cmpsb, Mnemonic.Cmpsw, Mnemonic.Cmpsd, Mnemonic.Cmpsq);
        for (var m = Mnemonic.Seta; m <= Mnemonic.Sets; m++)
        {
            if (m.ToString().StartsWith("Set", StringComparison.Ordinal) && m != Mnemonic.Setssbsy)
            {
                table[m] = 0;
            }
        }

        for (var m = Mnemonic.Cmova; m <= Mnemonic.Cmovs; m++)
        {
            table[m] = 0;
        }

        // Those of shifts depend on the count.
        Add(
            table, 0, Mnemonic.Shl, Mnemonic.Sal, Mnemonic.Shr, Mnemonic.Sar, Mnemonic.Rol, Mnemonic.Ror, Mnemonic.Rcl, Mnemonic.Rcr,
            Mnemonic.Shld, Mnemonic.Shrd);
        Add(table, RFlags.Af, Mnemonic.And, Mnemonic.Or, Mnemonic.Xor, Mnemonic.Test);
        Add(table, SignsAndParity, Mnemonic.Mul, Mnemonic.Imul);
        Add(table, AllSix, Mnemonic.Div, Mnemonic.Idiv);
        Add(table, RFlags.Of | RFlags.Sf | RFlags.Af | RFlags.Pf, Mnemonic.Bt, Mnemonic.Bts, Mnemonic.Btr, Mnemonic.Btc, Mnemonic.Tzcnt, Mnemonic.Lzcnt);
        Add(table, AllSix & ~RFlags.Zf, Mnemonic.Bsf, Mnemonic.Bsr);
        Add(table, RFlags.Af | RFlags.Pf, Mnemonic.Andn, Mnemonic.Blsi, Mnemonic.Blsmsk, Mnemonic.Blsr, Mnemonic.Bzhi);
        Add(table, RFlags.Af | RFlags.Pf | RFlags.Sf, Mnemonic.Bextr);
        return table;
    }

    private static void Add(Dictionary<Mnemonic, uint> table, uint undefined, params ReadOnlySpan<Mnemonic> mnemonics)
    {
        foreach (var mnemonic in mnemonics)
        {
            table[mnemonic] = undefined;
        }
    }
}
