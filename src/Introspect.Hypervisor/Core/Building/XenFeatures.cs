namespace Introspect.Hypervisor.Core.Building;

/// <summary>
/// Which of Xen's features (<c>XENFEAT_*</c>) an image can use and which it cannot do without: from the list of names in
/// FEATURES (<c>a|!b</c>, where <c>!</c> requires) and the mask in SUPPORTED_FEATURES.
/// </summary>
internal sealed class XenFeatures
{
    // By bit number (public/features.h).
    private static readonly string[] KnownNames =
    [
        "writable_page_tables", "writable_descriptor_tables", "auto_translated_physmap", "supervisor_mode_kernel", "pae_pgdir_above_4gb",
        "mmu_pt_update_preserve_ad", "highmem_assist", "gnttab_map_avail_bits", "hvm_callback_vector", "hvm_safe_pvclock", "hvm_pirqs",
        "dom0", "grant_map_identity", "memory_op_vnode_supported", "ARM_SMCCC_supported", "linux_rsdp_unrestricted", "not_direct_mapped",
        "direct_mapped",
    ];

    /// <summary>A bit for each feature that the image can use.</summary>
    public uint Supported { get; private set; }

    /// <summary>A bit for each feature that it cannot do without.</summary>
    public uint Required { get; private set; }

    /// <summary>The first name that it requires and nobody knows: Xen does not boot such an image.</summary>
    public string? UnknownRequired { get; private set; }

    /// <summary>The features that the image can use, by name; <c>bit 20</c> for one that has none.</summary>
    public IReadOnlyList<string> SupportedNames => Names(Supported);

    /// <summary>The features that it cannot do without, by name.</summary>
    public IReadOnlyList<string> RequiredNames => Names(Required);

    /// <summary>Adds what SUPPORTED_FEATURES says.</summary>
    public void AddMask(uint mask) => Supported |= mask;

    /// <summary>Adds what FEATURES says. An unknown name that is not required is of a later Xen, and means nothing.</summary>
    public void AddNames(string list)
    {
        foreach (Range range in list.AsSpan().Split('|'))
        {
            ReadOnlySpan<char> name = list.AsSpan()[range];
            bool isRequired = name.StartsWith('!');
            name = isRequired ? name[1..] : name;
            int bit = IndexOf(name);
            if (bit >= 0)
            {
                Supported |= 1u << bit;
                Required |= isRequired ? 1u << bit : 0;
            }
            else if (isRequired)
            {
                UnknownRequired ??= ForPeople(name);
            }
        }
    }

    private static int IndexOf(ReadOnlySpan<char> name)
    {
        for (int i = 0; i < KnownNames.Length; i++)
        {
            if (name.SequenceEqual(KnownNames[i]))
            {
                return i;
            }
        }

        return -1;
    }

    private static IReadOnlyList<string> Names(uint mask) =>
        [.. Enumerable.Range(0, 32).Where(bit => (mask >> bit & 1) != 0).Select(bit => bit < KnownNames.Length ? KnownNames[bit] : $"bit {bit}")];

    // The name is the image's, and goes into a line on somebody's terminal.
    private static string ForPeople(ReadOnlySpan<char> name)
    {
        const int Longest = 64;
        Span<char> text = stackalloc char[Math.Min(name.Length, Longest)];
        for (int i = 0; i < text.Length; i++)
        {
            text[i] = char.IsAscii(name[i]) && !char.IsControl(name[i]) ? name[i] : '?';
        }

        return text.ToString();
    }
}
