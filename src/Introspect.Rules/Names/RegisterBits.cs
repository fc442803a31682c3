using System.Diagnostics.CodeAnalysis;

namespace Introspect.Rules.Names;

/// <summary>Names of the bits of a register, as the processor manuals have them.</summary>
internal sealed class RegisterBits
{
    private readonly Dictionary<int, string> _names;

    private RegisterBits(string register, params (int Bit, string Name)[] names)
    {
        Register = register;
        _names = names.ToDictionary(n => n.Bit, n => n.Name);
    }

    public static RegisterBits Cr0 { get; } = new(
        "CR0",
        (0, "PE"), (1, "MP"), (2, "EM"), (3, "TS"), (4, "ET"), (5, "NE"), (16, "WP"), (18, "AM"),
        (29, "NW"), (30, "CD"), (31, "PG"));

    public static RegisterBits Cr4 { get; } = new(
        "CR4",
        (0, "VME"), (1, "PVI"), (2, "TSD"), (3, "DE"), (4, "PSE"), (5, "PAE"), (6, "MCE"), (7, "PGE"),
        (8, "PCE"), (9, "OSFXSR"), (10, "OSXMMEXCPT"), (11, "UMIP"), (12, "LA57"), (13, "VMXE"),
        (14, "SMXE"), (16, "FSGSBASE"), (17, "PCIDE"), (18, "OSXSAVE"), (20, "SMEP"), (21, "SMAP"),
        (22, "PKE"), (23, "CET"), (24, "PKS"));

    public static RegisterBits Xcr0 { get; } = new(
        "XCR0",
        (0, "X87"), (1, "SSE"), (2, "AVX"), (3, "BNDREGS"), (4, "BNDCSR"), (5, "OPMASK"), (6, "ZMM_HI256"),
        (7, "HI16_ZMM"), (9, "PKRU"));

    public static RegisterBits Efer { get; } = new(
        "EFER",
        (0, "SCE"), (8, "LME"), (10, "LMA"), (11, "NXE"), (12, "SVME"), (13, "LMSLE"), (14, "FFXSR"));

    public static RegisterBits Rflags { get; } = new(
        "RFLAGS",
        (0, "CF"), (2, "PF"), (4, "AF"), (6, "ZF"), (7, "SF"), (8, "TF"), (9, "IF"), (10, "DF"), (11, "OF"),
        (14, "NT"), (16, "RF"), (17, "VM"), (18, "AC"), (19, "VIF"), (20, "VIP"), (21, "ID"));

    public static RegisterBits Dr6 { get; } = new(
        "DR6",
        (0, "B0"), (1, "B1"), (2, "B2"), (3, "B3"), (13, "BD"), (14, "BS"), (15, "BT"), (16, "RTM"));

    /// <summary>Every register whose bits have names.</summary>
    public static IReadOnlyList<RegisterBits> All { get; } = [Cr0, Cr4, Xcr0, Efer, Rflags, Dr6];

    /// <summary>The register's name.</summary>
    public string Register { get; }

    /// <summary>The names, lowest bit first.</summary>
    public IReadOnlyCollection<string> Names => _names.Values;

    /// <summary>The register of a name, upper or lower case.</summary>
    public static RegisterBits? Find(string register) => All.FirstOrDefault(r => r.Register.Equals(register, StringComparison.OrdinalIgnoreCase));

    /// <summary>The name of a bit.</summary>
    public bool TryGetName(int bit, [NotNullWhen(true)] out string? name) => _names.TryGetValue(bit, out name);

    /// <summary>The mask of a bit by its name, upper or lower case.</summary>
    public bool TryGetMask(string name, out ulong mask)
    {
        foreach (var (bit, known) in _names)
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
}
