using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Building;
using Introspect.Hypervisor.Core.Building.Acpi;
using Introspect.Hypervisor.Core.Domains;

namespace Introspect.Hypervisor.Tests.Building;

public sealed class PvhLoaderTests
{
    private const ulong Mebibyte = 1 << 20;

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Segments_go_to_their_physical_addresses_and_the_rest_is_zero(bool is64)
    {
        TestElf elf = new() { Is64 = is64 };
        FakeGuest guest = new(2 * Mebibyte);
        PvhEntryState entry = Load(elf, guest);
        Assert.Equal(elf.Segments[0].Content, guest.Read(TestElf.LoadAddress, 0x40));
        Assert.Equal(new byte[0x1800 - 0x40], guest.Read(TestElf.LoadAddress + 0x40, 0x1800 - 0x40));
        Assert.Equal(FakeGuest.Untouched, guest.Read(TestElf.LoadAddress - 1, 1)[0]);
        Assert.Equal(FakeGuest.Untouched, guest.Read(TestElf.LoadAddress + 0x1800, 1)[0]);
        Assert.Equal(TestElf.Entry, entry.Eip);
    }

    [Fact]
    public void The_start_info_is_of_version_1_and_tells_of_everything()
    {
        FakeGuest guest = new(2 * Mebibyte);
        PvhBootOptions options = new("console=hvc0", [new(new byte[] { 1, 2, 3 }, "initrd"), new(new byte[0x1001])]);
        uint at = Load(new TestElf(), guest, options).Ebx;
        Assert.Equal(0x336e_c578u, guest.U32(at));
        Assert.Equal(1u, guest.U32(at + 4));
        Assert.Equal(0u, guest.U32(at + 8));
        Assert.Equal(2u, guest.U32(at + 12));
        ulong modules = guest.U64(at + 16);
        Assert.Equal("console=hvc0", guest.Text(guest.U64(at + 24)));
        Assert.Equal(0xfc00_2000UL, guest.U64(at + 32));
        ulong map = guest.U64(at + 40);
        Assert.Equal(5u, guest.U32(at + 48));
        Assert.Equal(0u, guest.U32(at + 52));

        ulong first = guest.U64(modules);
        Assert.Equal(0x10_2000UL, first);
        Assert.Equal(3UL, guest.U64(modules + 8));
        Assert.Equal("initrd", guest.Text(guest.U64(modules + 16)));
        Assert.Equal([1, 2, 3], guest.Read(first, 3));
        Assert.Equal(0x10_3000UL, guest.U64(modules + 32));
        Assert.Equal(0x1001UL, guest.U64(modules + 40));
        Assert.Equal(0UL, guest.U64(modules + 48));
        Assert.Equal(0x10_5000u, at);

        Assert.Equal((0UL, 2 * Mebibyte, 1UL), (guest.U64(map), guest.U64(map + 8), guest.U64(map + 16)));
        Assert.Equal((0xfeff_8000UL, 0x8000UL, 2UL), (guest.U64(map + 24), guest.U64(map + 32), guest.U64(map + 40)));
        Assert.Equal((0xfc00_2000UL, 0x40UL, 3UL), (guest.U64(map + 48), guest.U64(map + 56), guest.U64(map + 64)));
        Assert.Equal((0xfc00_0000UL, 0x1000UL, 3UL), (guest.U64(map + 72), guest.U64(map + 80), guest.U64(map + 88)));
        Assert.Equal((0xfc00_1000UL, 0x1000UL, 3UL), (guest.U64(map + 96), guest.U64(map + 104), guest.U64(map + 112)));
    }

    [Fact]
    public void Without_command_line_and_modules_their_addresses_are_zero()
    {
        FakeGuest guest = new(2 * Mebibyte);
        uint at = Load(new TestElf(), guest).Ebx;
        Assert.Equal(0u, guest.U32(at + 12));
        Assert.Equal(0UL, guest.U64(at + 16));
        Assert.Equal(0UL, guest.U64(at + 24));
    }

    [Fact]
    public void The_vcpu_starts_as_the_boot_protocol_says()
    {
        VcpuState state = new PvhEntryState(0x10_0000, 0x20_0000).ToVcpuState();
        Assert.Equal(0x10_0000UL, state.Rip);
        Assert.Equal(0x20_0000UL, state.Rbx);
        Assert.Equal(0x11UL, state.Cr0);
        Assert.Equal(0UL, state.Cr3);
        Assert.Equal(0UL, state.Cr4);
        Assert.Equal(0UL, state.MsrEfer);
        Assert.Equal(2UL, state.Rflags);
        Assert.Equal(new SegmentState(0, 0xc09b, 0xffff_ffff, 0), state.Cs);
        foreach (SegmentState data in new[] { state.Ds, state.Es, state.Ss })
        {
            Assert.Equal(new SegmentState(0, 0xc093, 0xffff_ffff, 0), data);
        }

        Assert.Equal(new SegmentState(0, 0x8b, 0x67, 0), state.Tr);
    }

    [Fact]
    public void Too_little_memory_is_refused_with_both_sizes()
    {
        FakeGuest guest = new(Mebibyte);
        Refused(new TestElf(), guest, ElfErrorKind.MemoryTooSmall, "memory too small: the image needs 2 MiB, the domain has 1 MiB; use --memory");
    }

    [Fact]
    public void Modules_count_for_the_memory_that_is_needed()
    {
        PvhBootOptions options = new(null, [new(new byte[3 * Mebibyte])]);
        Refused(new TestElf(), new FakeGuest(4 * Mebibyte), ElfErrorKind.MemoryTooSmall, "the image needs 5 MiB", options);
        Load(new TestElf(), new FakeGuest(5 * Mebibyte), options);
    }

    [Fact]
    public void Memory_that_just_suffices_is_taken()
    {
        // Image 0x1800 at 1 MiB, one page of start info behind it.
        Load(new TestElf(), new FakeGuest(0x10_3000));
        Refused(new TestElf(), new FakeGuest(0x10_2000), ElfErrorKind.MemoryTooSmall, "--memory");
    }

    [Theory]
    [InlineData(0x7fff_0000UL)]
    [InlineData(0xfe00_0000UL)]
    [InlineData(0x7fff_ffff_0000_0000UL)]
    public void A_huge_segment_is_refused(ulong memorySize)
    {
        TestElf elf = new() { Segments = [(TestElf.LoadAddress, new byte[0x40], memorySize)] };
        Refused(elf, new FakeGuest(2 * Mebibyte), memorySize < 0x8000_0000 ? ElfErrorKind.MemoryTooSmall : ElfErrorKind.OutsideMemory, "; ");
    }

    [Fact]
    public void A_segment_at_the_very_top_is_refused()
    {
        TestElf elf = new() { Segments = [(TestElf.LoadAddress, new byte[0x40], 0x40), (ulong.MaxValue - 0x40, new byte[0x40], 0x40)] };
        Refused(elf, new FakeGuest(2 * Mebibyte), ElfErrorKind.OutsideMemory, "link the image lower");
    }

    [Fact]
    public void Overlapping_segments_are_refused()
    {
        TestElf elf = new() { Segments = [(TestElf.LoadAddress + 0x1000, new byte[8], 8), (TestElf.LoadAddress, new byte[0x40], 0x1001)] };
        Refused(elf, new FakeGuest(2 * Mebibyte), ElfErrorKind.Overlap, "program headers 1 and 0 both load to 0x101000");
    }

    [Fact]
    public void Segments_side_by_side_are_taken()
    {
        TestElf elf = new() { Segments = [(TestElf.LoadAddress + 0x1000, [1], 8), (TestElf.LoadAddress, new byte[0x40], 0x1000)] };
        FakeGuest guest = new(2 * Mebibyte);
        Load(elf, guest);
        Assert.Equal(1, guest.Read(TestElf.LoadAddress + 0x1000, 1)[0]);
    }

    [Fact]
    public void An_image_that_loads_nothing_is_refused()
    {
        Refused(new TestElf { Segments = [] }, new FakeGuest(2 * Mebibyte), ElfErrorKind.NothingToLoad, "1 program headers");
        Refused(new TestElf { Segments = [(TestElf.LoadAddress, [], 0)] }, new FakeGuest(2 * Mebibyte), ElfErrorKind.NothingToLoad, "2 program headers");
    }

    [Fact]
    public void A_zero_in_a_command_line_is_refused() =>
        Refused(new TestElf(), new FakeGuest(2 * Mebibyte), ElfErrorKind.BadCommandLine, "position 3", new PvhBootOptions("abc\0def"));

    [Fact]
    public void Memory_beyond_the_hole_goes_above_4_gib()
    {
        IReadOnlyList<MemoryMapEntry> map = GuestMemoryMap.Entries(5UL << 30, PvhAcpi.Build(1, rsdpInBios: false));
        Assert.Equal(6, map.Count);
        Assert.Equal(new MemoryMapEntry(0, 0xfc00_0000, MemmapType.Ram), map[0]);
        Assert.Equal(MemmapType.Reserved, map[1].Type);
        Assert.Equal(new MemoryMapEntry(1UL << 32, (5UL << 30) - 0xfc00_0000, MemmapType.Ram), map[5]);
    }

    [Fact]
    public void The_special_pages_are_where_a_toolstack_puts_them()
    {
        Assert.Equal(0xfeff8UL, SpecialPages.FirstGfn);
        Dictionary<uint, ulong> parameters = SpecialPages.Parameters.ToDictionary(p => p.Parameter, p => p.Value);
        Assert.Equal(0xfeffcUL, parameters[1]);
        Assert.Equal(0xfeffdUL, parameters[5]);
        Assert.Equal(0xfeffbUL, parameters[6]);
        Assert.Equal(0xfeffe000UL, parameters[12]);
        Assert.Equal(0xfefffUL, parameters[17]);
        Assert.Equal(0xfeff8UL, parameters[27]);
        Assert.Equal(0xfeff9UL, parameters[28]);
        Assert.Equal(0xfeffaUL, parameters[29]);
    }

    [Fact]
    public void The_special_pages_start_as_zeros_but_for_the_identity_map()
    {
        FakeGuest guest = new(Mebibyte);
        SpecialPagesContent.Write(guest);
        Assert.Equal(new byte[4096], guest.Read(SpecialPages.MonitorRing << 12, 4096));
        Assert.Equal(new byte[4096], guest.Read(SpecialPages.Console << 12, 4096));
        Assert.Equal(0xe7u, guest.U32(SpecialPages.IdentityPageTable << 12));
        Assert.Equal(0xffc0_00e7u, guest.U32((SpecialPages.IdentityPageTable << 12) + 4092));
    }

    [XtfFact]
    public void Every_image_of_the_test_framework_loads()
    {
        foreach (string file in Directory.GetFiles(XtfFactAttribute.Folder!, "test-hvm*"))
        {
            Assert.True(ElfImage.TryParse(File.ReadAllBytes(file), out ElfImage? image, out ElfError? error), $"{file}: {error}");
            Assert.True(SymbolTable.TryRead(image, out SymbolTable? symbols, out error), $"{file}: {error}");
            FakeGuest guest = new(16 * Mebibyte);
            Assert.True(PvhLoader.TryLoad(image, new PvhBootOptions(), guest, out PvhEntryState? entry, out error), $"{file}: {error}");
            Assert.NotNull(symbols.Describe(entry.Eip));
        }
    }

    private static PvhEntryState Load(TestElf elf, FakeGuest guest, PvhBootOptions? options = null)
    {
        Assert.True(ElfImage.TryParse(elf.Build(), out ElfImage? image, out _));
        bool loaded = PvhLoader.TryLoad(image, options ?? new PvhBootOptions(), guest, out PvhEntryState? entry, out ElfError? error);
        Assert.True(loaded, error?.Message);
        return entry!;
    }

    private static void Refused(TestElf elf, FakeGuest guest, ElfErrorKind kind, string words, PvhBootOptions? options = null)
    {
        ElfError? error;
        if (ElfImage.TryParse(elf.Build(), out ElfImage? image, out error))
        {
            Assert.False(PvhLoader.TryLoad(image, options ?? new PvhBootOptions(), guest, out _, out error));
        }

        Assert.Equal(kind, error.Kind);
        Assert.Contains(words, error.Message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', error.Message);
        Assert.False(guest.WasTouched);
    }

    /// <summary>Needs the folder of images that INTROSPECT_XTF names.</summary>
    private sealed class XtfFactAttribute : FactAttribute
    {
        public XtfFactAttribute() => Skip = Folder is null ? "INTROSPECT_XTF names no folder of images" : null;

        public static string? Folder => Environment.GetEnvironmentVariable("INTROSPECT_XTF");
    }
}
