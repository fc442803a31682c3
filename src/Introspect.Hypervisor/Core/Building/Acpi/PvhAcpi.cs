using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Introspect.Hypervisor.Abi;

namespace Introspect.Hypervisor.Core.Building.Acpi;

/// <summary>A run of bytes that the toolstack gives a guest beside its image.</summary>
/// <param name="Address">Where it goes.</param>
/// <param name="Content">Its bytes.</param>
internal sealed record AcpiModule(ulong Address, byte[] Content)
{
    /// <summary>The pages it lies in, as the memory map tells of it.</summary>
    public MemoryMapEntry MapEntry
    {
        get
        {
            var inPage = Address % Gfn.PageSize;
            return new(Address - inPage, (ulong)Content.Length + inPage, MemmapType.Acpi);
        }
    }
}

/// <summary>
/// The ACPI tables of a PVH domain, as Xen's toolstack makes them: at 0xfc000000 what the DSDT reads of the domain, in
/// the pages behind it the tables, behind those the RSDP. There is no IO-APIC, no PM timer, no RTC and no VGA.
/// </summary>
internal sealed class PvhAcpi
{
    /// <summary>Where the tables begin: fixed, as the DSDT names it (<c>ACPI_INFO_PHYSICAL_ADDRESS</c>).</summary>
    public const ulong InfoAddress = 0xfc00_0000;

    /// <summary>Where a BIOS ends.</summary>
    public const ulong BiosEnd = 0x10_0000;

    /// <summary>Where the RSDP goes for a Linux that looks for it only where a BIOS has it.</summary>
    public const ulong BiosRsdpAddress = BiosEnd - RsdpBytes;

    /// <summary>Most pages that all of it takes: <c>NUM_ACPI_PAGES</c> for the tables, one for the information, one for the RSDP.</summary>
    public const int MostPages = 18;

    private const int RsdpBytes = 64;
    private const ulong TablesAddress = InfoAddress + Gfn.PageSize;
    private const uint LocalApicAddress = 0xfee0_0000;

    private readonly List<byte> _tables = [];

    private PvhAcpi(int vcpus, bool rsdpInBios)
    {
        var facs = Add(FixedTables.Facs(), 64);
        var dsdt = Add(AcpiTable.Make("DSDT", 5, PvhDsdt.Build(vcpus)));
        var first = Add(FixedTables.Revision1(facs, dsdt));
        var fixed5 = Add(FixedTables.Revision5(facs, dsdt));
        var madt = Add(Madt(vcpus));
        var xsdt = Add(AcpiTable.Make("XSDT", 1, MemoryMarshal.AsBytes<ulong>([fixed5, madt])));
        var rsdt = Add(AcpiTable.Make("RSDT", 1, MemoryMarshal.AsBytes<uint>([first, madt])));

        _tables.AddRange(new byte[PageUp((ulong)_tables.Count) - (ulong)_tables.Count]);
        RsdpAddress = rsdpInBios ? BiosRsdpAddress : TablesAddress + (ulong)_tables.Count;
        var rsdp = new byte[RsdpBytes];
        Rsdp(rsdt, xsdt).CopyTo(rsdp, 0);
        var info = new byte[Gfn.PageSize];
        MemoryMarshal.Write(info, new XenAcpiInfo
        {
            ProcessorCount = (ushort)vcpus,
            MadtChecksumAddress = madt + AcpiHeader.ChecksumOffset,
            FirstLocalApicAddress = madt + (uint)Unsafe.SizeOf<AcpiMadt>(),
        });
        Modules = [new(RsdpAddress, rsdp), new(InfoAddress, info), new(TablesAddress, [.. _tables])];
    }

    /// <summary>Where the RSDP is: <c>hvm_start_info.rsdp_paddr</c>.</summary>
    public ulong RsdpAddress { get; }

    /// <summary>What goes where.</summary>
    public IReadOnlyList<AcpiModule> Modules { get; }

    /// <summary>Makes the tables of a domain.</summary>
    /// <param name="vcpus">Its vCPUs, all of which there are from the start.</param>
    /// <param name="rsdpInBios">True: the RSDP goes to the end of the first mebibyte.</param>
    public static PvhAcpi Build(int vcpus, bool rsdpInBios) => new(vcpus, rsdpInBios);

    private static byte[] Madt(int vcpus)
    {
        var start = Unsafe.SizeOf<AcpiMadt>() - Unsafe.SizeOf<AcpiHeader>();
        var content = new byte[start + (vcpus * Unsafe.SizeOf<AcpiLocalApic>())];
        BinaryPrimitives.WriteUInt32LittleEndian(content, LocalApicAddress);
        BinaryPrimitives.WriteUInt32LittleEndian(content.AsSpan(sizeof(uint)), AcpiMadt.PcCompatible);
        var processors = MemoryMarshal.Cast<byte, AcpiLocalApic>(content.AsSpan(start));
        for (var i = 0; i < vcpus; i++)
        {
            // An APIC id is twice the vCPU's number, as in CPUID.
            processors[i] = new AcpiLocalApic
            {
                Type = AcpiLocalApic.TypeLocalApic,
                Length = (byte)Unsafe.SizeOf<AcpiLocalApic>(),
                ProcessorId = (byte)i,
                ApicId = (byte)(i * 2),
                Flags = AcpiLocalApic.Enabled,
            };
        }

        return AcpiTable.Make("APIC", 2, content);
    }

    private static byte[] Rsdp(uint rsdt, uint xsdt)
    {
        var rsdp = new AcpiRsdp
        {
            Signature = 0x2052_5450_2044_5352, // "RSD PTR "
            OemId = AcpiTable.OemId,
            Revision = 2,
            RsdtAddress = rsdt,
            Length = (uint)Unsafe.SizeOf<AcpiRsdp>(),
            XsdtAddress = xsdt,
        };
        var bytes = AcpiTable.Bytes(in rsdp);
        AcpiTable.Seal(bytes.AsSpan(0, AcpiRsdp.FirstPart), AcpiRsdp.ChecksumOffset);
        AcpiTable.Seal(bytes, AcpiRsdp.ExtendedChecksumOffset);
        return bytes;
    }

    /// <summary>Places a table behind the others.</summary>
    private uint Add(byte[] table, int alignment = 16)
    {
        _tables.AddRange(new byte[-_tables.Count & (alignment - 1)]);
        var address = TablesAddress + (ulong)_tables.Count;
        _tables.AddRange(table);
        return (uint)address;
    }

    private static ulong PageUp(ulong bytes) => (bytes + Gfn.PageSize - 1) & ~(ulong)(Gfn.PageSize - 1);
}
