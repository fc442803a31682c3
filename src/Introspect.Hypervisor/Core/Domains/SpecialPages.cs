namespace Introspect.Hypervisor.Core.Domains;

/// <summary>
/// The pages that a toolstack gives a PVH domain beside its RAM, just below 0xff000000: where they are and which
/// HVM parameter tells of them, as Xen's domain builder has it.
/// </summary>
internal static class SpecialPages
{
    /// <summary>The gfn behind the last special page (<c>X86_HVM_END_SPECIAL_REGION</c>).</summary>
    public const ulong EndGfn = 0xff000;

    /// <summary>How many there are (<c>X86_HVM_NR_SPECIAL_PAGES</c>).</summary>
    public const int Count = 8;

    /// <summary>The first one's gfn.</summary>
    public const ulong FirstGfn = EndGfn - Count;

    public const ulong PagingRing = FirstGfn;

    /// <summary>The ring of a monitor: <c>HVM_PARAM_MONITOR_RING_PFN</c>.</summary>
    public const ulong MonitorRing = FirstGfn + 1;

    public const ulong SharingRing = FirstGfn + 2;
    public const ulong BufferedIoRequests = FirstGfn + 3;
    public const ulong Xenstore = FirstGfn + 4;
    public const ulong IoRequests = FirstGfn + 5;
    public const ulong IdentityPageTable = FirstGfn + 6;
    public const ulong Console = FirstGfn + 7;

    /// <summary>HVM parameters by number (public/hvm/params.h) with the value that the domain builder sets.</summary>
    public static IReadOnlyList<(uint Parameter, string Name, ulong Value)> Parameters { get; } =
    [
        (1, "HVM_PARAM_STORE_PFN", Xenstore),
        (5, "HVM_PARAM_IOREQ_PFN", IoRequests),
        (6, "HVM_PARAM_BUFIOREQ_PFN", BufferedIoRequests),
        (12, "HVM_PARAM_IDENT_PT", IdentityPageTable << Gfn.PageShift),
        (17, "HVM_PARAM_CONSOLE_PFN", Console),
        (27, "HVM_PARAM_PAGING_RING_PFN", PagingRing),
        (28, "HVM_PARAM_MONITOR_RING_PFN", MonitorRing),
        (29, "HVM_PARAM_SHARING_RING_PFN", SharingRing),
    ];
}
