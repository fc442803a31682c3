using System.Runtime.CompilerServices;
using Introspect.Hypervisor.Abi;

namespace Introspect.Hypervisor.Core.Building.Acpi;

/// <summary>
/// FADT and FACS with the values of Xen's toolstack. The ports of the PM1 registers and the general-purpose events are
/// named, as there, though nothing answers on them in a PVH domain.
/// </summary>
internal static class FixedTables
{
    private const ushort Pm1aEventPort = 0xb000;
    private const ushort Pm1aControlPort = 0xb004;
    private const ushort Gpe0Port = 0xafe0;
    private const byte Pm1EventBytes = 4;
    private const byte Pm1ControlBytes = 2;
    private const ushort ResetPort = 0xcf9;

    // Longer than what would count as supported: there are no states beyond C1.
    private const ushort NoSuchState = 0xfff;

    public static byte[] Facs()
    {
        var facs = new AcpiFacs
        {
            Signature = 0x5343_4146, // "FACS", whose table has no checksum
            Length = (uint)Unsafe.SizeOf<AcpiFacs>(),
            Version = 1,
        };
        return AcpiTable.Bytes(in facs);
    }

    /// <summary>What a guest of ACPI 1.0 reads. Xen copies the front of its newer table, as it is before that is filled in: with a PM timer.</summary>
    public static byte[] Revision1(uint facs, uint dsdt)
    {
        const ushort PmTimerPort = 0xb008;
        const byte PmTimerBytes = 4;
        var table = Common(facs, dsdt, 1, Unsafe.SizeOf<AcpiFixed>());
        (table.PmTimerBlock, table.PmTimerLength) = (PmTimerPort, PmTimerBytes);
        var bytes = AcpiTable.Bytes(in table);
        AcpiTable.Seal(bytes, AcpiHeader.ChecksumOffset);
        return bytes;
    }

    public static byte[] Revision5(uint facs, uint dsdt)
    {
        var table = new AcpiFixed5
        {
            First = Common(facs, dsdt, 5, Unsafe.SizeOf<AcpiFixed5>()),
            ResetRegister = Port(ResetPort, 1),
            ResetValue = 6,
            LongFirmwareControl = facs,
            LongDsdt = dsdt,
            LongPm1aEventBlock = Port(Pm1aEventPort, Pm1EventBytes),
            LongPm1aControlBlock = Port(Pm1aControlPort, Pm1ControlBytes),
        };
        table.First.BootFlags = AcpiBootFlags.NoVga | AcpiBootFlags.NoCmosRtc;
        table.First.Flags |= AcpiFixedFlags.PowerButton | AcpiFixedFlags.SleepButton;
        var bytes = AcpiTable.Bytes(in table);
        AcpiTable.Seal(bytes, AcpiHeader.ChecksumOffset);
        return bytes;
    }

    private static AcpiFixed Common(uint facs, uint dsdt, byte revision, int length) => new()
    {
        Header = AcpiTable.Header("FACP", revision, length),
        FirmwareControl = facs,
        Dsdt = dsdt,
        SciInterrupt = 9,
        Pm1aEventBlock = Pm1aEventPort,
        Pm1aControlBlock = Pm1aControlPort,
        Gpe0Block = Gpe0Port,
        Pm1EventLength = Pm1EventBytes,
        Pm1ControlLength = Pm1ControlBytes,
        Gpe0Length = 4,
        C2Latency = NoSuchState,
        C3Latency = NoSuchState,
        Flags = AcpiFixedFlags.C1 | AcpiFixedFlags.Wbinvd | AcpiFixedFlags.FixedRtc | AcpiFixedFlags.TimerIs32Bits | AcpiFixedFlags.UsePlatformClock,
    };

    private static AcpiAddress Port(ushort port, byte bytes) => new()
    {
        Space = AcpiAddress.SystemIo,
        BitWidth = (byte)(bytes * 8),
        Address = port,
    };
}
