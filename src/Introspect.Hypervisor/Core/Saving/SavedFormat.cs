namespace Introspect.Hypervisor.Core.Saving;

/// <summary>
/// Kinds of records in a saved domain. They come in the order of these numbers, which is the order in which a domain is
/// built from them.
/// </summary>
internal enum SavedKind : uint
{
    /// <summary>The last: how many records and bytes came before, and the checksum of them all.</summary>
    End = 0,

    /// <summary>What createdomain is told, and the name. The first, and one.</summary>
    Domain = 1,

    /// <summary>What CPUID told the domain. The second, and one.</summary>
    CpuPolicy = 2,

    /// <summary>HVM parameters that are not 0.</summary>
    Parameters = 3,

    /// <summary>What XENMEM_memory_map tells.</summary>
    MemoryMap = 4,

    /// <summary>Runs of frames that have a page.</summary>
    Frames = 5,

    /// <summary>Contents of pages that are not all zero.</summary>
    Pages = 6,

    /// <summary>The shared_info page, and where it is mapped.</summary>
    SharedInfo = 7,

    /// <summary>A frame of the grant table.</summary>
    GrantFrame = 8,

    /// <summary>Where vCPUs keep their vcpu_info.</summary>
    VcpuInfo = 9,

    /// <summary>The hvm context, as XEN_DOMCTL_gethvmcontext gives it. One.</summary>
    HvmContext = 10,

    /// <summary>State of which Xen's context has no record.</summary>
    Section = 11,

    /// <summary>Where the turns of vCPUs stand that run on one thread.</summary>
    Interleaving = 12,

    /// <summary>Text and input of the console.</summary>
    Console = 13,

    /// <summary>What a toolstack keeps with the domain, by a name.</summary>
    Extra = 14,

    /// <summary>What the domain is to xenstore, as far as it goes: several make one.</summary>
    Store = 15,
}

/// <summary>
/// A saved domain as bytes: a header, records, and a record that ends it. Numbers are little-endian, and nothing is aligned.
/// </summary>
internal static class SavedFormat
{
    /// <summary>Version of the format. A reader takes this one and no other.</summary>
    public const uint Version = 1;

    /// <summary>The one architecture there is: x86, an HVM (PVH) domain.</summary>
    public const uint ArchitectureX86 = 1;

    /// <summary>Bytes of the header: magic (16), version (4), architecture (4), nothing yet (4), checksum of what is before it (4).</summary>
    public const int HeaderBytes = 32;

    /// <summary>Where a header's checksum is.</summary>
    public const int HeaderChecksum = 28;

    /// <summary>Bytes before a record's payload: kind (4), bytes of payload (4), checksum of the payload (4), checksum of what is before it (4).</summary>
    public const int PrefixBytes = 16;

    /// <summary>Bytes of the payload of <see cref="SavedKind.End"/>: records (8), bytes before its prefix (8), their checksum (4).</summary>
    public const int EndBytes = 20;

    /// <summary>Most pages in one record of <see cref="SavedKind.Pages"/>.</summary>
    public const int PagesPerRecord = 256;

    /// <summary>Most runs in one record of <see cref="SavedKind.Frames"/>.</summary>
    public const int RunsPerRecord = 4096;

    /// <summary>Bytes of a run: first frame (8), frames (4), type (4).</summary>
    public const int RunBytes = 16;

    /// <summary>Bytes of an HVM parameter: index (4), nothing (4), value (8).</summary>
    public const int ParameterBytes = 16;

    /// <summary>Bytes before a section's state: type code (2), version (2), instance (4).</summary>
    public const int SectionPrefixBytes = 8;

    /// <summary>Most bytes of an extra record's name.</summary>
    public const int MaxExtraName = 64;

    /// <summary>Most bytes of a domain's name.</summary>
    public const int MaxName = 1024;

    private const int Mebibyte = 1 << 20;

    /// <summary>The first bytes of every saved domain.</summary>
    public static ReadOnlySpan<byte> Magic => "IntrospectDomain"u8;

    /// <summary>Most bytes of a record's payload; -1: there is no such kind.</summary>
    public static int MostBytes(SavedKind kind) => kind switch
    {
        SavedKind.End => EndBytes,
        SavedKind.Domain => 4096,
        SavedKind.CpuPolicy => 64 * 1024,
        SavedKind.Parameters => (int)Abi.HvmParam.Count * ParameterBytes,
        SavedKind.MemoryMap => (int)Abi.E820Entry.MaxEntries * 20,
        SavedKind.Frames => RunsPerRecord * RunBytes,
        SavedKind.Pages => 8 + (PagesPerRecord * (8 + Gfn.PageSize)),
        SavedKind.SharedInfo => 8 + Gfn.PageSize,
        SavedKind.GrantFrame => 12 + Gfn.PageSize,
        SavedKind.VcpuInfo => 128 * 16,
        SavedKind.HvmContext => 4 * Mebibyte,
        SavedKind.Section or SavedKind.Console or SavedKind.Extra or SavedKind.Store => Mebibyte,
        SavedKind.Interleaving => 16,
        _ => -1,
    };

    /// <summary>There may be several records of a kind.</summary>
    public static bool MayRepeat(SavedKind kind) =>
        kind is SavedKind.Frames or SavedKind.Pages or SavedKind.GrantFrame or SavedKind.Section or SavedKind.Extra or SavedKind.Store;
}
