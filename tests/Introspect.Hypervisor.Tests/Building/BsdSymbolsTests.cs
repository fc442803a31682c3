using System.Text;
using Introspect.Hypervisor.Core.Building;

namespace Introspect.Hypervisor.Tests.Building;

public sealed class BsdSymbolsTests
{
    private const ulong KernelEnd = TestElf.LoadAddress + 0x1800;
    private const byte Function = 0x12;

    private static readonly byte[] Wish =
        [.. TestElf.Note("Xen", 18, BitConverter.GetBytes(TestElf.Entry)), .. TestElf.Note("Xen", 11, Encoding.ASCII.GetBytes("yes\0"))];

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Behind_the_kernel_come_a_size_a_header_with_three_sections_and_two_tables(bool is64)
    {
        TestElf elf = With(is64, "alpha", "beta");
        byte[] file = elf.Build();
        FakeGuest guest = new(2 << 20);
        Load(file, guest);

        (int headerSize, int stride, int align) = is64 ? (64, 64, 8) : (52, 40, 4);
        ulong header = KernelEnd + 4;
        byte[] ehdr = guest.Read(header, 64);
        Assert.Equal(file[..20], ehdr[..20]);
        Assert.Equal(1u, U32(ehdr, 20));
        Assert.Equal(Word(file, is64, 24, 24), Word(ehdr, is64, 24, 24));
        Assert.Equal(0UL, Word(ehdr, is64, 28, 32));
        Assert.Equal(64UL, Word(ehdr, is64, 32, 40));
        int sizes = is64 ? 52 : 40;
        Assert.Equal([headerSize, 0, 0, stride, 3, 0], Enumerable.Range(0, 6).Select(i => (int)U16(ehdr, sizes + (i * 2))));
        Assert.Equal(new byte[64 - headerSize], ehdr[headerSize..]);

        byte[] sections = guest.Read(header + 64, stride * 3);
        Assert.Equal(new byte[stride], sections[..stride]);
        ulong tablesAt = (KernelEnd + 260 + (ulong)align - 1) & ~((ulong)align - 1);
        Section symbols = new(elf, file, elf.SymbolSection);
        Section names = new(elf, file, elf.SymbolSection + 1);
        ulong namesAt = (tablesAt + symbols.Size + (ulong)align - 1) & ~((ulong)align - 1);
        Assert.Equal(symbols.Moved(tablesAt - header, 2), sections[stride..(2 * stride)]);
        Assert.Equal(names.Moved(namesAt - header, 0), sections[(2 * stride)..]);
        Assert.Equal(symbols.Content, guest.Read(tablesAt, symbols.Content.Length));
        Assert.Equal(names.Content, guest.Read(namesAt, names.Content.Length));
        Assert.Equal((uint)(namesAt + names.Size - header), guest.U32(KernelEnd));
        Assert.Equal(is64 ? 260UL : 256UL, tablesAt - header);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void What_a_guest_finds_there_is_an_image_with_its_symbols(bool is64)
    {
        TestElf elf = With(is64, "alpha", "beta");
        FakeGuest guest = new(2 << 20);
        Load(elf.Build(), guest);
        byte[] found = guest.Read(KernelEnd + 4, (int)guest.U32(KernelEnd));
        Assert.True(ElfImage.TryParse(found, out ElfImage? image, out ElfError? error), error?.Message);
        Assert.Equal(3, image.Sections.Count);
        Assert.Null(image.SymbolWarning);
        Assert.True(SymbolTable.TryRead(image, out SymbolTable? table, out _));
        Assert.Equal(["alpha", "beta"], table.Names);
        Assert.True(table.TryGetAddress("beta", out ulong address));
        Assert.Equal(AddressOf(1), address);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void The_space_that_is_computed_is_never_less_than_what_is_written(bool is64)
    {
        Random random = new(20_250_611);
        for (int round = 0; round < 300; round++)
        {
            string[] names = [.. Enumerable.Range(0, random.Next(40)).Select(i => new string((char)('a' + (i % 26)), random.Next(1, 60)))];
            ulong memorySize = 0x40 + (ulong)random.Next(0x3000);
            TestElf elf = new()
            {
                Is64 = is64,
                Notes = Wish,
                Symbols = [.. names.Select((n, i) => (n, AddressOf(i), Function, (ushort)1))],
                Segments = [(TestElf.LoadAddress, new byte[0x40], memorySize)],
            };
            byte[] file = elf.Build();
            // Tables need not be whole numbers of anything.
            elf.PutWord(elf.SectionHeader(file, elf.SymbolSection), 20, 32, new Section(elf, file, elf.SymbolSection).Size - (ulong)random.Next(0, 8));
            ImageLayout layout = Plan(file);
            BsdSymbols planned = layout.Symbols!;
            FakeGuest guest = new(2 << 20);
            layout.Write(guest);

            ulong kernelEnd = TestElf.LoadAddress + memorySize;
            Assert.Equal(layout.End, planned.End);
            Assert.Equal(planned.End, guest.HighestWritten);
            Assert.InRange(planned.Start, kernelEnd, kernelEnd + 7);
            Assert.InRange(guest.U32(planned.Start) + 4UL, 1UL, planned.End - planned.Start);
            Assert.Equal(new byte[planned.Start - kernelEnd].Length, guest.Read(kernelEnd, (int)(planned.Start - kernelEnd)).Count(b => b == FakeGuest.Untouched));
        }
    }

    [Fact]
    public void The_space_is_not_72_bytes_short_for_the_32_bit_class()
    {
        TestElf elf = With(is64: false, "alpha");
        byte[] file = elf.Build();
        BsdSymbols planned = Plan(file).Symbols!;
        ulong symbols = new Section(elf, file, elf.SymbolSection).Size;
        ulong names = (new Section(elf, file, elf.SymbolSection + 1).Size + 3) & ~3UL;
        // With section headers of 40 bytes the tables would begin 72 bytes before the place to which they are written.
        ulong short32 = 4 + 64 + (3 * 40) + symbols + names;
        Assert.Equal(short32 + 72, planned.End - planned.Start);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Only_the_one_table_and_its_names_are_copied(bool is64)
    {
        TestElf plain = With(is64, "alpha");
        TestElf more = new()
        {
            Is64 = is64,
            Notes = Wish,
            Symbols = plain.Symbols,
            OtherSections = [(".debug_str", new byte[0x2000]), (".strtab.dwo", new byte[0x1000])],
        };
        byte[] file = more.Build();
        TestElf.Put32(more.SectionHeader(file, 2), 4, ElfFormat.SectionStrtab);
        BsdSymbols expected = Plan(plain.Build()).Symbols!;
        BsdSymbols planned = Plan(file).Symbols!;
        Assert.Equal(expected.End, planned.End);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Modules_and_start_info_go_behind_the_symbols(bool is64)
    {
        // The symbols reach over the page in which the kernel ends.
        TestElf elf = With(is64, [.. Enumerable.Range(0, 100).Select(i => $"{new string('n', 90)}{i}")]);
        byte[] file = elf.Build();
        FakeGuest guest = new(2 << 20);
        uint startInfo = Load(file, guest, new PvhBootOptions(null, [new(new byte[] { 1, 2, 3 })]));
        ulong module = guest.U64(guest.U64(startInfo + 16));
        ulong end = Plan(file).End;
        Assert.True(end > KernelEnd + 0x2000);
        Assert.Equal((end + 4095) & ~4095UL, module);
        Assert.Equal([1, 2, 3], guest.Read(module, 3));
        Section names = new(elf, file, elf.SymbolSection + 1);
        Assert.Equal(names.Content, guest.Read(Plan(file).Symbols!.NamesAddress, names.Content.Length));
    }

    [Fact]
    public void Symbols_count_for_the_memory_that_is_needed()
    {
        byte[] file = With(is64: true, [.. Enumerable.Range(0, 1000).Select(i => $"{new string('n', 90)}{i}")]).Build();
        Assert.True(ElfImage.TryParse(file, out ElfImage? image, out _));
        FakeGuest guest = new(0x10_4000);
        Assert.False(PvhLoader.TryLoad(image, new PvhBootOptions(), guest, out _, out ElfError? error));
        Assert.Equal(ElfErrorKind.MemoryTooSmall, error.Kind);
        Assert.False(guest.WasTouched);
    }

    [Fact]
    public void Who_does_not_ask_gets_none()
    {
        byte[] file = new TestElf { Symbols = [("alpha", AddressOf(0), Function, 1)] }.Build();
        Assert.Null(Plan(file).Symbols);
        Assert.Equal(KernelEnd, Plan(file).End);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void An_image_for_another_protocol_gets_them_by_the_same_code(bool is64)
    {
        // A PV image: no PVH entry, its wish in the legacy section.
        TestElf elf = new()
        {
            Is64 = is64,
            Notes = null,
            OtherSections = [("__xen_guest", "GUEST_OS=netbsd,VIRT_BASE=0xc0000000,BSD_SYMTAB\0"u8.ToArray())],
            Symbols = [("alpha", AddressOf(0), Function, 1), ("beta", AddressOf(1), Function, 1)],
        };
        FakeGuest other = new(2 << 20);
        ImageLayout layout = Plan(elf.Build());
        layout.Write(other);
        FakeGuest guest = new(2 << 20);
        Load(With(is64, "alpha", "beta").Build(), guest);
        int tables = (int)(layout.End - layout.Symbols!.SymbolsAddress);
        Assert.Equal(guest.Read(layout.Symbols.SymbolsAddress, tables), other.Read(layout.Symbols.SymbolsAddress, tables));
        Assert.Equal(guest.U32(KernelEnd), other.U32(KernelEnd));
    }

    private static ulong AddressOf(int index) => TestElf.LoadAddress + 0x4000_0000 + (ulong)(index * 4);

    private static TestElf With(bool is64, params string[] names) =>
        new() { Is64 = is64, Notes = Wish, Symbols = [.. names.Select((n, i) => (n, AddressOf(i), Function, (ushort)1))] };

    private static ImageLayout Plan(byte[] file)
    {
        Assert.True(ElfImage.TryParse(file, out ElfImage? image, out ElfError? error), error?.Message);
        Assert.True(ImageLayout.TryPlan(image, out ImageLayout? layout, out error), error?.Message);
        return layout;
    }

    private static uint Load(byte[] file, FakeGuest guest, PvhBootOptions? options = null)
    {
        Assert.True(ElfImage.TryParse(file, out ElfImage? image, out ElfError? error), error?.Message);
        Assert.True(PvhLoader.TryLoad(image, options ?? new PvhBootOptions(), guest, out PvhEntryState? entry, out error), error?.Message);
        return entry.Ebx;
    }

    private static ushort U16(byte[] bytes, int at) => BitConverter.ToUInt16(bytes, at);

    private static uint U32(byte[] bytes, int at) => BitConverter.ToUInt32(bytes, at);

    private static ulong Word(byte[] bytes, bool is64, int at32, int at64) => is64 ? BitConverter.ToUInt64(bytes, at64) : BitConverter.ToUInt32(bytes, at32);

    /// <summary>A section as it stands in the file.</summary>
    private sealed class Section(TestElf elf, byte[] file, int index)
    {
        private readonly byte[] _header = elf.SectionHeader(file, index).ToArray();

        public ulong Size => Word(_header, elf.Is64, 20, 32);

        public byte[] Content => file.AsSpan((int)Word(_header, elf.Is64, 16, 24), (int)Size).ToArray();

        /// <summary>Its header with another place and link, and all else as it was.</summary>
        public byte[] Moved(ulong offset, uint link)
        {
            byte[] header = [.. _header];
            elf.PutWord(header, 16, 24, offset);
            TestElf.Put32(header, elf.Is64 ? 40 : 24, link);
            return header;
        }
    }
}
