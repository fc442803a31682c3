using Introspect.Hypervisor.Abi;

namespace Introspect.Hypervisor.Core.Policies;

/// <summary>Devices, ports and interrupts.</summary>
internal static partial class DomainPolicies
{
    /// <summary>Interrupt lines beside the machine's own that an ordinary domain may have (<c>extra_guest_irqs</c>).</summary>
    public const uint DefaultExtraLines = 32;

    /// <summary>Pins of the one IO-APIC that Xen emulates for a guest.</summary>
    public const uint EmulatedIoApicPins = 48;

    /// <summary>
    /// What is emulated for it is right. For the hardware domain (PVH): its local APICs, IO-APICs and PCI configuration
    /// space, the rest is real; for others a local APIC alone (PVH) or all but the PCI configuration space (HVM).
    /// </summary>
    public static bool MayHaveEmulators(DomainRoles roles, X86EmulationFlags flags) => IsHardware(roles)
        ? flags == (X86EmulationFlags.Vpci | X86EmulationFlags.Lapic | X86EmulationFlags.IoApic)
        : flags is X86EmulationFlags.Lapic or (X86EmulationFlags.All & ~X86EmulationFlags.Vpci);

    /// <summary>A PV domain gets the emulated PIT without asking for it: the real one is the hypervisor's.</summary>
    public static bool GetsEmulatedPit(DomainRoles roles, bool isPv) => isPv && IsHardware(roles);

    /// <summary>The ports of the PIT's channel 2 and of the speaker reach the real ones.</summary>
    public static bool ReachesRealPit(DomainRoles roles) => IsHardware(roles);

    /// <summary>The ports of the real-time clock reach the real one, by way of the hypervisor, where none is emulated.</summary>
    public static bool ReachesRealClock(DomainRoles roles, bool isEmulated) => !isEmulated && IsHardware(roles);

    /// <summary>It has a bitmap of its own of the ports that it reaches without the hypervisor; all others share one in which it is none.</summary>
    public static bool HasOwnPortBitmap(DomainRoles roles) => IsHardware(roles);

    /// <summary>
    /// How many interrupt lines it may have: the machine's and some more. For the hardware domain as many more as were
    /// configured, or what the machine can make of it.
    /// </summary>
    /// <param name="roles">Roles.</param>
    /// <param name="machineLines">GSIs of the machine.</param>
    /// <param name="most">Interrupts that the machine has in all, which nobody's number exceeds.</param>
    /// <param name="hardwareDefault">Lines of a hardware domain for which nothing was configured.</param>
    /// <param name="extra">Lines more for an ordinary domain.</param>
    /// <param name="extraHardware">Lines more for the hardware domain; 0: its default.</param>
    public static uint InterruptLines(
        DomainRoles roles,
        uint machineLines,
        uint most,
        uint hardwareDefault,
        uint extra = DefaultExtraLines,
        uint extraHardware = 0)
    {
        var wanted = !IsHardware(roles) ? machineLines + extra
            : extraHardware != 0 ? machineLines + extraHardware
            : hardwareDefault;
        return Math.Min(wanted, most);
    }

    /// <summary>How many GSIs a translated domain has: the machine's, or those of the one IO-APIC that is emulated.</summary>
    public static uint GsiLines(DomainRoles roles, uint machineLines) => IsHardware(roles) ? machineLines : EmulatedIoApicPins;

    /// <summary>Its vCPUs are pinned, each to the CPU of its number, when they are created (<c>dom0_vcpus_pin</c>).</summary>
    public static bool IsPinnedAtCreation(DomainRoles roles, bool configured) => configured && IsHardware(roles);

    /// <summary>It may pin a vCPU of its own to a CPU for a while, against what the toolstack set (<c>SCHEDOP_pin_override</c>).</summary>
    public static bool MayOverridePinning(DomainRoles roles) => IsHardware(roles);

    /// <summary>It tells the hypervisor of PCI devices and of their configuration space (<c>PHYSDEVOP_pci_device_add</c> and its kin).</summary>
    public static bool MayAnnounceDevices(DomainRoles roles) => IsHardware(roles);

    /// <summary>It may map an interrupt of the machine that was not given to it before.</summary>
    public static bool MayMapAnyInterrupt(DomainRoles roles) => IsHardware(roles);

    /// <summary>What it writes to the console goes out as it is. Of others, what would disturb a terminal is left out.</summary>
    public static bool WritesRawConsole(DomainRoles roles) => IsHardware(roles);

    /// <summary>It reads what is typed at the console.</summary>
    public static bool MayReadConsole(DomainRoles roles) => IsControl(roles);
}
