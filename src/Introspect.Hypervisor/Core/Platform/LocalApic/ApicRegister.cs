namespace Introspect.Hypervisor.Core.Platform.Apic;

/// <summary>Offsets of the registers in the local APIC's page; in x2APIC mode register n × 16 is MSR 0x800 + n.</summary>
internal static class ApicRegister
{
    public const uint Id = 0x20;
    public const uint Version = 0x30;
    public const uint TaskPriority = 0x80;
    public const uint ProcessorPriority = 0xA0;
    public const uint Eoi = 0xB0;
    public const uint LogicalDestination = 0xD0;
    public const uint DestinationFormat = 0xE0;
    public const uint SpuriousVector = 0xF0;
    public const uint InService = 0x100;
    public const uint TriggerMode = 0x180;
    public const uint InterruptRequest = 0x200;
    public const uint ErrorStatus = 0x280;

    /// <summary>
    /// Errors seen since the guest last wrote <see cref="ErrorStatus"/>. No register: of the 16 bytes that each has
    /// only four are its own, so this is where it is saved along with the rest.
    /// </summary>
    public const uint PendingErrors = 0x284;
    public const uint Cmci = 0x2F0;
    public const uint CommandLow = 0x300;
    public const uint CommandHigh = 0x310;
    public const uint LvtTimer = 0x320;
    public const uint LvtThermal = 0x330;
    public const uint LvtPerformance = 0x340;
    public const uint Lvt0 = 0x350;
    public const uint Lvt1 = 0x360;
    public const uint LvtError = 0x370;
    public const uint InitialCount = 0x380;
    public const uint CurrentCount = 0x390;
    public const uint Divide = 0x3E0;

    /// <summary>x2APIC mode only.</summary>
    public const uint SelfIpi = 0x3F0;
}

/// <summary>Bits in the registers of the local APIC.</summary>
internal static class ApicBits
{
    /// <summary>An integrated APIC with six entries in its local vector table, and no directed EOI.</summary>
    public const uint Version = 0x0005_0014;

    /// <summary>Entries of the local vector table.</summary>
    public const uint LvtCount = 6;

    /// <summary>The first vector that an APIC delivers; lower ones are illegal.</summary>
    public const byte FirstVector = 16;

    public const uint VectorMask = 0xFF;
    public const uint PriorityClass = 0xF0;

    public const uint SpuriousEnable = 1 << 8;
    public const uint SpuriousFocusDisabled = 1 << 9;
    public const uint SpuriousWritable = VectorMask | SpuriousEnable | SpuriousFocusDisabled;

    public const uint LvtMasked = 1 << 16;
    public const uint LvtLevel = 1 << 15;
    public const uint LvtRemoteIrr = 1 << 14;
    public const uint LvtPolarity = 1 << 13;
    public const uint SendPending = 1 << 12;
    public const uint DeliveryMode = 0x700;
    public const uint LvtWritable = LvtMasked | SendPending | VectorMask;
    public const uint LintWritable = LvtWritable | DeliveryMode | LvtPolarity | LvtRemoteIrr | LvtLevel;

    public const uint TimerMode = 3 << 17;
    public const uint TimerOneShot = 0 << 17;
    public const uint TimerPeriodic = 1 << 17;
    public const uint TimerDeadline = 2 << 17;

    /// <summary>Bits 0, 1 and 3 of the divide register; the rest is zero.</summary>
    public const uint DivideMask = 0xB;

    public const uint FlatFormat = 0xFFFF_FFFF;
    public const uint ClusterFormat = 0x0FFF_FFFF;
    public const uint LogicalIdMask = 0xFF00_0000;

    public const uint ModeFixed = 0x000;
    public const uint ModeLowest = 0x100;
    public const uint ModeSmi = 0x200;
    public const uint ModeRemoteRead = 0x300;
    public const uint ModeNmi = 0x400;
    public const uint ModeInit = 0x500;
    public const uint ModeStartup = 0x600;
    public const uint LogicalDestination = 1 << 11;
    public const uint Assert = 1 << 14;
    public const uint LevelTriggered = 1 << 15;
    public const uint Shorthand = 3 << 18;
    public const uint ShorthandSelf = 1 << 18;
    public const uint ShorthandAll = 2 << 18;
    public const uint ShorthandOthers = 3 << 18;
    public const uint X2CommandWritable =
        VectorMask | DeliveryMode | LogicalDestination | Assert | LevelTriggered | Shorthand;

    public const uint ErrorSendIllegalVector = 1 << 5;
    public const uint ErrorReceivedIllegalVector = 1 << 6;

    /// <summary>What the LVT entry at a register keeps of a written value.</summary>
    public static uint LvtWritableOf(uint register) => register switch
    {
        ApicRegister.LvtTimer => LvtWritable | TimerMode,
        ApicRegister.LvtThermal or ApicRegister.LvtPerformance => LvtWritable | DeliveryMode,
        ApicRegister.Lvt0 or ApicRegister.Lvt1 => LintWritable,
        _ => LvtWritable,
    };
}
