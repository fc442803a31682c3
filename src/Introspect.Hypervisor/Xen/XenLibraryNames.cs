namespace Introspect.Hypervisor.Xen;

/// <summary>What a library is called, and who has it.</summary>
/// <param name="Sonames">Its names, the best first.</param>
/// <param name="Package">Debian's package.</param>
internal sealed record XenLibraryNames(IReadOnlyList<string> Sonames, string Package)
{
    /// <summary>Hypercalls as they are.</summary>
    public static XenLibraryNames Call { get; } = new(["libxencall.so.1"], "libxencall1");

    /// <summary>Event channels.</summary>
    public static XenLibraryNames EventChannel { get; } = new(["libxenevtchn.so.1"], "libxenevtchn1");

    /// <summary>Guests' pages.</summary>
    public static XenLibraryNames ForeignMemory { get; } = new(["libxenforeignmemory.so.1"], "libxenforeignmemory1");

    /// <summary>xenstore; Xen 4.14 had it under its old number.</summary>
    public static XenLibraryNames Store { get; } = new(["libxenstore.so.4", "libxenstore.so.3.0"], "libxenstore4");

    /// <summary>
    /// libxenctrl, whose name follows the release: the running one's first, and behind it those that speak the same
    /// version of the interface.
    /// </summary>
    public static XenLibraryNames Control(XenRelease running) => new(
        [
            $"libxenctrl.so.4.{running.Minor}",
            .. XenRelease.All.Where(other => other.Minor != running.Minor && other.Domctl == running.Domctl && other.Sysctl == running.Sysctl)
                .Select(static other => $"libxenctrl.so.4.{other.Minor}"),
        ],
        $"libxenmisc4.{running.Minor}");
}
