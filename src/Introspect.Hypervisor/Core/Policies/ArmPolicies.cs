namespace Introspect.Hypervisor.Core.Policies;

/// <summary>Which interrupt controller an Arm machine has, and a domain on it sees.</summary>
internal enum GicVersion
{
    /// <summary>GICv2: a distributor and a CPU interface.</summary>
    V2 = 2,

    /// <summary>GICv3: a distributor and redistributors.</summary>
    V3 = 3,
}

/// <summary>A range of addresses.</summary>
/// <param name="Base">First byte.</param>
/// <param name="Size">Bytes.</param>
internal readonly record struct ArmRange(ulong Base, ulong Size);

/// <summary>The interrupts of a domain's timers, as GIC interrupt numbers (16 to 31 are private to a CPU).</summary>
/// <param name="Virtual">Virtual timer.</param>
/// <param name="PhysicalSecure">Secure physical timer.</param>
/// <param name="PhysicalNonSecure">Non-secure physical timer.</param>
internal readonly record struct ArmTimerInterrupts(uint Virtual, uint PhysicalSecure, uint PhysicalNonSecure);

/// <summary>What of an Arm machine the hardware domain meets as it is: its device tree has it so.</summary>
/// <param name="GicLines">Interrupt lines of the GIC, those private to a CPU included.</param>
/// <param name="Distributor">The distributor.</param>
/// <param name="CpuInterface">GICv2: the CPU interface. GICv3: the first redistributor region.</param>
/// <param name="Timers">Interrupts of the timers.</param>
/// <param name="Uart">The UART of the hypervisor's console; null: it has none of a device tree's.</param>
internal sealed record ArmMachine(uint GicLines, ArmRange Distributor, ArmRange CpuInterface, ArmTimerInterrupts Timers, ArmRange? Uart)
{
    private static readonly ArmTimerInterrupts CommonTimers = new(27, 29, 30);
    private static readonly ArmRange VirtDistributor = new(0x0800_0000, 0x1_0000);
    private static readonly ArmRange VirtCpuInterface = new(0x0801_0000, 0x1_0000);
    private static readonly ArmRange VirtRedistributors = new(0x080A_0000, 0x00F6_0000);
    private static readonly ArmRange VirtUart = new(0x0900_0000, 0x1000);

    /// <summary>QEMU's <c>virt</c> board with one or the other GIC, and the timer interrupts that nearly all machines have.</summary>
    public static ArmMachine QemuVirt(GicVersion version) =>
        new(288, VirtDistributor, version == GicVersion.V2 ? VirtCpuInterface : VirtRedistributors, CommonTimers, VirtUart);
}

/// <summary>
/// What hangs on a domain's roles on Arm, with the values that Xen 4.17 gives. The core executes x86 only: these are
/// told where a domain is described.
/// </summary>
internal static class ArmPolicies
{
    // Lines private to a CPU, which no domain's count of shared ones includes, and the most of a GIC that a domain 0 is given.
    private const uint PrivateLines = 32;
    private const uint MostLines = 992;

    /// <summary>Interrupt by which an ordinary domain is told of events (<c>GUEST_EVTCHN_PPI</c>).</summary>
    public const uint GuestEventInterrupt = 31;

    private static readonly ArmTimerInterrupts GuestTimers = new(27, 29, 30);
    private static readonly ArmRange GuestDistributorV2 = new(0x0300_1000, 0x1000);
    private static readonly ArmRange GuestCpuInterface = new(0x0300_2000, 0x2000);
    private static readonly ArmRange GuestDistributorV3 = new(0x0300_1000, 0x1_0000);
    private static readonly ArmRange GuestRedistributors = new(0x0302_0000, 0x0100_0000);

    /// <summary>The UART that a kernel's early messages go to, at the machine's address, and so from the hardware domain's kernel only.</summary>
    public static ArmRange? VirtualUart(DomainRoles roles, ArmMachine machine) => IsHardware(roles) ? machine.Uart : null;

    /// <summary>Shared interrupt lines of its virtual GIC: the machine's, or as many as its configuration asks for.</summary>
    public static uint SharedLines(DomainRoles roles, ArmMachine machine, uint configured) =>
        IsHardware(roles) ? Math.Min(machine.GicLines, MostLines) - PrivateLines : configured;

    /// <summary>Where its GIC's distributor is.</summary>
    public static ArmRange Distributor(DomainRoles roles, ArmMachine machine, GicVersion version) => IsHardware(roles) ? machine.Distributor
        : version == GicVersion.V2 ? GuestDistributorV2
        : GuestDistributorV3;

    /// <summary>Where its GIC's CPU interface (GICv2) or first redistributor region (GICv3) is.</summary>
    public static ArmRange CpuInterface(DomainRoles roles, ArmMachine machine, GicVersion version) => IsHardware(roles) ? machine.CpuInterface
        : version == GicVersion.V2 ? GuestCpuInterface
        : GuestRedistributors;

    /// <summary>The interrupts of its timers: the machine's, or those of the virtual platform.</summary>
    public static ArmTimerInterrupts Timers(DomainRoles roles, ArmMachine machine) => IsHardware(roles) ? machine.Timers : GuestTimers;

    /// <summary>The interrupt that tells it of events; null: one that the machine leaves free, chosen when it is built.</summary>
    public static uint? EventInterrupt(DomainRoles roles) => IsHardware(roles) ? null : GuestEventInterrupt;

    /// <summary>It sets whether a line is edge or level triggered.</summary>
    public static bool SetsInterruptTypes(DomainRoles roles) => IsHardware(roles);

    /// <summary>It sees interrupt translation services, one for each of the machine's.</summary>
    public static bool SeesTranslationServices(DomainRoles roles) => IsHardware(roles);

    /// <summary>Its page tables (p2m) come from all free memory. Those of others come from a pool of their own, so that they end where it ends.</summary>
    public static bool TakesPageTablesFromHeap(DomainRoles roles) => IsHardware(roles);

    /// <summary>With ACPI, device memory that it touches and may have is mapped when it does.</summary>
    public static bool MapsDeviceMemoryOnTouch(DomainRoles roles) => IsHardware(roles);

    /// <summary>It calls the platform's firmware for power domains and resets (Xilinx EEMI).</summary>
    public static bool CallsPlatformFirmware(DomainRoles roles) => IsHardware(roles);

    /// <summary>It has the PCI host bridges of the machine at their places; others one virtual bridge.</summary>
    public static bool SeesMachineBridges(DomainRoles roles) => IsHardware(roles);

    private static bool IsHardware(DomainRoles roles) => (roles & DomainRoles.Hardware) != 0;
}
