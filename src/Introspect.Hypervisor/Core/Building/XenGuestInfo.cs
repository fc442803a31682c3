using System.Buffers.Binary;

namespace Introspect.Hypervisor.Core.Building;

/// <summary>Where an image says what it is to Xen.</summary>
internal enum XenInfoSource
{
    /// <summary>Nowhere.</summary>
    None,

    /// <summary>In notes named "Xen".</summary>
    Notes,

    /// <summary>In the section <c>__xen_guest</c>.</summary>
    GuestSection,
}

/// <summary>What a 32-bit PV image knows of PAE.</summary>
internal enum XenPaeMode
{
    /// <summary>Nothing.</summary>
    None,

    /// <summary>It needs it, with page directories below 4 GiB.</summary>
    Yes,

    /// <summary>It needs it, and its page directories may lie anywhere.</summary>
    ExtendedCr3,

    /// <summary>It runs with it and without it.</summary>
    Bimodal,
}

/// <summary>Where a PVH image may be loaded other than where it was linked (note PHYS32_RELOC).</summary>
/// <param name="Alignment">Of its first byte; null: that of its segments.</param>
/// <param name="Lowest">The lowest address of its first byte.</param>
/// <param name="Highest">The highest address of its last byte.</param>
internal sealed record XenRelocation(uint? Alignment, uint Lowest, uint Highest);

/// <summary>
/// What an image says of itself to Xen, typed: from its notes or, when it has none of Xen's, from the section
/// <c>__xen_guest</c>. A number that is not one of 1, 2, 4 or 8 bytes is as if it were not there.
/// </summary>
internal sealed class XenGuestInfo
{
    private const int PageShift = 12;

    public XenInfoSource Source { get; private set; }

    /// <summary>PHYS32_ENTRY: the entry point of a PVH guest, a physical address.</summary>
    public ulong? Phys32Entry { get; private set; }

    /// <summary>PHYS32_RELOC; null: the image runs where it was linked.</summary>
    public XenRelocation? Relocation { get; private set; }

    /// <summary>ENTRY: the entry point of a PV guest, a virtual address.</summary>
    public ulong? VirtualEntry { get; private set; }

    /// <summary>HYPERCALL_PAGE: the virtual address of the page that Xen fills for a PV guest.</summary>
    public ulong? HypercallPage { get; private set; }

    /// <summary>VIRT_BASE: where a PV guest's memory begins.</summary>
    public ulong? VirtualBase { get; private set; }

    /// <summary>PADDR_OFFSET: what is to be taken from the program headers' physical addresses.</summary>
    public ulong? PhysicalOffset { get; private set; }

    /// <summary>INIT_P2M: where a PV guest wants its table of machine pages.</summary>
    public ulong? InitialP2m { get; private set; }

    /// <summary>HV_START_LOW: the lowest address at which Xen's own range may begin.</summary>
    public ulong? HypervisorStartLow { get; private set; }

    /// <summary>MOD_START_PFN: the initrd need not be mapped.</summary>
    public bool TakesUnmappedInitrd { get; private set; }

    /// <summary>SUSPEND_CANCEL: the guest goes on when a suspend is given up.</summary>
    public bool TakesCancelledSuspend { get; private set; }

    /// <summary>L1_MFN_VALID: masks and values by which a page table entry that is not present still holds a page.</summary>
    public IReadOnlyList<(ulong Mask, ulong Value)> ValidL1 { get; private set; } = [];

    /// <summary>PAE_MODE.</summary>
    public XenPaeMode Pae { get; private set; }

    /// <summary>BSD_SYMTAB: the guest wants its symbol table behind its image.</summary>
    public bool WantsBsdSymbols { get; private set; }

    /// <summary>FEATURES and SUPPORTED_FEATURES.</summary>
    public XenFeatures Features { get; } = new();

    public string? XenVersion { get; private set; }

    public string? GuestOs { get; private set; }

    public string? GuestVersion { get; private set; }

    public string? Loader { get; private set; }

    /// <summary>
    /// What a PV guest adds to a physical address of its program headers for the virtual one. Without PADDR_OFFSET an
    /// image with notes has physical addresses there, one with <c>__xen_guest</c> virtual ones.
    /// </summary>
    public ulong VirtualOffset =>
        unchecked((VirtualBase ?? 0) - (PhysicalOffset ?? (Source == XenInfoSource.GuestSection ? VirtualBase ?? 0 : 0)));

    /// <summary>Reads what an image says.</summary>
    /// <param name="notes">Its notes.</param>
    /// <param name="guestSection">The bytes of its section <c>__xen_guest</c>, empty when it has none.</param>
    public static XenGuestInfo Read(IReadOnlyList<ElfNote> notes, ReadOnlySpan<byte> guestSection)
    {
        XenGuestInfo info = new();
        foreach (ElfNote note in notes)
        {
            if (note.IsXen)
            {
                info.Source = XenInfoSource.Notes;
                info.Take(note);
            }
        }

        if (info.Source == XenInfoSource.None && !guestSection.IsEmpty)
        {
            info.Source = XenInfoSource.GuestSection;
            foreach ((string key, string value) in XenGuestSection.Read(guestSection))
            {
                info.Take(key, value);
            }

            if (info.HypercallPage is { } page && info.VirtualBase is { } start)
            {
                info.HypercallPage = unchecked(page + start);
            }
        }

        return info;
    }

    private void Take(in ElfNote note)
    {
        ulong? number = note.TryGetNumber(out ulong value) ? value : null;
        switch ((XenNoteType)note.Type)
        {
            case XenNoteType.Entry:
                VirtualEntry = number;
                break;
            case XenNoteType.HypercallPage:
                HypercallPage = number;
                break;
            case XenNoteType.VirtBase:
                VirtualBase = number;
                break;
            case XenNoteType.PaddrOffset:
                PhysicalOffset = number;
                break;
            case XenNoteType.XenVersion:
                XenVersion = note.Text;
                break;
            case XenNoteType.GuestOs:
                GuestOs = note.Text;
                break;
            case XenNoteType.GuestVersion:
                GuestVersion = note.Text;
                break;
            case XenNoteType.Loader:
                Loader = note.Text;
                break;
            case XenNoteType.PaeMode:
                Pae = note.Text switch
                {
                    var text when text.Contains("bimodal", StringComparison.Ordinal) => XenPaeMode.Bimodal,
                    "yes" => XenPaeMode.ExtendedCr3,
                    _ => Pae,
                };
                break;
            case XenNoteType.Features:
                Features.AddNames(note.Text);
                break;
            case XenNoteType.BsdSymtab:
                WantsBsdSymbols |= note.Text == "yes";
                break;
            case XenNoteType.HvStartLow:
                HypervisorStartLow = number;
                break;
            case XenNoteType.L1MfnValid:
                ValidL1 = ReadPairs(note.Description.Span);
                break;
            case XenNoteType.SuspendCancel:
                TakesCancelledSuspend = number is not (null or 0);
                break;
            case XenNoteType.InitP2m:
                InitialP2m = number;
                break;
            case XenNoteType.ModStartPfn:
                TakesUnmappedInitrd = number is not (null or 0);
                break;
            case XenNoteType.SupportedFeatures when note.Description.Length >= sizeof(uint) && note.Description.Length % sizeof(uint) == 0:
                // One word for each 32 features; there is only one.
                Features.AddMask(BinaryPrimitives.ReadUInt32LittleEndian(note.Description.Span));
                break;
            case XenNoteType.Phys32Entry:
                Phys32Entry = number;
                break;
            case XenNoteType.Phys32Reloc:
                Relocation = ReadRelocation(note.Description.Span);
                break;
        }
    }

    private void Take(string key, string value)
    {
        switch (key)
        {
            case "LOADER":
                Loader = value;
                break;
            case "GUEST_OS":
                GuestOs = value;
                break;
            case "GUEST_VER":
                GuestVersion = value;
                break;
            case "XEN_VER":
                XenVersion = value;
                break;
            case "PAE":
                Pae = value == "yes[extended-cr3]" ? XenPaeMode.ExtendedCr3 : value.StartsWith("yes", StringComparison.Ordinal) ? XenPaeMode.Yes : Pae;
                break;
            case "BSD_SYMTAB":
                // Here the key alone is the wish, whatever its value.
                WantsBsdSymbols = true;
                break;
            case "VIRT_BASE":
                VirtualBase = XenGuestSection.Number(value);
                break;
            case "VIRT_ENTRY":
                VirtualEntry = XenGuestSection.Number(value);
                break;
            case "ELF_PADDR_OFFSET":
                PhysicalOffset = XenGuestSection.Number(value);
                break;
            case "HYPERCALL_PAGE":
                // A page number, counted from VIRT_BASE.
                HypercallPage = XenGuestSection.Number(value) << PageShift;
                break;
            case "FEATURES":
                Features.AddNames(value);
                break;
        }
    }

    private static (ulong Mask, ulong Value)[] ReadPairs(ReadOnlySpan<byte> bytes)
    {
        const int Pair = 2 * sizeof(ulong);
        (ulong, ulong)[] pairs = new (ulong, ulong)[bytes.Length % Pair == 0 ? bytes.Length / Pair : 0];
        for (int i = 0; i < pairs.Length; i++)
        {
            ReadOnlySpan<byte> pair = bytes.Slice(i * Pair, Pair);
            pairs[i] = (BinaryPrimitives.ReadUInt64LittleEndian(pair), BinaryPrimitives.ReadUInt64LittleEndian(pair[sizeof(ulong)..]));
        }

        return pairs;
    }

    /// <summary>Up to three words: alignment, lowest and highest address.</summary>
    private static XenRelocation ReadRelocation(ReadOnlySpan<byte> bytes) =>
        new(Word(bytes, 0), Word(bytes, 1) ?? 0, Word(bytes, 2) ?? uint.MaxValue);

    private static uint? Word(ReadOnlySpan<byte> bytes, int index) =>
        bytes.Length >= (index + 1) * sizeof(uint) ? BinaryPrimitives.ReadUInt32LittleEndian(bytes[(index * sizeof(uint))..]) : null;
}
