using Introspect.Hypervisor.Abi;

namespace Introspect.Hypervisor.Xen;

/// <summary>What of Xen's interface differs from release to release.</summary>
internal sealed record XenRelease
{
    // Where a domain's architecture settings are in getdomaininfo; the width of the guest's addresses came before them.
    private const int SinceGpaddrBits = 16;
    private const int ArchAt = 104;
    private const int ArchAtBefore = 96;
    private const int ArchBytes = 8;
    private const int FirstMinor = 14;
    private const int LastMinor = 22;

    private XenRelease(int minor)
    {
        Minor = minor;
        Domctl = XenInterface.DomctlVersion(minor);
        Sysctl = XenInterface.SysctlVersion(minor);
        VmEvent = XenInterface.VmEventVersion(minor);
    }

    /// <summary>The releases that are known, the oldest first.</summary>
    public static IReadOnlyList<XenRelease> All { get; } = [.. Enumerable.Range(FirstMinor, LastMinor - FirstMinor + 1).Select(static minor => new XenRelease(minor))];

    /// <summary>The number behind <c>4.</c>.</summary>
    public int Minor { get; }

    /// <summary><c>XEN_DOMCTL_INTERFACE_VERSION</c>.</summary>
    public uint Domctl { get; }

    /// <summary><c>XEN_SYSCTL_INTERFACE_VERSION</c>.</summary>
    public uint Sysctl { get; }

    /// <summary><c>VM_EVENT_INTERFACE_VERSION</c>.</summary>
    public uint VmEvent { get; }

    /// <summary><c>xc_monitor_vmexit</c> is there.</summary>
    public bool HasVmExit => Minor >= 17;

    /// <summary>A fork can be taken back in part; before, it is all of it, and there are no flags for it.</summary>
    public bool HasPartialForkReset => Minor >= 17;

    /// <summary><c>xc_monitor_io</c> is there.</summary>
    public bool HasIo => Minor >= 18;

    /// <summary><c>XENMEM_access_r_pw</c> is there, with the number that the default had before.</summary>
    public bool HasReadPageWalk => Minor >= 20;

    /// <summary>Offset of <c>arch_config</c> in <c>xen_domctl_getdomaininfo</c>.</summary>
    public int DomainInfoArchOffset => Minor >= SinceGpaddrBits ? ArchAt : ArchAtBefore;

    /// <summary>Bytes of <c>xen_domctl_getdomaininfo</c>.</summary>
    public int DomainInfoBytes => DomainInfoArchOffset + ArchBytes;

    /// <summary>The fields of <c>xen_domctl_createdomain</c> between <c>max_maptrack_frames</c> and <c>arch</c>.</summary>
    public (bool GrantOpts, bool AltP2m, bool VmtraceSize, bool CpupoolId) CreateDomainFields =>
        (Minor >= 16, Minor >= 19, Minor >= 15, Minor >= 17);

    /// <summary><c>xen_arch_domainconfig</c> has <c>misc_flags</c>.</summary>
    public bool HasMiscFlags => Minor >= 15;

    /// <summary>A release by its number.</summary>
    /// <exception cref="HypervisorException">EOPNOTSUPP: it is not known here.</exception>
    public static XenRelease For(int major, int minor) => major == XenInterface.CoreMajor && minor is >= FirstMinor and <= LastMinor
        ? All[minor - FirstMinor]
        : throw new HypervisorException(Errno.EOPNOTSUPP, $"this is Xen {major}.{minor}: only 4.{FirstMinor} to 4.{LastMinor} are known here");

    /// <summary>The number that this release has for an access; 255, which no release has, where it does not know it.</summary>
    public byte ToWire(byte access) => (MemoryAccess)access switch
    {
        MemoryAccess.Default => HasReadPageWalk ? (byte)11 : (byte)10,
        MemoryAccess.RPw => HasReadPageWalk ? (byte)10 : byte.MaxValue,
        _ => access,
    };

    /// <summary>The access that a number of this release means.</summary>
    public byte FromWire(byte access) => (access, HasReadPageWalk) switch
    {
        (10, true) => (byte)MemoryAccess.RPw,
        (11, true) => (byte)MemoryAccess.Default,
        _ => access,
    };
}
