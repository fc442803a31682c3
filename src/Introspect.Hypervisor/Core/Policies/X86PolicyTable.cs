using System.Globalization;
using Introspect.Hypervisor.Abi;

namespace Introspect.Hypervisor.Core.Policies;

/// <summary>The policies of x86, for a translated (PVH or HVM) domain unless the name says PV.</summary>
internal static class X86PolicyTable
{
    private const X86EmulationFlags HardwareEmulators = X86EmulationFlags.Vpci | X86EmulationFlags.Lapic | X86EmulationFlags.IoApic;

    // Stands for what a machine has: a number that is no policy's own.
    private const uint Machines = 23;

    /// <summary>All of them.</summary>
    public static IReadOnlyList<PolicyEntry> All { get; } =
    [
        Of("sees the real CPUID", "arch/x86/cpu/common.c:200", true, DomainPolicies.SeesRealCpuid),
        Of("is offered CPUID faulting", "arch/x86/cpu-policy.c:1063", true, DomainPolicies.MayFaultCpuid),
        Of("is told that the TSC is invariant", "arch/x86/cpu-policy.c:1035", true, DomainPolicies.IsToldInvariantTsc),
        Of("sees performance counters under vpmu=all", "arch/x86/cpu-policy.c:1017", false, static roles => DomainPolicies.SeesPerformanceCounters(roles, ProfilingMode.All)),
        Of("uses performance counters under vpmu=all", "arch/x86/cpu/vpmu.c:132", false, static roles => DomainPolicies.MayUsePerformanceCounters(roles, ProfilingMode.All)),
        Of("obeys a TSC mode", "arch/x86/time.c:2576", false, static roles => DomainPolicies.ObeysTscMode(roles, isPv: false)),
        Of("obeys a TSC mode (PV)", "arch/x86/time.c:2576", false, static roles => DomainPolicies.ObeysTscMode(roles, isPv: true)),
        Of("sets CPU frequencies under cpufreq=dom0-kernel", "include/xen/sched.h:1167", false, static roles => DomainPolicies.ControlsCpuFrequency(roles, isPv: false, CpuFrequencyController.HardwareDomain)),
        Of("sets CPU frequencies under cpufreq=dom0-kernel (PV)", "include/xen/sched.h:1167", false, static roles => DomainPolicies.ControlsCpuFrequency(roles, isPv: true, CpuFrequencyController.HardwareDomain)),
        Of("reads the machine's memory layout MSRs (AMD)", "arch/x86/msr.c:238", false, DomainPolicies.ReadsMachineLayoutMsrs),
        new("variable MTRRs", "arch/x86/hvm/mtrr.c:127", false, static roles => Number((uint)DomainPolicies.MtrrRanges(roles, (int)Machines))),
        Of("keeps pages that a machine check broke", "arch/x86/cpu/mcheck/vmce.c:527", false, DomainPolicies.KeepsBrokenPages),
        Of("gets the machine's interrupts (VIRQ_MCA and others)", "common/event_channel.c:946", false, DomainPolicies.GetsMachineInterrupts),
        Of("keeps executable large pages though ept=no-exec-sp", "arch/x86/hvm/vmx/vmx.c:551", false, static roles => DomainPolicies.KeepsExecutableLargePages(roles, configured: false)),
        new("emulated devices", "arch/x86/domain.c:702", false, Emulators),
        Of("gets an emulated PIT unasked (PV)", "arch/x86/domain.c:774", false, static roles => DomainPolicies.GetsEmulatedPit(roles, isPv: true)),
        Of("reaches the real PIT and speaker by port", "arch/x86/emul-i8254.c:583", false, DomainPolicies.ReachesRealPit),
        Of("reaches the real clock by port", "arch/x86/hvm/rtc.c:846", false, static roles => DomainPolicies.ReachesRealClock(roles, isEmulated: false)),
        Of("has a port bitmap of its own", "arch/x86/hvm/hvm.c:633", false, DomainPolicies.HasOwnPortBitmap),
        new("interrupt lines", "common/domain.c:665", false, Lines),
        new("GSIs", "arch/x86/hvm/hvm.c:608", false, static roles => Number(DomainPolicies.GsiLines(roles, Machines))),
        Of("is pinned at creation under dom0_vcpus_pin", "common/sched/core.c:586", false, static roles => DomainPolicies.IsPinnedAtCreation(roles, configured: true)),
        Of("may override its pinning", "common/sched/core.c:1987", true, DomainPolicies.MayOverridePinning),
        Of("announces PCI devices", "arch/x86/hvm/hypercall.c:100", false, DomainPolicies.MayAnnounceDevices),
        Of("maps any interrupt of the machine", "arch/x86/irq.c:2969", false, DomainPolicies.MayMapAnyInterrupt),
        Of("writes the console as it is", "drivers/char/console.c:612", true, DomainPolicies.WritesRawConsole),
        Of("reads the console", "include/xsm/dummy.h:255", true, DomainPolicies.MayReadConsole),
        new("largest allocation, in pages", "common/memory.c:82", true, static roles => $"2^{DomainPolicies.MaxOrder(roles)}"),
        Of("chooses the NUMA node of its memory", "common/memory.c:532", true, DomainPolicies.MayChooseNode),
        Of("maps device memory into itself", "common/memory.c:1117", true, static roles => DomainPolicies.MayMapDeviceMemory(roles, isSelf: true)),
        new("last frame of the machine-to-physical table (PV)", "arch/x86/mm.c:4850", false, static roles => DomainPolicies.LastMachineFrame(roles, Machines, uint.MaxValue, canGrow: false) < Machines ? "the machine's" : "the table's"),
        Of("is told XENFEAT_dom0", "common/kernel.c:567", true, DomainPolicies.IsToldToBeDomain0),
        Of("manages: domctl, sysctl, command line, build id", "include/xsm/dummy.h:97", true, DomainPolicies.MayManage),
        Of("has reserved memory mapped for its devices", "drivers/passthrough/x86/iommu.c:301", false, static roles => DomainPolicies.IsMappedForDevices(roles, MachineRange.Reserved, new HardwareIommuOptions())),
        Of("keeps a device's reserved regions when it goes", "drivers/passthrough/vtd/iommu.c:2833", false, DomainPolicies.KeepsReservedRegions),
        Of("has its IOMMU kept in step when relaxed (PV)", "drivers/passthrough/iommu.c:219", false, static roles => DomainPolicies.IsIommuKeptInStep(roles, isPv: true, isStrict: false)),
        Of("crashes when its IOMMU refuses a page", "drivers/passthrough/iommu.c:354", false, DomainPolicies.CrashesOnIommuFailure),
        Of("is in the IOMMU dump", "drivers/passthrough/iommu.c:237", false, static roles => DomainPolicies.IsInIommuDump(roles, hasIommu: true)),
        Of("is in the TSC dump, in the default mode", "arch/x86/time.c:2670", false, static roles => DomainPolicies.IsInTscDump(roles, isDefaultMode: true)),
        Of("may own the machine's profiling", "common/xenoprof.c:667", false, DomainPolicies.MayOwnProfiling),
        Of("ends the machine with its shutdown", "common/domain.c:1033", true, DomainPolicies.EndsMachine),
        Of("can be saved", "arch/x86/cpu-policy.c:1030", true, DomainPolicies.MaySave),
        Of("can be migrated", "arch/x86/cpu-policy.c:1030", true, DomainPolicies.MayMigrate),
    ];

    private static PolicyEntry Of(string name, string site, bool isWired, Func<DomainRoles, bool> decide) =>
        PolicyEntry.YesOrNo(name, site, isWired, decide);

    private static string Emulators(DomainRoles roles) =>
        DomainPolicies.MayHaveEmulators(roles, HardwareEmulators) ? "LAPIC, IO-APIC, PCI configuration" : "LAPIC, or all of a PC's";

    private static string Lines(DomainRoles roles) =>
        DomainPolicies.InterruptLines(roles, Machines, most: uint.MaxValue, hardwareDefault: 0) is not 0 and var lines
            ? $"the machine's GSIs + {lines - Machines}"
            : "the machine's default";

    private static string Number(uint decided) => decided == Machines ? "the machine's" : decided.ToString(CultureInfo.InvariantCulture);
}
