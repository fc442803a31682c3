using System.Text;
using Introspect.Hypervisor.Abi;

namespace Introspect.Daemon.Output;

/// <summary>Names of the bits of control registers and EFER, for the difference between two values.</summary>
internal static class BitNames
{
    private const uint MsrEfer = 0xc000_0080;

    private static readonly Dictionary<int, string> Cr0 = Table(
        (0, "PE"), (1, "MP"), (2, "EM"), (3, "TS"), (4, "ET"), (5, "NE"), (16, "WP"), (18, "AM"),
        (29, "NW"), (30, "CD"), (31, "PG"));

    private static readonly Dictionary<int, string> Cr4 = Table(
        (0, "VME"), (1, "PVI"), (2, "TSD"), (3, "DE"), (4, "PSE"), (5, "PAE"), (6, "MCE"), (7, "PGE"),
        (8, "PCE"), (9, "OSFXSR"), (10, "OSXMMEXCPT"), (11, "UMIP"), (12, "LA57"), (13, "VMXE"),
        (14, "SMXE"), (16, "FSGSBASE"), (17, "PCIDE"), (18, "OSXSAVE"), (20, "SMEP"), (21, "SMAP"),
        (22, "PKE"), (23, "CET"), (24, "PKS"));

    private static readonly Dictionary<int, string> Xcr0 = Table(
        (0, "X87"), (1, "SSE"), (2, "AVX"), (3, "BNDREGS"), (4, "BNDCSR"), (5, "OPMASK"), (6, "ZMM_HI256"),
        (7, "HI16_ZMM"), (9, "PKRU"));

    private static readonly Dictionary<int, string> Efer = Table(
        (0, "SCE"), (8, "LME"), (10, "LMA"), (11, "NXE"), (12, "SVME"), (13, "LMSLE"), (14, "FFXSR"));

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
            line.Append(' ').Append(names is not null && names.TryGetValue(bit, out var name) ? name : $"bit{bit}");
        }
    }

    /// <summary>The mask of a bit by its name, upper or lower case.</summary>
    public static bool TryGetBit(ControlRegisterIndex register, string name, out ulong mask)
    {
        foreach (var (bit, known) in TableOf(register) ?? [])
        {
            if (known.Equals(name, StringComparison.OrdinalIgnoreCase))
            {
                mask = 1UL << bit;
                return true;
            }
        }

        mask = 0;
        return false;
    }

    /// <summary>The names of a register's bits, lowest first; none for one whose bits have no names.</summary>
    public static IReadOnlyCollection<string> NamesOf(ControlRegisterIndex register) => (IReadOnlyCollection<string>?)TableOf(register)?.Values ?? [];

    private static Dictionary<int, string>? TableOf(ControlRegisterIndex register) => register switch
    {
        ControlRegisterIndex.Cr0 => Cr0,
        ControlRegisterIndex.Cr4 => Cr4,
        ControlRegisterIndex.Xcr0 => Xcr0,
        _ => null,
    };

    /// <summary>Appends which bits a write of an MSR sets and clears.</summary>
    public static void AppendMsrChange(StringBuilder line, ulong msr, ulong old, ulong value) =>
        Append(line, msr == MsrEfer ? Efer : null, old, value);

    private static void Append(StringBuilder line, Dictionary<int, string>? names, ulong old, ulong value)
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
            if (names.TryGetValue(bit, out var name))
            {
                line.Append(name);
            }
            else
            {
                line.Append("bit").Append(bit);
            }
        }
    }

    private static Dictionary<int, string> Table(params (int Bit, string Name)[] names) => names.ToDictionary(n => n.Bit, n => n.Name);
}
