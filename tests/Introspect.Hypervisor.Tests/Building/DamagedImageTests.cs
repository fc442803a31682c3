using System.Text;
using Introspect.Hypervisor.Core.Building;

namespace Introspect.Hypervisor.Tests.Building;

/// <summary>What a damaged image comes to: it boots with its symbols, without them and with a warning, or not at all.</summary>
public sealed class DamagedImageTests
{
    private const int LinkAt32 = 24;
    private const int LinkAt64 = 40;

    private static readonly byte[] Wish =
        [.. TestElf.Note("Xen", 18, BitConverter.GetBytes(TestElf.Entry)), .. TestElf.Note("Xen", 11, Encoding.ASCII.GetBytes("yes\0"))];

    public static TheoryData<bool> Classes => new() { true, false };

    [Theory]
    [MemberData(nameof(Classes))]
    public void A_whole_symbol_table_is_loaded_without_a_warning(bool is64) => Boots(is64, static (_, _) => { }, warning: null, hasSymbols: true);

    [Theory]
    [MemberData(nameof(Classes))]
    public void An_image_without_a_symbol_table_boots_without_symbols(bool is64)
    {
        byte[] file = new TestElf { Is64 = is64, Notes = Wish }.Build();
        Assert.True(ElfImage.TryParse(file, out ElfImage? image, out _));
        Assert.Null(image.SymbolWarning);
        Assert.True(PvhLoader.TryLoad(image, new PvhBootOptions(), new FakeGuest(2 << 20), out _, out _));
        Assert.True(SymbolTable.TryRead(image, out SymbolTable? table, out _));
        Assert.Equal(0, table.Count);
    }

    [Theory]
    [MemberData(nameof(Classes))]
    public void A_symbol_table_whose_link_is_0_is_warned_of(bool is64) =>
        Boots(is64, static (elf, symbols) => TestElf.Put32(symbols, elf.Is64 ? LinkAt64 : LinkAt32, 0), "sh_link is 0");

    [Theory]
    [MemberData(nameof(Classes))]
    public void A_symbol_table_whose_link_is_out_of_range_is_warned_of(bool is64) =>
        Boots(is64, static (elf, symbols) => TestElf.Put32(symbols, elf.Is64 ? LinkAt64 : LinkAt32, 0xffff_ffff), "section 4294967295 of 4");

    [Theory]
    [MemberData(nameof(Classes))]
    public void A_symbol_table_whose_link_names_no_string_table_is_warned_of(bool is64) =>
        Boots(is64, static (elf, symbols) => TestElf.Put32(symbols, elf.Is64 ? LinkAt64 : LinkAt32, (uint)elf.SymbolSection), "no string table (type 2)");

    [Theory]
    [MemberData(nameof(Classes))]
    public void A_symbol_table_whose_size_leaves_the_image_is_warned_of(bool is64)
    {
        Boots(is64, static (elf, symbols) => elf.PutWord(symbols, 20, 32, 0x7fff_fff0), "0x7ffffff0 bytes of symbols at");
        Boots(is64, static (elf, symbols) => elf.PutWord(symbols, 16, 24, ulong.MaxValue - 7), "bytes of symbols at offset 0x");
    }

    [Theory]
    [MemberData(nameof(Classes))]
    public void Names_of_symbols_whose_size_leaves_the_image_are_warned_of(bool is64) =>
        Boots(is64, static (elf, symbols) => elf.PutWord(symbols[ElfFormat.SectionHeaderSize(elf.Is64)..], 20, 32, 0x7fff_fff0), "0x7ffffff0 bytes of symbols' names");

    [Theory]
    [MemberData(nameof(Classes))]
    public void A_symbol_table_with_entries_of_an_odd_size_is_warned_of(bool is64) =>
        Boots(is64, static (elf, symbols) => elf.PutWord(symbols, 36, 56, 23), "symbols of 23 bytes");

    [Theory]
    [MemberData(nameof(Classes))]
    public void An_insane_section_count_is_refused(bool is64) =>
        Refused(is64, static (elf, image) => TestElf.Put16(image.AsSpan(), elf.Is64 ? 60 : 48, 0xfff0), ElfErrorKind.Truncated, "65520 section headers");

    [Theory]
    [MemberData(nameof(Classes))]
    public void Insane_header_sizes_are_refused(bool is64)
    {
        Refused(is64, static (elf, image) => TestElf.Put16(image.AsSpan(), elf.Is64 ? 58 : 46, 8), ElfErrorKind.BadHeader, "section headers of 8 bytes");
        Refused(is64, static (elf, image) => TestElf.Put16(image.AsSpan(), elf.Is64 ? 58 : 46, 0xffff), ElfErrorKind.Truncated, "section headers at offset");
        Refused(is64, static (elf, image) => TestElf.Put16(image.AsSpan(), elf.Is64 ? 54 : 42, 8), ElfErrorKind.BadHeader, "program headers of 8 bytes");
    }

    [Theory]
    [MemberData(nameof(Classes))]
    public void A_program_header_outside_the_image_is_refused(bool is64) =>
        Refused(is64, static (elf, image) => elf.PutWord(image.AsSpan(elf.ProgramHeadersAt), 4, 8, 0x7fff_0000), ElfErrorKind.Truncated, "program header 0");

    [Theory]
    [MemberData(nameof(Classes))]
    public void A_section_that_nobody_reads_may_lie_outside_the_image(bool is64)
    {
        TestElf elf = new() { Is64 = is64, Notes = Wish, Symbols = [("f", TestElf.LoadAddress + 0x4000_0000, 0x12, 1)], OtherSections = [(".debug_info", [1, 2, 3])] };
        byte[] file = elf.Build();
        elf.PutWord(elf.SectionHeader(file, 1), 20, 32, 0x7fff_fff0);
        Assert.True(ElfImage.TryParse(file, out ElfImage? image, out ElfError? error), error?.Message);
        Assert.False(image.Sections[1].LiesInImage);
        Assert.Equal(".debug_info", image.Sections[1].Name);
        Assert.True(image.Content(image.Sections[1]).IsEmpty);
        Assert.All(image.Sections.Where(s => s.Index != 1), s => Assert.True(s.LiesInImage));
        Assert.Null(image.SymbolWarning);
        Assert.True(PvhLoader.TryLoad(image, new PvhBootOptions(), new FakeGuest(2 << 20), out _, out _));
    }

    [Theory]
    [MemberData(nameof(Classes))]
    public void Section_names_outside_the_image_leave_the_sections_without_names(bool is64)
    {
        TestElf elf = new() { Is64 = is64, OtherSections = [(".debug_info", [1, 2, 3])] };
        byte[] file = elf.Build();
        elf.PutWord(elf.SectionHeader(file, 2), 16, 24, 0x7fff_fff0);
        Assert.True(ElfImage.TryParse(file, out ElfImage? image, out ElfError? error), error?.Message);
        Assert.All(image.Sections, s => Assert.Empty(s.Name));
    }

    [Theory]
    [InlineData(true, 0x1000u)]
    [InlineData(false, 0x1000u)]
    [InlineData(true, uint.MaxValue)]
    [InlineData(false, uint.MaxValue)]
    public void A_section_name_outside_the_names_is_warned_of_and_the_symbols_are_there(bool is64, uint nameOffset)
    {
        TestElf elf = new() { Is64 = is64, Notes = Wish, Symbols = [("f", TestElf.LoadAddress + 0x4000_0000, 0x12, 1)], OtherSections = [(".debug_info", [1, 2, 3])] };
        byte[] file = elf.Build();
        Assert.True(ElfImage.TryParse(file, out ElfImage? whole, out ElfError? error), error?.Message);
        Assert.Null(whole.NameWarning);
        TestElf.Put32(elf.SectionHeader(file, 1), 0, nameOffset);
        Assert.True(ElfImage.TryParse(file, out ElfImage? image, out error), error?.Message);
        Assert.NotNull(image.NameWarning);
        Assert.Equal(ElfErrorKind.BadSection, image.NameWarning.Kind);
        Assert.StartsWith($"section 1 has its name at 0x{nameOffset:x}, with no end in the section names of 0x", image.NameWarning.Message, StringComparison.Ordinal);
        Assert.Equal(whole.Sections.Select(s => s.Index == 1 ? "" : s.Name), image.Sections.Select(s => s.Name));
        Assert.Null(image.SymbolWarning);
        Assert.True(SymbolTable.TryRead(image, out SymbolTable? table, out error), error?.Message);
        Assert.Equal(1, table.Count);
        Assert.True(PvhLoader.TryLoad(image, new PvhBootOptions(), new FakeGuest(2 << 20), out _, out error), error?.Message);
    }

    [Theory]
    [MemberData(nameof(Classes))]
    public void A_section_that_is_needed_by_a_name_outside_the_names_is_not_there(bool is64)
    {
        TestElf elf = new() { Is64 = is64, Notes = null, OtherSections = [(XenGuestSection.Name, Encoding.ASCII.GetBytes("GUEST_OS=old\0"))] };
        byte[] file = elf.Build();
        Assert.True(ElfImage.TryParse(file, out ElfImage? image, out ElfError? error), error?.Message);
        Assert.Equal(XenInfoSource.GuestSection, image.XenInfo.Source);
        TestElf.Put32(elf.SectionHeader(file, 1), 0, 0x1000);
        Assert.True(ElfImage.TryParse(file, out image, out error), error?.Message);
        Assert.Equal(XenInfoSource.None, image.XenInfo.Source);
        Assert.False(PvhLoader.TryLoad(image, new PvhBootOptions(), new FakeGuest(2 << 20), out _, out error));
        Assert.Equal(ElfErrorKind.NoPvhEntry, error.Kind);
        Assert.NotNull(image.NameWarning);
    }

    [Fact]
    public void A_section_name_without_an_end_is_warned_of()
    {
        TestElf elf = new() { Notes = Wish, OtherSections = [(".debug_info", [1, 2, 3])] };
        byte[] file = elf.Build();
        Assert.True(ElfImage.TryParse(file, out ElfImage? image, out ElfError? error), error?.Message);
        int names = image.Sections.Count - 1;
        Assert.Equal(ElfFormat.SectionStrtab, image.Sections[names].Type);

        // The names end within the last one.
        elf.PutWord(elf.SectionHeader(file, names), 20, 32, image.Sections[names].Size - 1);
        Assert.True(ElfImage.TryParse(file, out image, out error), error?.Message);
        Assert.NotNull(image.NameWarning);
        Assert.True(PvhLoader.TryLoad(image, new PvhBootOptions(), new FakeGuest(2 << 20), out _, out error), error?.Message);
    }

    [Theory]
    [MemberData(nameof(Classes))]
    public void A_note_section_outside_the_image_is_refused(bool is64)
    {
        TestElf elf = new() { Is64 = is64, SectionNotes = TestElf.Note("GNU", 3, [1]) };
        byte[] file = elf.Build();
        elf.PutWord(elf.SectionHeader(file, 1), 20, 32, 0x7fff_fff0);
        Assert.False(ElfImage.TryParse(file, out _, out ElfError? error));
        Assert.Equal(ElfErrorKind.Truncated, error.Kind);
        Assert.Contains("section 1 has 0x7ffffff0 bytes of notes", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_note_segment_without_an_offset_is_left_to_its_section()
    {
        TestElf elf = new() { Notes = new byte[64], SectionNotes = Wish };
        byte[] file = elf.Build();
        elf.PutWord(file.AsSpan(elf.ProgramHeadersAt + 56), 4, 8, 0);
        Assert.True(ElfImage.TryParse(file, out ElfImage? image, out ElfError? error), error?.Message);
        Assert.True(image.TryGetPvhEntry(out _, out _));
    }

    [Fact]
    public void Note_segments_over_each_other_do_not_multiply_what_is_read()
    {
        TestElf elf = new() { Segments = [.. Enumerable.Range(0, 8).Select(i => (TestElf.LoadAddress + (ulong)(i * 0x1000), new byte[0x400], 0x1000UL))] };
        byte[] file = elf.Build();
        for (int i = 0; i < 8; i++)
        {
            Span<byte> header = file.AsSpan(elf.ProgramHeadersAt + (i * 56));
            TestElf.Put32(header, 0, ElfFormat.SegmentNote);
            elf.PutWord(header, 4, 8, (ulong)elf.ProgramHeadersAt + (9 * 56));
            elf.PutWord(header, 16, 32, 8 * 0x400);
        }

        Assert.False(ElfImage.TryParse(file, out _, out ElfError? error));
        Assert.Equal(ElfErrorKind.TooMany, error.Kind);
    }

    private delegate void Damage(TestElf elf, Span<byte> symbolHeader);

    private static void Boots(bool is64, Damage damage, string? warning, bool hasSymbols = false)
    {
        TestElf elf = new() { Is64 = is64, Notes = Wish, Symbols = [("f", TestElf.LoadAddress + 0x4000_0000, 0x12, 1)] };
        byte[] file = elf.Build();
        damage(elf, file.AsSpan(elf.SectionHeadersAt + (elf.SymbolSection * ElfFormat.SectionHeaderSize(is64))));
        Assert.True(ElfImage.TryParse(file, out ElfImage? image, out ElfError? error), error?.Message);
        FakeGuest guest = new(2 << 20);
        Assert.True(PvhLoader.TryLoad(image, new PvhBootOptions(), guest, out PvhEntryState? entry, out error), error?.Message);
        Assert.Equal(hasSymbols, SymbolTable.TryRead(image, out _, out _));
        Assert.Equal(hasSymbols, guest.Read(TestElf.LoadAddress + 0x1800, 1)[0] != FakeGuest.Untouched);
        Assert.Equal(TestElf.LoadAddress + 0x2000, entry.Ebx);
        if (warning is null)
        {
            Assert.Null(image.SymbolWarning);
            return;
        }

        Assert.NotNull(image.SymbolWarning);
        Assert.Equal(ElfErrorKind.BadSymbol, image.SymbolWarning.Kind);
        Assert.Contains(warning, image.SymbolWarning.Message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', image.SymbolWarning.Message);
        Assert.Contains(';', image.SymbolWarning.Message);
    }

    private static void Refused(bool is64, Action<TestElf, byte[]> damage, ElfErrorKind kind, string words)
    {
        TestElf elf = new() { Is64 = is64, Notes = Wish, Symbols = [("f", TestElf.LoadAddress + 0x4000_0000, 0x12, 1)] };
        byte[] file = elf.Build();
        damage(elf, file);
        Assert.False(ElfImage.TryParse(file, out _, out ElfError? error));
        Assert.Equal(kind, error.Kind);
        Assert.Contains(words, error.Message, StringComparison.Ordinal);
    }
}
