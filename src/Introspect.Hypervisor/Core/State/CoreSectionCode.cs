namespace Introspect.Hypervisor.Core.State;

/// <summary>Types of the core's own records, which no context of Xen's has: far from <see cref="Abi.HvmSaveCode"/>'s numbers.</summary>
internal static class CoreSectionCode
{
    /// <summary>Clock, chance, and what the domain told its platform.</summary>
    public const ushort Platform = 0x8000;

    /// <summary>Event channels.</summary>
    public const ushort EventChannels = 0x8001;

    /// <summary>A vCPU as exactly as the core knows it.</summary>
    public const ushort Vcpu = 0x8002;

    /// <summary>What Xen's record of a vCPU's enlightenments lacks.</summary>
    public const ushort ViridianVcpu = 0x8004;

    /// <summary>Timers. The last: they may go off as soon as they are loaded.</summary>
    public const ushort Timers = 0x8003;
}
