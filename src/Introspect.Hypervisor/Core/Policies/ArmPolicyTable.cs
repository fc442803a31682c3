using System.Globalization;

namespace Introspect.Hypervisor.Core.Policies;

/// <summary>The policies of Arm, with their values for a machine.</summary>
internal static class ArmPolicyTable
{
    /// <summary>Those for one machine.</summary>
    /// <param name="machine">The machine, whose values the hardware domain has.</param>
    /// <param name="version">Its GIC.</param>
    /// <param name="configuredLines">Shared interrupt lines that an ordinary domain's configuration asks for (<c>nr_spis</c>).</param>
    public static IReadOnlyList<PolicyEntry> For(ArmMachine machine, GicVersion version, uint configuredLines) =>
    [
        Of("virtual UART", "arch/arm/domain.c:780", roles => ArmPolicies.VirtualUart(roles, machine) is { } uart ? Text(uart) : "none"),
        Of("GIC shared lines", "arch/arm/domain_build.c:4050", roles => Text(ArmPolicies.SharedLines(roles, machine, configuredLines))),
        Of("GIC distributor", version == GicVersion.V2 ? "arch/arm/vgic-v2.c:668" : "arch/arm/vgic-v3.c:1676", roles => Text(ArmPolicies.Distributor(roles, machine, version))),
        Of(
            version == GicVersion.V2 ? "GIC CPU interface" : "GIC redistributors",
            version == GicVersion.V2 ? "arch/arm/vgic-v2.c:668" : "arch/arm/vgic-v3.c:1676",
            roles => Text(ArmPolicies.CpuInterface(roles, machine, version))),
        Of("virtual timer interrupt", "arch/arm/vtimer.c:103", roles => Text(ArmPolicies.Timers(roles, machine).Virtual)),
        Of("secure physical timer interrupt", "arch/arm/vtimer.c:74", roles => Text(ArmPolicies.Timers(roles, machine).PhysicalSecure)),
        Of("non-secure physical timer interrupt", "arch/arm/vtimer.c:103", roles => Text(ArmPolicies.Timers(roles, machine).PhysicalNonSecure)),
        Of("event channel interrupt", "arch/arm/domain.c:767", static roles => ArmPolicies.EventInterrupt(roles) is { } interrupt ? Text(interrupt) : "one that is free"),
        YesOrNo("sets interrupt types", "arch/arm/irq.c:438", ArmPolicies.SetsInterruptTypes),
        .. version == GicVersion.V3 ? [YesOrNo("sees interrupt translation services", "arch/arm/vgic-v3-its.c:1503", ArmPolicies.SeesTranslationServices)] : Array.Empty<PolicyEntry>(),
        YesOrNo("takes page tables from all free memory", "arch/arm/p2m.c:57", ArmPolicies.TakesPageTablesFromHeap),
        YesOrNo("maps device memory on touch (ACPI)", "arch/arm/traps.c:1817", ArmPolicies.MapsDeviceMemoryOnTouch),
        YesOrNo("calls the platform's firmware", "arch/arm/platforms/xilinx-zynqmp-eemi.c:44", ArmPolicies.CallsPlatformFirmware),
        YesOrNo("sees the machine's PCI bridges", "arch/arm/vpci.c:93", ArmPolicies.SeesMachineBridges),
    ];

    private static PolicyEntry Of(string name, string site, Func<DomainRoles, string> decide) => new(name, site, IsWired: false, decide);

    private static PolicyEntry YesOrNo(string name, string site, Func<DomainRoles, bool> decide) => PolicyEntry.YesOrNo(name, site, isWired: false, decide);

    private static string Text(uint number) => number.ToString(CultureInfo.InvariantCulture);

    private static string Text(ArmRange range) => string.Create(CultureInfo.InvariantCulture, $"0x{range.Base:x8}+0x{range.Size:x}");
}
