namespace Introspect.Hypervisor.Core.Policies;

/// <summary>What a range of a machine's memory map is, as far as the IOMMU's identity map goes.</summary>
internal enum MachineRange
{
    /// <summary>RAM.</summary>
    Ram,

    /// <summary>Reserved by the firmware, which may have devices write there.</summary>
    Reserved,

    /// <summary>Neither: a hole, where devices may be.</summary>
    Hole,

    /// <summary>Broken.</summary>
    Unusable,
}

/// <summary>How the hardware domain's devices reach memory (<c>dom0-iommu=</c>), for a translated one.</summary>
/// <param name="MapReserved">Reserved ranges are mapped for its devices (<c>map-reserved</c>).</param>
/// <param name="IsNone">Its devices go without an IOMMU (<c>none</c>).</param>
internal sealed record HardwareIommuOptions(bool MapReserved = true, bool IsNone = false);

/// <summary>Memory and the IOMMU.</summary>
internal static partial class DomainPolicies
{
    // CONFIG_DOMU_MAX_ORDER, CONFIG_HWDOM_MAX_ORDER and CONFIG_CTLDOM_MAX_ORDER of x86.
    private const uint OrdinaryOrder = 9;
    private const uint HardwareOrder = 12;
    private const uint ControlOrder = 18;

    /// <summary>The largest block of memory that it may ask for at once, as a power of 2 of pages (<c>memop-max-order</c>).</summary>
    public static uint MaxOrder(DomainRoles roles) =>
        IsControl(roles) ? ControlOrder : IsHardware(roles) ? HardwareOrder : OrdinaryOrder;

    /// <summary>It may say from which NUMA node its memory is to come; of others the wish is not heard, and the insistence refused.</summary>
    public static bool MayChooseNode(DomainRoles roles) => roles != DomainRoles.None;

    /// <summary>It may map device memory of the machine into its own physmap (<c>XENMAPSPACE_dev_mmio</c>), and only into its own.</summary>
    public static bool MayMapDeviceMemory(DomainRoles roles, bool isSelf) => isSelf && IsHardware(roles);

    /// <summary>
    /// The last frame of the table that translates the machine's frames (<c>XENMEM_machphys_mapping</c>): the machine's
    /// last one for the hardware domain, when no memory can be plugged in; else as far as the table could go.
    /// </summary>
    public static ulong LastMachineFrame(DomainRoles roles, ulong machineFrames, ulong tableFrames, bool canGrow) =>
        (IsHardware(roles) && !canGrow ? machineFrames : tableFrames) - 1;

    /// <summary>It is told by <c>XENFEAT_dom0</c> that it is the one with the hardware.</summary>
    public static bool IsToldToBeDomain0(DomainRoles roles) => IsHardware(roles);

    /// <summary>It may read the hypervisor's command line and build id, and call the operations of a toolstack (domctl, sysctl).</summary>
    public static bool MayManage(DomainRoles roles) => IsControl(roles);

    /// <summary>A range of the machine's memory is mapped for its devices one to one from the start, beside its own pages.</summary>
    public static bool IsMappedForDevices(DomainRoles roles, MachineRange range, HardwareIommuOptions options) =>
        IsHardware(roles) && !options.IsNone && range == MachineRange.Reserved && options.MapReserved;

    /// <summary>
    /// The reserved ranges that the firmware wants mapped for a device stay mapped in its physmap when the device goes
    /// to another domain: the firmware may go on using them.
    /// </summary>
    public static bool KeepsReservedRegions(DomainRoles roles) => IsHardware(roles);

    /// <summary>The IOMMU follows each change of its pages. A PV hardware domain whose devices reach all memory needs no such care.</summary>
    public static bool IsIommuKeptInStep(DomainRoles roles, bool isPv, bool isStrict) => !IsHardware(roles) || !isPv || isStrict;

    /// <summary>A page that the IOMMU would not map crashes it: that would be the machine's end where it is the hardware domain.</summary>
    public static bool CrashesOnIommuFailure(DomainRoles roles) => !IsHardware(roles);

    /// <summary>Its IOMMU tables are in the dump of them all: those of the hardware domain map the machine.</summary>
    public static bool IsInIommuDump(DomainRoles roles, bool hasIommu) => hasIommu && !IsHardware(roles);

    /// <summary>Its TSC is in the dump of emulated ones: the hardware domain's is only when somebody chose a mode for it.</summary>
    public static bool IsInTscDump(DomainRoles roles, bool isDefaultMode) => !(IsHardware(roles) && isDefaultMode);
}
