using System.Diagnostics.CodeAnalysis;

namespace Introspect.Rules.Names;

/// <summary>Names of the model specific registers that people watch, as the processor manuals (and, for its own, Xen) have them.</summary>
internal static class MsrNames
{
    private static readonly Dictionary<uint, string> ByNumber = new()
    {
        [0x10] = "tsc",
        [0x1b] = "apic_base",
        [0x3a] = "feature_control",
        [0x3b] = "tsc_adjust",
        [0x48] = "spec_ctrl",
        [0x49] = "pred_cmd",
        [0x174] = "sysenter_cs",
        [0x175] = "sysenter_esp",
        [0x176] = "sysenter_eip",
        [0x17a] = "mcg_status",
        [0x1a0] = "misc_enable",
        [0x1d9] = "debugctl",
        [0x277] = "pat",
        [0x2ff] = "mtrr_def_type",
        [0x570] = "rtit_ctl",
        [0x6a0] = "u_cet",
        [0x6a2] = "s_cet",
        [0x6e0] = "tsc_deadline",
        [0x808] = "x2apic_tpr",
        [0x80b] = "x2apic_eoi",
        [0x80f] = "x2apic_sivr",
        [0x830] = "x2apic_icr",
        [0xda0] = "xss",
        [0x4000_0000] = "hypercall_page",
        [0xc000_0080] = "efer",
        [0xc000_0081] = "star",
        [0xc000_0082] = "lstar",
        [0xc000_0083] = "cstar",
        [0xc000_0084] = "fmask",
        [0xc000_0100] = "fs_base",
        [0xc000_0101] = "gs_base",
        [0xc000_0102] = "kernel_gs_base",
        [0xc000_0103] = "tsc_aux",
    };

    private static readonly Dictionary<string, uint> ByName = ByNumber.ToDictionary(p => p.Value, p => p.Key, StringComparer.OrdinalIgnoreCase);

    /// <summary>Those of which <c>--all</c> asks: the ones that tell where the kernel is entered and what the CPU may do.</summary>
    public static IReadOnlyList<uint> Usual { get; } =
    [
        0x174, 0x175, 0x176, 0xc000_0080, 0xc000_0081, 0xc000_0082, 0xc000_0083, 0xc000_0084,
        0xc000_0100, 0xc000_0101, 0xc000_0102, 0xc000_0103,
    ];

    /// <summary>Every name and its number.</summary>
    public static IEnumerable<(uint Number, string Name)> Everything => ByNumber.Select(p => (p.Key, p.Value));

    /// <summary>Every name.</summary>
    public static IEnumerable<string> All => ByName.Keys.Order(StringComparer.Ordinal);

    /// <summary>The name of a register.</summary>
    public static bool TryGetName(ulong number, [NotNullWhen(true)] out string? name)
    {
        name = null;
        return number <= uint.MaxValue && ByNumber.TryGetValue((uint)number, out name);
    }

    /// <summary>The number of a name.</summary>
    public static bool TryGetNumber(string name, out uint number) => ByName.TryGetValue(name, out number);
}
