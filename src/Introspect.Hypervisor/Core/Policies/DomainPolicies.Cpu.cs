namespace Introspect.Hypervisor.Core.Policies;

/// <summary>Who drives the frequency of the machine's CPUs (<c>cpufreq=</c>).</summary>
internal enum CpuFrequencyController
{
    /// <summary>Nobody.</summary>
    None,

    /// <summary>The hardware domain's kernel, with the MSRs for it (<c>FREQCTL_dom0_kernel</c>).</summary>
    HardwareDomain,

    /// <summary>The hypervisor.</summary>
    Hypervisor,
}

/// <summary>Who may have the performance counters (<c>vpmu=</c>).</summary>
internal enum ProfilingMode
{
    /// <summary>Nobody (<c>XENPMU_MODE_OFF</c>).</summary>
    Off,

    /// <summary>Each domain its own (<c>XENPMU_MODE_SELF</c>).</summary>
    Self,

    /// <summary>The hardware domain also those of the hypervisor (<c>XENPMU_MODE_HV</c>).</summary>
    Hypervisor,

    /// <summary>The hardware domain those of the whole machine (<c>XENPMU_MODE_ALL</c>).</summary>
    All,
}

/// <summary>CPUID, MSRs, TSC, machine checks.</summary>
internal static partial class DomainPolicies
{
    // MTRRs that Xen gives a domain which has none of a machine's, and the most that it can hold.
    private const int OrdinaryMtrrRanges = 8;
    private const int MaxMtrrRanges = 40;

    /// <summary>
    /// It sees the CPUID of the machine, and not what a configuration left of it: a toolstack and drivers build on what
    /// the CPU really has.
    /// </summary>
    public static bool SeesRealCpuid(DomainRoles roles) => roles != DomainRoles.None;

    /// <summary>
    /// CPUID in its user space can be made to fault, for what is told to be the configuration's. Who sees the real one
    /// is not offered it.
    /// </summary>
    public static bool MayFaultCpuid(DomainRoles roles) => !SeesRealCpuid(roles);

    /// <summary>It is told that the TSC is invariant (<c>ITSC</c>): true for good where it cannot move to another machine.</summary>
    public static bool IsToldInvariantTsc(DomainRoles roles) => !MayMigrate(roles);

    /// <summary>CPUID leaf 10 tells of performance counters.</summary>
    public static bool SeesPerformanceCounters(DomainRoles roles, ProfilingMode mode) =>
        mode != ProfilingMode.Off && (mode != ProfilingMode.All || IsHardware(roles));

    /// <summary>It may use the performance counters, now that they are shared out in this mode.</summary>
    public static bool MayUsePerformanceCounters(DomainRoles roles, ProfilingMode mode) => SeesPerformanceCounters(roles, mode);

    /// <summary>What it asks for as its TSC mode counts. A PV hardware domain has the real TSC, whatever is asked.</summary>
    public static bool ObeysTscMode(DomainRoles roles, bool isPv) => !(isPv && IsHardware(roles));

    /// <summary>
    /// It has the MSRs that set the frequency of the CPUs: a PV hardware domain to whose kernel that was left, since a
    /// translated domain's vCPUs are on no CPU of their own.
    /// </summary>
    public static bool ControlsCpuFrequency(DomainRoles roles, bool isPv, CpuFrequencyController controller) =>
        isPv && IsHardware(roles) && controller == CpuFrequencyController.HardwareDomain;

    /// <summary>It reads the memory layout MSRs of an AMD machine (SYSCFG, TOP_MEM, IORRs, TSEG) with the machine's values.</summary>
    public static bool ReadsMachineLayoutMsrs(DomainRoles roles) => IsHardware(roles);

    /// <summary>How many variable-range MTRRs it has: the machine's with their values, or Xen's own number of empty ones.</summary>
    public static int MtrrRanges(DomainRoles roles, int machineRanges) =>
        IsHardware(roles) ? Math.Min(machineRanges, MaxMtrrRanges) : OrdinaryMtrrRanges;

    /// <summary>
    /// A page that a machine check broke stays in its physmap: its own machine-check handler is trusted to leave it
    /// alone. From others the page is taken away.
    /// </summary>
    public static bool KeepsBrokenPages(DomainRoles roles) => IsHardware(roles);

    /// <summary>It is told of machine checks (<c>VIRQ_MCA</c>) and of the machine's other global interrupts, unless they were given to another domain.</summary>
    public static bool GetsMachineInterrupts(DomainRoles roles) => IsHardware(roles);

    /// <summary>
    /// Large pages that a guest can execute from are kept as they are, at the risk of a machine check that stops the
    /// machine (CVE-2018-12207): who may reboot it anyway needs no fence against that.
    /// </summary>
    public static bool KeepsExecutableLargePages(DomainRoles roles, bool configured) => IsHardware(roles) || configured;
}
