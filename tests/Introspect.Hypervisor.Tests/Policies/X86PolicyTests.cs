using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Policies;

namespace Introspect.Hypervisor.Tests.Policies;

/// <summary>Each policy for an ordinary, a control and a hardware domain, and for one that is both.</summary>
public sealed class X86PolicyTests
{
    /// <summary>What is expected of each, written by hand: ordinary, control, hardware, both.</summary>
    public static TheoryData<string, string, string, string, string> Expected => new()
    {
        { "sees the real CPUID", "no", "yes", "yes", "yes" },
        { "is offered CPUID faulting", "yes", "no", "no", "no" },
        { "is told that the TSC is invariant", "no", "no", "yes", "yes" },
        { "sees performance counters under vpmu=all", "no", "no", "yes", "yes" },
        { "uses performance counters under vpmu=all", "no", "no", "yes", "yes" },
        { "obeys a TSC mode", "yes", "yes", "yes", "yes" },
        { "obeys a TSC mode (PV)", "yes", "yes", "no", "no" },
        { "sets CPU frequencies under cpufreq=dom0-kernel", "no", "no", "no", "no" },
        { "sets CPU frequencies under cpufreq=dom0-kernel (PV)", "no", "no", "yes", "yes" },
        { "reads the machine's memory layout MSRs (AMD)", "no", "no", "yes", "yes" },
        { "variable MTRRs", "8", "8", "the machine's", "the machine's" },
        { "keeps pages that a machine check broke", "no", "no", "yes", "yes" },
        { "gets the machine's interrupts (VIRQ_MCA and others)", "no", "no", "yes", "yes" },
        { "keeps executable large pages though ept=no-exec-sp", "no", "no", "yes", "yes" },
        { "emulated devices", "LAPIC, or all of a PC's", "LAPIC, or all of a PC's", "LAPIC, IO-APIC, PCI configuration", "LAPIC, IO-APIC, PCI configuration" },
        { "gets an emulated PIT unasked (PV)", "no", "no", "yes", "yes" },
        { "reaches the real PIT and speaker by port", "no", "no", "yes", "yes" },
        { "reaches the real clock by port", "no", "no", "yes", "yes" },
        { "has a port bitmap of its own", "no", "no", "yes", "yes" },
        { "interrupt lines", "the machine's GSIs + 32", "the machine's GSIs + 32", "the machine's default", "the machine's default" },
        { "GSIs", "48", "48", "the machine's", "the machine's" },
        { "is pinned at creation under dom0_vcpus_pin", "no", "no", "yes", "yes" },
        { "may override its pinning", "no", "no", "yes", "yes" },
        { "announces PCI devices", "no", "no", "yes", "yes" },
        { "maps any interrupt of the machine", "no", "no", "yes", "yes" },
        { "writes the console as it is", "no", "no", "yes", "yes" },
        { "reads the console", "no", "yes", "no", "yes" },
        { "largest allocation, in pages", "2^9", "2^18", "2^12", "2^18" },
        { "chooses the NUMA node of its memory", "no", "yes", "yes", "yes" },
        { "maps device memory into itself", "no", "no", "yes", "yes" },
        { "last frame of the machine-to-physical table (PV)", "the table's", "the table's", "the machine's", "the machine's" },
        { "is told XENFEAT_dom0", "no", "no", "yes", "yes" },
        { "manages: domctl, sysctl, command line, build id", "no", "yes", "no", "yes" },
        { "has reserved memory mapped for its devices", "no", "no", "yes", "yes" },
        { "keeps a device's reserved regions when it goes", "no", "no", "yes", "yes" },
        { "has its IOMMU kept in step when relaxed (PV)", "yes", "yes", "no", "no" },
        { "crashes when its IOMMU refuses a page", "yes", "yes", "no", "no" },
        { "is in the IOMMU dump", "yes", "yes", "no", "no" },
        { "is in the TSC dump, in the default mode", "yes", "yes", "no", "no" },
        { "may own the machine's profiling", "no", "no", "yes", "yes" },
        { "ends the machine with its shutdown", "no", "no", "yes", "yes" },
        { "can be saved", "yes", "yes", "no", "no" },
        { "can be migrated", "yes", "yes", "no", "no" },
    };

    [Theory]
    [MemberData(nameof(Expected))]
    public void A_policy_decides_for_all_four_combinations(string name, string ordinary, string control, string hardware, string both)
    {
        var policy = Assert.Single(X86PolicyTable.All, policy => policy.Name == name);
        Assert.Equal([ordinary, control, hardware, both], PolicyEntry.Columns.Select(policy.Decide));
    }

    [Fact]
    public void Every_policy_is_expected_something_of()
    {
        Assert.Equal(X86PolicyTable.All.Select(policy => policy.Name).Order(), Expected.Select(row => (string)row[0]).Order());
        Assert.All(X86PolicyTable.All, policy => Assert.Matches("^[a-z0-9/_-]+\\.[ch]:[0-9]+$", policy.Site));
    }

    [Theory]
    [InlineData(DomainRoles.None, 24 + 32)]
    [InlineData(DomainRoles.Control, 24 + 32)]
    [InlineData(DomainRoles.Hardware, 800)]
    [InlineData(DomainRoles.Both, 800)]
    internal void Interrupt_lines_are_the_machines_and_the_configured_ones(DomainRoles roles, uint expected)
    {
        Assert.Equal(expected, DomainPolicies.InterruptLines(roles, machineLines: 24, most: 1000, hardwareDefault: 800));
        var configured = DomainPolicies.InterruptLines(roles, machineLines: 24, most: 1000, hardwareDefault: 800, extra: 5, extraHardware: 7);
        Assert.Equal(roles.HasFlag(DomainRoles.Hardware) ? 31u : 29u, configured);
        Assert.Equal(40u, DomainPolicies.InterruptLines(roles, machineLines: 24, most: 40, hardwareDefault: 800));
        Assert.Equal(roles.HasFlag(DomainRoles.Hardware) ? 24u : 48u, DomainPolicies.GsiLines(roles, 24));
    }

    [Fact]
    public void Nobody_is_pinned_unless_that_was_configured() =>
        Assert.All(PolicyEntry.Columns, roles => Assert.False(DomainPolicies.IsPinnedAtCreation(roles, configured: false)));

    [Fact]
    public void Performance_counters_are_everybodys_unless_they_are_off_or_the_whole_machines()
    {
        foreach (var roles in PolicyEntry.Columns)
        {
            Assert.False(DomainPolicies.SeesPerformanceCounters(roles, ProfilingMode.Off));
            Assert.True(DomainPolicies.MayUsePerformanceCounters(roles, ProfilingMode.Self));
            Assert.True(DomainPolicies.MayUsePerformanceCounters(roles, ProfilingMode.Hypervisor));
        }
    }

    [Theory]
    [InlineData(CpuFrequencyController.None)]
    [InlineData(CpuFrequencyController.Hypervisor)]
    internal void Nobody_sets_frequencies_that_were_not_left_to_the_hardware_domain(CpuFrequencyController controller) =>
        Assert.All(PolicyEntry.Columns, roles => Assert.False(DomainPolicies.ControlsCpuFrequency(roles, isPv: true, controller)));

    [Fact]
    public void A_hardware_domain_has_the_machines_mtrrs_up_to_what_it_can_hold()
    {
        Assert.Equal(10, DomainPolicies.MtrrRanges(DomainRoles.Hardware, 10));
        Assert.Equal(40, DomainPolicies.MtrrRanges(DomainRoles.Both, 64));
        Assert.Equal(8, DomainPolicies.MtrrRanges(DomainRoles.Control, 10));
    }

    [Fact]
    public void Only_PVs_get_a_PIT_unasked_and_who_has_an_emulated_clock_does_not_reach_the_real_one()
    {
        Assert.All(PolicyEntry.Columns, roles => Assert.False(DomainPolicies.GetsEmulatedPit(roles, isPv: false)));
        Assert.All(PolicyEntry.Columns, roles => Assert.False(DomainPolicies.ReachesRealClock(roles, isEmulated: true)));
    }

    [Theory]
    [InlineData(X86EmulationFlags.Lapic, true, false)]
    [InlineData(X86EmulationFlags.All & ~X86EmulationFlags.Vpci, true, false)]
    [InlineData(X86EmulationFlags.Vpci | X86EmulationFlags.Lapic | X86EmulationFlags.IoApic, false, true)]
    [InlineData(X86EmulationFlags.All, false, false)]
    [InlineData(X86EmulationFlags.None, false, false)]
    internal void Emulators_are_those_of_a_kind_of_domain(X86EmulationFlags flags, bool ordinary, bool hardware)
    {
        Assert.Equal(ordinary, DomainPolicies.MayHaveEmulators(DomainRoles.None, flags));
        Assert.Equal(ordinary, DomainPolicies.MayHaveEmulators(DomainRoles.Control, flags));
        Assert.Equal(hardware, DomainPolicies.MayHaveEmulators(DomainRoles.Hardware, flags));
        Assert.Equal(hardware, DomainPolicies.MayHaveEmulators(DomainRoles.Both, flags));
    }

    [Fact]
    public void The_memory_map_limit_is_the_machines_for_the_hardware_domain_unless_memory_can_be_plugged_in()
    {
        foreach (var roles in PolicyEntry.Columns)
        {
            var isHardware = roles.HasFlag(DomainRoles.Hardware);
            Assert.Equal(isHardware ? 99UL : 999UL, DomainPolicies.LastMachineFrame(roles, machineFrames: 100, tableFrames: 1000, canGrow: false));
            Assert.Equal(999UL, DomainPolicies.LastMachineFrame(roles, machineFrames: 100, tableFrames: 1000, canGrow: true));
        }
    }

    [Fact]
    public void Device_memory_is_not_mapped_into_others() =>
        Assert.All(PolicyEntry.Columns, roles => Assert.False(DomainPolicies.MayMapDeviceMemory(roles, isSelf: false)));

    [Theory]
    [InlineData(MachineRange.Ram, true, false, false)]
    [InlineData(MachineRange.Reserved, true, false, true)]
    [InlineData(MachineRange.Reserved, false, false, false)]
    [InlineData(MachineRange.Reserved, true, true, false)]
    [InlineData(MachineRange.Hole, true, false, false)]
    [InlineData(MachineRange.Unusable, true, false, false)]
    internal void The_hardware_domains_devices_reach_reserved_memory_and_nothing_else_beside_its_pages(MachineRange range, bool mapReserved, bool none, bool expected)
    {
        var options = new HardwareIommuOptions(mapReserved, none);
        Assert.Equal(expected, DomainPolicies.IsMappedForDevices(DomainRoles.Hardware, range, options));
        Assert.Equal(expected, DomainPolicies.IsMappedForDevices(DomainRoles.Both, range, options));
        Assert.False(DomainPolicies.IsMappedForDevices(DomainRoles.Control, range, options));
        Assert.False(DomainPolicies.IsMappedForDevices(DomainRoles.None, range, options));
    }

    [Fact]
    public void The_iommu_of_a_translated_or_strict_domain_is_always_kept_in_step()
    {
        Assert.All(PolicyEntry.Columns, roles => Assert.True(DomainPolicies.IsIommuKeptInStep(roles, isPv: false, isStrict: false)));
        Assert.All(PolicyEntry.Columns, roles => Assert.True(DomainPolicies.IsIommuKeptInStep(roles, isPv: true, isStrict: true)));
    }

    [Fact]
    public void Dumps_leave_out_who_has_nothing_to_show()
    {
        Assert.All(PolicyEntry.Columns, roles => Assert.False(DomainPolicies.IsInIommuDump(roles, hasIommu: false)));
        Assert.All(PolicyEntry.Columns, roles => Assert.True(DomainPolicies.IsInTscDump(roles, isDefaultMode: false)));
    }

    [Fact]
    public void Profiling_has_one_owner_which_is_the_hardware_domain_as_long_as_the_machine_runs()
    {
        var profiling = new ProfilingOwner();
        Assert.False(profiling.Join(new(3), DomainRoles.None));
        Assert.False(profiling.Join(new(4), DomainRoles.Control));
        Assert.Null(profiling.Owner);
        Assert.True(profiling.Join(new(5), DomainRoles.Hardware));
        Assert.False(profiling.Join(new(6), DomainRoles.Both));
        Assert.True(profiling.Join(new(5), DomainRoles.None));
        Assert.Equal(new DomainId(5), profiling.Owner);
    }

    [Fact]
    public void To_save_the_hardware_domain_is_EPERM_by_its_name()
    {
        DomainPolicies.CheckSave(new(7), DomainRoles.Control);
        var refused = Assert.Throws<HypervisorException>(() => DomainPolicies.CheckSave(new(7), DomainRoles.Hardware));
        Assert.Equal(Errno.EPERM, refused.Error);
        Assert.Contains("domain 7 is the hardware domain", refused.Message, StringComparison.Ordinal);
    }
}
