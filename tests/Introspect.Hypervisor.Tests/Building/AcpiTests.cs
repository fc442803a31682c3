using System.Buffers.Binary;
using System.Text;
using Introspect.Hypervisor.Core.Building;
using Introspect.Hypervisor.Core.Building.Acpi;

namespace Introspect.Hypervisor.Tests.Building;

/// <summary>The tables as a guest finds them: from the RSDP on, by the addresses in them.</summary>
public sealed class AcpiTests
{
    private const ulong Info = 0xfc00_0000;

    [Theory]
    [InlineData(1)]
    [InlineData(3)]
    [InlineData(128)]
    public void Every_table_is_reached_from_the_rsdp_and_its_bytes_sum_to_zero(int vcpus)
    {
        FakeGuest guest = Load(vcpus);
        ulong rsdp = FindRsdp(guest);
        Assert.Equal("RSD PTR ", Ascii(guest, rsdp, 8));
        Assert.Equal("Xen\0\0\0", Ascii(guest, rsdp + 9, 6));
        Assert.Equal(2, guest.Read(rsdp + 15, 1)[0]);
        Assert.Equal(36u, guest.U32(rsdp + 20));
        Assert.Equal(0, Sum(guest.Read(rsdp, 20)));
        Assert.Equal(0, Sum(guest.Read(rsdp, 36)));

        ulong xsdt = guest.U64(rsdp + 24);
        byte[] root = Table(guest, xsdt, "XSDT", 1);
        Assert.Equal(36 + (2 * 8), root.Length);
        ulong fixed5 = guest.U64(xsdt + 36);
        Table(guest, fixed5, "FACP", 5);
        Table(guest, guest.U64(xsdt + 44), "APIC", 2);

        ulong rsdt = guest.U32(rsdp + 16);
        Assert.Equal(36 + (2 * 4), Table(guest, rsdt, "RSDT", 1).Length);
        ulong fixed1 = guest.U32(rsdt + 36);
        Table(guest, fixed1, "FACP", 1);
        Assert.Equal(guest.U64(xsdt + 44), guest.U32(rsdt + 40));

        ulong dsdt = guest.U64(fixed5 + 140);
        Table(guest, dsdt, "DSDT", 5);
        Assert.Equal(dsdt, guest.U32(fixed5 + 40));
        Assert.Equal(dsdt, guest.U32(fixed1 + 40));
        ulong facs = guest.U64(fixed5 + 132);
        Assert.Equal(0UL, facs % 64);
        Assert.Equal("FACS", Ascii(guest, facs, 4));
        Assert.Equal(64u, guest.U32(facs + 4));
        Assert.Equal(1, guest.Read(facs + 32, 1)[0]);
        Assert.Equal(facs, guest.U32(fixed5 + 36));
        Assert.Equal(facs, guest.U32(fixed1 + 36));
    }

    [Fact]
    public void The_fixed_table_has_the_values_of_xens_toolstack()
    {
        FakeGuest guest = Load(1);
        ulong at = guest.U64(guest.U64(FindRsdp(guest) + 24) + 36);
        byte[] table = Table(guest, at, "FACP", 5);
        byte[] expected = new byte[268];
        Span<byte> bytes = expected;
        table.AsSpan(0, 44).CopyTo(bytes); // the header, and where FACS and DSDT are
        U16(bytes, 46, 9); // the SCI
        U32(bytes, 56, 0xb000);
        U32(bytes, 64, 0xb004);
        U32(bytes, 80, 0xafe0);
        (bytes[88], bytes[89], bytes[92]) = (4, 2, 4);
        U16(bytes, 96, 0xfff);
        U16(bytes, 98, 0xfff);
        U16(bytes, 109, (1 << 2) | (1 << 5)); // neither VGA nor RTC
        U32(bytes, 112, 0x8175); // neither a fixed power nor a fixed sleep button
        new byte[] { 1, 8, 0, 0, 0xf9, 0x0c }.CopyTo(bytes[116..]);
        bytes[128] = 6;
        table.AsSpan(132, 16).CopyTo(bytes[132..]); // where FACS and DSDT are, again
        new byte[] { 1, 32, 0, 0, 0, 0xb0 }.CopyTo(bytes[148..]);
        new byte[] { 1, 16, 0, 0, 4, 0xb0 }.CopyTo(bytes[172..]);
        Assert.Equal(expected, table);
    }

    [Fact]
    public void The_fixed_table_of_acpi_1_is_its_front_with_a_pm_timer_and_without_what_came_later()
    {
        FakeGuest guest = Load(1);
        ulong rsdp = FindRsdp(guest);
        byte[] first = Table(guest, guest.U32(guest.U32(rsdp + 16) + 36), "FACP", 1);
        byte[] later = Table(guest, guest.U64(guest.U64(rsdp + 24) + 36), "FACP", 5);
        Assert.Equal(116, first.Length);
        int[] different = [.. Enumerable.Range(0, 116).Where(i => first[i] != later[i])];
        // Length, revision, checksum; the timer's port and its length; the boot flags; the buttons.
        Assert.Equal([4, 5, 8, 9, 76, 77, 91, 109, 112], different);
        Assert.Equal(0xb008, BinaryPrimitives.ReadInt32LittleEndian(first.AsSpan(76)));
        Assert.Equal(0x8145u, BinaryPrimitives.ReadUInt32LittleEndian(first.AsSpan(112)));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(5)]
    public void The_madt_has_a_local_apic_for_each_vcpu_and_nothing_else(int vcpus)
    {
        FakeGuest guest = Load(vcpus);
        ulong at = guest.U64(guest.U64(FindRsdp(guest) + 24) + 44);
        byte[] table = Table(guest, at, "APIC", 2);
        Assert.Equal(44 + (8 * vcpus), table.Length);
        Assert.Equal(0xfee0_0000u, guest.U32(at + 36));
        Assert.Equal(1u, guest.U32(at + 40));
        for (int i = 0; i < vcpus; i++)
        {
            Assert.Equal(new byte[] { 0, 8, (byte)i, (byte)(2 * i), 1, 0, 0, 0 }, table[(44 + (8 * i))..(52 + (8 * i))]);
        }

        // Where the DSDT finds it.
        Assert.Equal((ushort)vcpus, BitConverter.ToUInt16(guest.Read(Info + 2, 2)));
        Assert.Equal(at + 9, guest.U32(Info + 12));
        Assert.Equal(at + 44, guest.U32(Info + 16));
        Assert.Equal(new byte[4096 - 20], guest.Read(Info + 20, 4096 - 20));
    }

    [Fact]
    public void The_dsdt_of_one_vcpu_byte_by_byte()
    {
        const string Expected = """
            10 46 06 5c 5f 53 42 5f
              5b 80 42 49 4f 53 00 0c 00 00 00 fc 0a 28
              5b 81 4f 04 42 49 4f 53 01
                55 41 52 31 01 55 41 52 32 01 4c 54 50 31 01 48 50 45 54 01 00 0c 4e 43 50 55 10
                50 4d 49 4e 20 50 4c 45 4e 20 4d 53 55 41 20 4d 41 50 41 20 56 47 49 41 20
                4c 4d 49 4e 20 48 4d 49 4e 20 4c 4c 45 4e 20 48 4c 45 4e 20
            10 4d 09 5c 5f 53 42 5f
              14 1f 50 4d 41 54 02 a0 0b 95 68 4e 43 50 55 a4 96 69 00 a4 11 0b 0a 08 00 08 ff ff 00 00 00 00
              5b 83 44 07 50 52 30 30 00 10 b0 00 00 06
                08 5f 48 49 44 0d 41 43 50 49 30 30 30 37 00
                08 5f 55 49 44 00
                5b 80 4d 41 54 52 00 72 5c 2e 5f 53 42 5f 4d 41 50 41 00 00 0a 08
                5b 81 0c 4d 41 54 52 01 4d 41 54 5f 40 04
                5b 81 0d 4d 41 54 52 01 00 20 46 4c 47 5f 01
                14 0d 5f 4d 41 54 00 a4 96 4d 41 54 5f 00
                14 11 5f 53 54 41 00 a0 08 46 4c 47 5f a4 0a 0f a4 00
            """;
        string[] bytes = [.. PvhDsdt.Build(1).Select(b => $"{b:x2}")];
        Assert.Equal(Expected.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries), bytes);
    }

    [Fact]
    public void A_second_processor_is_one_only_while_the_information_says_so()
    {
        byte[] aml = PvhDsdt.Build(2);
        // If (LLess (One, \_SB.NCPU)) { If (FLG) { Return (0x0F) } } Return (Zero)
        byte[] status = [0x5f, 0x53, 0x54, 0x41, 0, 0xa0, 0x16, 0x95, 1, 0x5c, 0x2e, 0x5f, 0x53, 0x42, 0x5f, 0x4e, 0x43, 0x50, 0x55, 0xa0, 8, 0x46, 0x4c, 0x47, 0x5f, 0xa4, 0x0a, 0x0f, 0xa4, 0];
        Assert.Equal(1, Count(aml, status));
        // Return (PMAT (One, MAT)), with the entry of the MADT 8 bytes behind the first
        Assert.Equal(1, Count(aml, [0xa4, .. "PMAT"u8, 1, .. "MAT_"u8]));
        Assert.Equal(1, Count(aml, [0x72, .. "\\"u8, 0x2e, .. "_SB_MAPA"u8, 0x0a, 8, 0]));
    }

    [Fact]
    public void The_pages_of_the_tables_are_there_and_in_the_memory_map()
    {
        FakeGuest guest = Load(128);
        PvhAcpi acpi = PvhAcpi.Build(128, rsdpInBios: false);
        int pages = acpi.Modules.Sum(m => (m.Content.Length + 4095) / 4096);
        Assert.InRange(pages, 3, PvhAcpi.MostPages);
        Assert.Equal(Enumerable.Range(0xfc000, pages).Select(g => (ulong)g), guest.Populated);
        IReadOnlyList<MemoryMapEntry> map = GuestMemoryMap.Entries(guest.MemoryBytes, acpi);
        Assert.All(guest.Populated, gfn => Assert.Single(map, e => e.Address <= gfn << 12 && gfn << 12 < e.End && (uint)e.Type == 3));
    }

    [Theory]
    [InlineData(null, null, 0xfc00_2000UL)]
    [InlineData("NetBSD", null, 0xfc00_2000UL)]
    [InlineData("linux", 1u << 15, 0xfc00_2000UL)]
    [InlineData("linux", 1u << 11, 0xf_ffc0UL)]
    [InlineData("linux", null, 0xf_ffc0UL)]
    public void A_linux_that_does_not_take_it_from_anywhere_has_its_rsdp_where_a_bios_has_it(string? os, uint? features, ulong expected)
    {
        byte[] notes = TestElf.Note("Xen", 18, BitConverter.GetBytes(TestElf.Entry));
        notes = os is null ? notes : [.. notes, .. TestElf.Note("Xen", 6, [.. Encoding.ASCII.GetBytes(os), 0])];
        notes = features is { } mask ? [.. notes, .. TestElf.Note("Xen", 17, BitConverter.GetBytes(mask))] : notes;
        FakeGuest guest = Load(1, new TestElf { Notes = notes });
        Assert.Equal(expected, FindRsdp(guest));
        Assert.Equal("RSD PTR ", Ascii(guest, expected, 8));
    }

    [FactWithTool("iasl")]
    public void Intels_disassembler_finds_nothing_wrong_with_the_tables_and_its_compiler_takes_what_it_reads()
    {
        DirectoryInfo directory = Directory.CreateTempSubdirectory("introspect-acpi-");
        try
        {
            FakeGuest guest = Load(3);
            ulong rsdp = FindRsdp(guest);
            ulong xsdt = guest.U64(rsdp + 24);
            ulong fixed5 = guest.U64(xsdt + 36);
            (string Name, byte[] Bytes)[] tables =
            [
                ("rsdt", Table(guest, guest.U32(rsdp + 16), "RSDT", 1)),
                ("xsdt", Table(guest, xsdt, "XSDT", 1)),
                ("facp", Table(guest, fixed5, "FACP", 5)),
                ("apic", Table(guest, guest.U64(xsdt + 44), "APIC", 2)),
                ("facs", guest.Read(guest.U64(fixed5 + 132), 64)),
                ("dsdt", Table(guest, guest.U64(fixed5 + 140), "DSDT", 5)),
            ];
            foreach ((string name, byte[] bytes) in tables)
            {
                string file = Path.Combine(directory.FullName, $"{name}.dat");
                string source = Path.Combine(directory.FullName, $"{name}.dsl");
                File.WriteAllBytes(file, bytes);
                (int exitCode, string output) = ExternalTool.Run("iasl", ["-d", file]);
                Assert.True(exitCode == 0 && File.Exists(source), $"{name}: {output}");
                Assert.DoesNotContain("ncorrect checksum", output, StringComparison.OrdinalIgnoreCase);
                Assert.DoesNotContain("Warning", output, StringComparison.OrdinalIgnoreCase);
                Assert.DoesNotContain("Error", output, StringComparison.OrdinalIgnoreCase);

                (exitCode, output) = ExternalTool.Run("iasl", ["-p", Path.Combine(directory.FullName, $"{name}-again"), source]);
                Assert.True(exitCode == 0, $"{name}: {output}");
                Assert.Contains(" 0 Errors", output, StringComparison.Ordinal);
            }
        }
        finally
        {
            directory.Delete(true);
        }
    }

    private static FakeGuest Load(int vcpus, TestElf? elf = null)
    {
        Assert.True(ElfImage.TryParse((elf ?? new TestElf()).Build(), out ElfImage? image, out _));
        FakeGuest guest = new(2 << 20) { VcpuCount = vcpus };
        Assert.True(PvhLoader.TryLoad(image, new PvhBootOptions(), guest, out PvhEntryState? entry, out ElfError? error), error?.Message);
        guest.StartInfo = entry.Ebx;
        return guest;
    }

    private static ulong FindRsdp(FakeGuest guest) => guest.U64(guest.StartInfo + 32);

    private static byte[] Table(FakeGuest guest, ulong address, string signature, byte revision)
    {
        Assert.Equal(0UL, address % 16);
        byte[] table = guest.Read(address, (int)guest.U32(address + 4));
        Assert.Equal(signature, Encoding.ASCII.GetString(table, 0, 4));
        Assert.Equal(revision, table[8]);
        Assert.Equal(0, Sum(table));
        Assert.Equal("Xen\0\0\0HVM\0\0\0\0\0\0\0\0\0HVML\0\0\0\0", Encoding.ASCII.GetString(table, 10, 26));
        return table;
    }

    private static string Ascii(FakeGuest guest, ulong address, int length) => Encoding.ASCII.GetString(guest.Read(address, length));

    private static byte Sum(byte[] bytes) => bytes.Aggregate((byte)0, (sum, b) => (byte)(sum + b));

    private static int Count(ReadOnlySpan<byte> where, ReadOnlySpan<byte> what)
    {
        int count = 0;
        for (int i = 0; i + what.Length <= where.Length; i++)
        {
            count += where.Slice(i, what.Length).SequenceEqual(what) ? 1 : 0;
        }

        return count;
    }

    private static void U16(Span<byte> bytes, int at, ushort value) => BinaryPrimitives.WriteUInt16LittleEndian(bytes[at..], value);

    private static void U32(Span<byte> bytes, int at, uint value) => BinaryPrimitives.WriteUInt32LittleEndian(bytes[at..], value);
}
