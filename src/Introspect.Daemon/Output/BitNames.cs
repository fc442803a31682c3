using System.Text;
using Introspect.Hypervisor.Abi;

namespace Introspect.Daemon.Output;

/// <summary>Names of the bits of control registers and EFER, for the difference between two values.</summary>
internal static class BitNames
{
    /// <summary>Appends which bits a write sets and clears: <c> +SMEP -TS</c>. Nothing for a register without named bits.</summary>
    public static void AppendChange(StringBuilder line, ControlRegisterIndex register, ulong old, ulong value) =>
        Append(line, TableOf(register), old, value);

    /// <summary>Appends the names of the bits that are set: <c> PE PG</c>.</summary>
    public static void AppendSet(StringBuilder line, ControlRegisterIndex register, ulong value)
    {
        var names = TableOf(register);
        for (; value != 0; value &= value - 1)
        {
            var bit = System.Numerics.BitOperations.TrailingZeroCount(value);
            line.Append(' ').Append(names is not null && names.TryGetName(bit, out var name) ? name : $"bit{bit}");
        }
    }

    /// <summary>The mask of a bit by its name, upper or lower case.</summary>
    public static bool TryGetBit(ControlRegisterIndex register, string name, out ulong mask)
    {
        mask = 0;
        return TableOf(register)?.TryGetMask(name, out mask) ?? false;
    }

    /// <summary>The names of a register's bits, lowest first; none for one whose bits have no names.</summary>
    public static IReadOnlyCollection<string> NamesOf(ControlRegisterIndex register) => TableOf(register)?.Names ?? [];

    private static RegisterBits? TableOf(ControlRegisterIndex register) => register switch
    {
        ControlRegisterIndex.Cr0 => RegisterBits.Cr0,
        ControlRegisterIndex.Cr4 => RegisterBits.Cr4,
        ControlRegisterIndex.Xcr0 => RegisterBits.Xcr0,
        _ => null,
    };

    /// <summary>Appends which bits a write of an MSR sets and clears.</summary>
    public static void AppendMsrChange(StringBuilder line, ulong msr, ulong old, ulong value) =>
        Append(line, msr == Msr.Efer ? RegisterBits.Efer : null, old, value);

    private static void Append(StringBuilder line, RegisterBits? names, ulong old, ulong value)
    {
        if (names is null)
        {
            return;
        }

        var changed = old ^ value;
        while (changed != 0)
        {
            var bit = System.Numerics.BitOperations.TrailingZeroCount(changed);
            changed &= changed - 1;
            line.Append(' ').Append((value >> bit & 1) != 0 ? '+' : '-');
            if (names.TryGetName(bit, out var name))
            {
                line.Append(name);
            }
            else
            {
                line.Append("bit").Append(bit);
            }
        }
    }
}
