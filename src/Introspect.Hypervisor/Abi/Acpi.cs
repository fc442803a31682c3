using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Introspect.Hypervisor.Abi;

/// <summary>What every ACPI table but RSDP and FACS begins with.</summary>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
internal struct AcpiHeader
{
    /// <summary>Where the checksum is in every table that has this header.</summary>
    public const int ChecksumOffset = 9;

    public uint Signature;
    public uint Length;
    public byte Revision;
    public byte Checksum;
    public AcpiName6 OemId;
    public ulong OemTableId;
    public uint OemRevision;
    public uint CreatorId;
    public uint CreatorRevision;
}

/// <summary>Six characters.</summary>
[InlineArray(6)]
internal struct AcpiName6
{
    private byte _first;
}

/// <summary>Generic Address Structure: a register wherever it is.</summary>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
internal struct AcpiAddress
{
    /// <summary>An address space id: I/O ports.</summary>
    public const byte SystemIo = 1;

    public byte Space;
    public byte BitWidth;
    public byte BitOffset;
    public byte AccessSize;
    public ulong Address;
}

/// <summary>Root System Description Pointer, revision 2.</summary>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
internal struct AcpiRsdp
{
    /// <summary>The bytes that ACPI 1.0 had, and that the first checksum is over.</summary>
    public const int FirstPart = 20;

    public const int ChecksumOffset = 8;
    public const int ExtendedChecksumOffset = 32;

    public ulong Signature;
    public byte Checksum;
    public AcpiName6 OemId;
    public byte Revision;
    public uint RsdtAddress;
    public uint Length;
    public ulong XsdtAddress;
    public byte ExtendedChecksum;
    private byte _reserved0;
    private ushort _reserved1;
}

/// <summary>Firmware ACPI Control Structure.</summary>
[StructLayout(LayoutKind.Sequential, Pack = 1, Size = 64)]
internal struct AcpiFacs
{
    public uint Signature;
    public uint Length;
    public uint HardwareSignature;
    public uint WakingVector;
    public uint GlobalLock;
    public uint Flags;
    public ulong LongWakingVector;
    public byte Version;
}

/// <summary>Fixed ACPI Description Table as ACPI 1.0 had it: what the RSDT leads to.</summary>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
internal struct AcpiFixed
{
    public AcpiHeader Header;
    public uint FirmwareControl;
    public uint Dsdt;
    public byte InterruptModel;
    public byte PreferredPmProfile;
    public ushort SciInterrupt;
    public uint SmiCommand;
    public byte AcpiEnable;
    public byte AcpiDisable;
    public byte S4BiosRequest;
    public byte PstateControl;
    public uint Pm1aEventBlock;
    public uint Pm1bEventBlock;
    public uint Pm1aControlBlock;
    public uint Pm1bControlBlock;
    public uint Pm2ControlBlock;
    public uint PmTimerBlock;
    public uint Gpe0Block;
    public uint Gpe1Block;
    public byte Pm1EventLength;
    public byte Pm1ControlLength;
    public byte Pm2ControlLength;
    public byte PmTimerLength;
    public byte Gpe0Length;
    public byte Gpe1Length;
    public byte Gpe1Base;
    public byte CstControl;
    public ushort C2Latency;
    public ushort C3Latency;
    public ushort FlushSize;
    public ushort FlushStride;
    public byte DutyOffset;
    public byte DutyWidth;
    public byte DayAlarm;
    public byte MonthAlarm;
    public byte Century;
    public AcpiBootFlags BootFlags;
    private byte _reserved;
    public AcpiFixedFlags Flags;
}

/// <summary>Fixed ACPI Description Table, revision 5: what the XSDT leads to.</summary>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
internal struct AcpiFixed5
{
    public AcpiFixed First;
    public AcpiAddress ResetRegister;
    public byte ResetValue;
    private byte _reserved0;
    private ushort _reserved1;
    public ulong LongFirmwareControl;
    public ulong LongDsdt;
    public AcpiAddress LongPm1aEventBlock;
    public AcpiAddress LongPm1bEventBlock;
    public AcpiAddress LongPm1aControlBlock;
    public AcpiAddress LongPm1bControlBlock;
    public AcpiAddress LongPm2ControlBlock;
    public AcpiAddress LongPmTimerBlock;
    public AcpiAddress LongGpe0Block;
    public AcpiAddress LongGpe1Block;
    public AcpiAddress SleepControl;
    public AcpiAddress SleepStatus;
}

/// <summary>IAPC_BOOT_ARCH: what of a PC there is.</summary>
[Flags]
internal enum AcpiBootFlags : ushort
{
    None = 0,
    NoVga = 1 << 2,
    NoCmosRtc = 1 << 5,
}

/// <summary>The fixed features.</summary>
[Flags]
internal enum AcpiFixedFlags : uint
{
    None = 0,
    Wbinvd = 1 << 0,
    C1 = 1 << 2,

    /// <summary>The power button is not one of the fixed ones.</summary>
    PowerButton = 1 << 4,

    /// <summary>The sleep button is not one of the fixed ones.</summary>
    SleepButton = 1 << 5,

    /// <summary>The RTC's wake-up is not one of the fixed ones.</summary>
    FixedRtc = 1 << 6,
    TimerIs32Bits = 1 << 8,
    UsePlatformClock = 1 << 15,
}

/// <summary>Multiple APIC Description Table, without what follows.</summary>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
internal struct AcpiMadt
{
    /// <summary>PCAT_COMPAT.</summary>
    public const uint PcCompatible = 1;

    public AcpiHeader Header;
    public uint LocalApicAddress;
    public uint Flags;
}

/// <summary>A processor with its local APIC.</summary>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
internal struct AcpiLocalApic
{
    public const byte TypeLocalApic = 0;
    public const uint Enabled = 1;

    public byte Type;
    public byte Length;
    public byte ProcessorId;
    public byte ApicId;
    public uint Flags;
}

/// <summary>What the DSDT reads of the domain, in memory at an address that is fixed in it.</summary>
[StructLayout(LayoutKind.Sequential, Pack = 1, Size = 40)]
internal struct XenAcpiInfo
{
    /// <summary>COM1, COM2, LPT1, HPET: a bit each.</summary>
    public byte Devices;
    private byte _pad;
    public ushort ProcessorCount;
    public uint PciStart;
    public uint PciLength;
    public uint MadtChecksumAddress;
    public uint FirstLocalApicAddress;
    public uint GenerationIdAddress;
    public ulong HighPciStart;
    public ulong HighPciLength;
}
