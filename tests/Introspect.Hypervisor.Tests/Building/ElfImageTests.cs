using System.Text;
using Introspect.Hypervisor.Core.Building;

namespace Introspect.Hypervisor.Tests.Building;

public sealed class ElfImageTests
{
    private readonly FakeGuest _scratch = new(0x11_0000);

    [Theory]
    [InlineData(true, ElfFormat.MachineX86_64)]
    [InlineData(false, ElfFormat.MachineX86_64)]
    [InlineData(false, ElfFormat.Machine386)]
    public void Images_of_each_class_and_machine_are_taken(bool is64, ushort machine)
    {
        TestElf elf = new() { Is64 = is64, Machine = machine };
        ElfImage image = Parse(elf.Build());
        Assert.Equal(is64, image.Is64);
        Assert.Equal(machine, image.Machine);
        Assert.Equal(TestElf.LoadAddress, image.Entry);
        ElfSegment segment = Assert.Single(image.LoadableSegments);
        Assert.Equal(TestElf.LoadAddress, segment.PhysicalAddress);
        Assert.Equal(TestElf.LoadAddress + 0x4000_0000, segment.VirtualAddress);
        Assert.Equal(0x1800UL, segment.MemorySize);
        Assert.Equal(7u, segment.Flags);
        Assert.Equal(elf.Segments[0].Content, image.Content(segment).ToArray());
        Assert.True(image.TryGetPvhEntry(out uint entry, out _));
        Assert.Equal(TestElf.Entry, entry);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(4)]
    [InlineData(15)]
    [InlineData(63)]
    [InlineData(100)]
    [InlineData(200)]
    public void A_truncated_image_is_refused(int length)
    {
        byte[] whole = new TestElf().Build();
        ElfErrorKind expected = length < 4 ? ElfErrorKind.NotElf : ElfErrorKind.Truncated;
        Assert.Equal(expected, Refused(whole[..length]).Kind);
    }

    [Fact]
    public void No_prefix_of_an_image_is_taken_or_throws()
    {
        foreach (bool is64 in new[] { true, false })
        {
            byte[] whole = new TestElf { Is64 = is64, Symbols = [("f", TestElf.Entry, 0x12, 1)] }.Build();
            for (int length = 0; length < whole.Length; length++)
            {
                Refused(whole[..length]);
            }
        }
    }

    [Fact]
    public void No_damaged_byte_or_word_throws()
    {
        foreach (bool is64 in new[] { true, false })
        {
            byte[] whole = new TestElf { Is64 = is64, Symbols = [("f", TestElf.Entry, 0x12, 1)], SectionNotes = TestElf.Note("GNU", 1, [1]) }.Build();
            for (int at = 0; at < whole.Length; at++)
            {
                foreach (byte value in new byte[] { 0, 1, 0x7f, 0x80, 0xff })
                {
                    TryEverything([.. whole[..at], value, .. whole[(at + 1)..]]);
                    byte[] words = [.. whole];
                    words.AsSpan(at, Math.Min(8, whole.Length - at)).Fill(value);
                    TryEverything(words);
                }
            }
        }
    }

    [Fact]
    public void An_empty_file_is_refused() => Refused([], ElfErrorKind.Empty, "empty");

    [Fact]
    public void A_file_that_is_not_elf_is_refused() =>
        Refused("#!/bin/sh"u8.ToArray(), ElfErrorKind.NotElf, "23212f62");

    [Fact]
    public void A_bzimage_is_refused_by_name()
    {
        byte[] image = new byte[0x400];
        "HdrS"u8.CopyTo(image.AsSpan(0x202));
        Refused(image, ElfErrorKind.NotElf, "bzImage");
    }

    [Fact]
    public void A_big_endian_image_is_refused_by_name() =>
        Refused(Changed(i => i[5] = 2), ElfErrorKind.BigEndian, "big-endian");

    [Theory]
    [InlineData(183, "AArch64")]
    [InlineData(243, "RISC-V")]
    [InlineData(9999, "9999 (unknown)")]
    public void Another_machine_is_refused_by_name(ushort machine, string name) =>
        Refused(new TestElf { Machine = machine }.Build(), ElfErrorKind.WrongMachine, name);

    [Fact]
    public void A_64_bit_image_for_a_32_bit_machine_is_refused() =>
        Refused(new TestElf { Machine = ElfFormat.Machine386 }.Build(), ElfErrorKind.WrongClass, "80386");

    [Fact]
    public void An_unknown_class_is_refused() => Refused(Changed(i => i[4] = 3), ElfErrorKind.WrongClass, "class 3");

    [Fact]
    public void An_unknown_encoding_is_refused() => Refused(Changed(i => i[5] = 7), ElfErrorKind.BadHeader, "encoding 7");

    [Fact]
    public void An_unknown_version_is_refused()
    {
        Refused(Changed(i => i[6] = 2), ElfErrorKind.WrongVersion, "version 2");
        Refused(Changed(i => i[20] = 3), ElfErrorKind.WrongVersion, "version 3");
    }

    [Fact]
    public void An_object_file_is_refused() =>
        Refused(new TestElf { Type = 1 }.Build(), ElfErrorKind.WrongType, "type 1");

    [Fact]
    public void An_image_without_a_pvh_note_is_refused_with_the_remedy()
    {
        ElfImage image = Parse(new TestElf { Notes = TestElf.Note("Xen", 1, [0, 0, 0, 0]) }.Build());
        Assert.False(image.TryGetPvhEntry(out _, out ElfError? error));
        OneLine(error, ElfErrorKind.NoPvhEntry, "PHYS32_ENTRY");
        Assert.Contains("CONFIG_PVH", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void An_entry_outside_what_is_loaded_is_refused()
    {
        ElfImage image = Parse(new TestElf { Notes = TestElf.Note("Xen", 18, BitConverter.GetBytes(0x10_1800)) }.Build());
        Assert.False(image.TryGetPvhEntry(out _, out ElfError? error));
        OneLine(error, ElfErrorKind.BadEntry, "0x101800");
    }

    [Theory]
    [InlineData(3)]
    [InlineData(0)]
    [InlineData(16)]
    public void An_entry_note_of_odd_length_is_refused(int length)
    {
        ElfImage image = Parse(new TestElf { Notes = TestElf.Note("Xen", 18, new byte[length]) }.Build());
        Assert.False(image.TryGetPvhEntry(out _, out ElfError? error));
        OneLine(error, ElfErrorKind.BadNote, $"{length} bytes");
    }

    [Fact]
    public void An_entry_note_of_eight_bytes_is_taken()
    {
        Assert.True(Parse(new TestElf { Notes = TestElf.Note("Xen", 18, BitConverter.GetBytes((ulong)TestElf.Entry)) }.Build()).TryGetPvhEntry(out uint entry, out _));
        Assert.Equal(TestElf.Entry, entry);
        Assert.False(Parse(new TestElf { Notes = TestElf.Note("Xen", 18, BitConverter.GetBytes(1UL << 32)) }.Build()).TryGetPvhEntry(out _, out _));
    }

    [Fact]
    public void Notes_of_xen_are_found_among_others_and_have_their_values()
    {
        byte[] notes =
        [
            .. TestElf.Note("GNU", 18, [9, 9, 9, 9]),
            .. TestElf.Note("Xen", 6, Encoding.ASCII.GetBytes("linux\0")),
            .. TestElf.Note("Xen", 18, BitConverter.GetBytes(TestElf.Entry)),
            .. TestElf.Note("Xen", 3, BitConverter.GetBytes(0xffff_ffff_8000_0000)),
        ];
        ElfImage image = Parse(new TestElf { Notes = notes }.Build());
        Assert.Equal(4, image.Notes.Count);
        Assert.Equal(3, image.XenNotes.Count);
        Assert.Equal("linux", image.XenNotes.Text(XenNoteType.GuestOs));
        Assert.Equal(0xffff_ffff_8000_0000, image.XenNotes.Number(XenNoteType.VirtBase));
        Assert.Null(image.XenNotes.Number(XenNoteType.HypercallPage));
        Assert.Null(image.XenNotes.Text(XenNoteType.Features));
        Assert.True(image.TryGetPvhEntry(out _, out _));
    }

    [Fact]
    public void Notes_in_sections_count_when_no_segment_has_one_of_xen()
    {
        byte[] entry = TestElf.Note("Xen", 18, BitConverter.GetBytes(TestElf.Entry));
        Assert.True(Parse(new TestElf { Notes = null, SectionNotes = entry }.Build()).TryGetPvhEntry(out _, out _));
        byte[] gnu = TestElf.Note("GNU", 3, [1, 2, 3]);
        Assert.True(Parse(new TestElf { Notes = gnu, SectionNotes = entry }.Build()).TryGetPvhEntry(out _, out _));

        byte[] elsewhere = TestElf.Note("Xen", 18, BitConverter.GetBytes(TestElf.Entry + 1));
        Assert.True(Parse(new TestElf { Notes = entry, SectionNotes = elsewhere }.Build()).TryGetPvhEntry(out uint found, out _));
        Assert.Equal(TestElf.Entry, found);
    }

    [Fact]
    public void Notes_padded_to_eight_bytes_are_read_where_the_segment_says_so()
    {
        // Header 12 + name 4 = 16, content 4, padded to 24; then the next.
        byte[] notes = [.. TestElf.Note("GNU", 5, [1, 2, 3, 4]), .. new byte[4], .. TestElf.Note("Xen", 18, BitConverter.GetBytes(TestElf.Entry))];
        Assert.True(Parse(new TestElf { Notes = notes, NoteAlignment = 8 }.Build()).TryGetPvhEntry(out _, out _));
    }

    [Fact]
    public void Notes_padded_to_four_bytes_are_read_behind_a_property_that_makes_the_segment_say_eight()
    {
        // What a linker script makes that gathers all notes: the property with its 16 bytes, then Xen's, 20 bytes each.
        byte[] notes =
        [
            .. TestElf.Note("GNU", 5, new byte[16]),
            .. TestElf.Note("Xen", 3, [0, 0, 0, 0x80]),
            .. TestElf.Note("FreeBSD", 1, [1, 2, 3, 4]),
            .. TestElf.Note("Xen", 18, BitConverter.GetBytes(TestElf.Entry)),
        ];
        ElfImage image = Parse(new TestElf { Notes = notes, NoteAlignment = 8 }.Build());
        Assert.Equal(["GNU", "Xen", "FreeBSD", "Xen"], image.Notes.Select(n => n.Owner));
        Assert.Equal(0x8000_0000, image.XenNotes.Number(XenNoteType.VirtBase));
        Assert.True(image.TryGetPvhEntry(out _, out _));
    }

    [Theory]
    [InlineData(0, 0xffff_ffff)]
    [InlineData(0, 0x7fff_fff0)]
    [InlineData(4, 0xffff_ffff)]
    [InlineData(4, 9)]
    public void A_note_beyond_its_area_is_refused(int field, uint value)
    {
        byte[] note = TestElf.Note("Xen", 18, BitConverter.GetBytes(TestElf.Entry));
        TestElf.Put32(note, field, value);
        Refused(new TestElf { Notes = note }.Build(), ElfErrorKind.BadNote, $"{value} ");
    }

    [Fact]
    public void More_notes_than_any_image_has_are_refused()
    {
        byte[] notes = new byte[12 * 70_000];
        Refused(new TestElf { Notes = notes }.Build(), ElfErrorKind.TooMany, "65536 notes");
    }

    [Theory]
    [InlineData(4, 8, "0x7fffffff")]
    [InlineData(16, 32, "0x7fffffff")]
    public void A_program_header_outside_the_image_is_refused(int offset32, int offset64, string value)
    {
        foreach (bool is64 in new[] { true, false })
        {
            Refused(ChangedSegment(is64, offset32, offset64, 0x7fff_ffff), ElfErrorKind.Truncated, value);
        }
    }

    [Fact]
    public void A_program_header_whose_end_wraps_is_refused()
    {
        Refused(ChangedSegment(true, 4, 8, ulong.MaxValue - 8), ElfErrorKind.Truncated, "0xfffffffffffffff7");
        Refused(ChangedSegment(true, 20, 40, ulong.MaxValue), ElfErrorKind.BadSegment, "address space");
    }

    [Fact]
    public void Less_memory_than_file_is_refused() =>
        Refused(ChangedSegment(true, 20, 40, 0x3f), ElfErrorKind.BadSegment, "0x3f in memory");

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void A_segment_without_any_right_of_access_is_not_loaded(bool is64)
    {
        TestElf elf = new() { Is64 = is64, Segments = [(TestElf.LoadAddress, new byte[0x40], 0x1800), (TestElf.LoadAddress, new byte[0x40], 0x9000)] };
        byte[] image = elf.Build();
        Span<byte> second = image.AsSpan(elf.ProgramHeadersAt + ElfFormat.ProgramHeaderSize(is64));
        TestElf.Put32(second, is64 ? 4 : 24, 0);
        Assert.Equal(0x1800UL, Assert.Single(Parse(image).LoadableSegments).MemorySize);
        Assert.True(ImageLayout.TryPlan(Parse(image), out ImageLayout? layout, out _));
        Assert.Equal(TestElf.LoadAddress + 0x1800, layout.End);
    }

    [Theory]
    [InlineData(56, 0xfffe, nameof(ElfErrorKind.Truncated), "65534 program headers")]
    [InlineData(56, 0xffff, nameof(ElfErrorKind.TooMany), "65535 program headers")]
    [InlineData(54, 55, nameof(ElfErrorKind.BadHeader), "55 bytes")]
    [InlineData(60, 0xfffe, nameof(ElfErrorKind.Truncated), "65534 section headers")]
    [InlineData(58, 63, nameof(ElfErrorKind.BadHeader), "63 bytes")]
    [InlineData(62, 40, nameof(ElfErrorKind.BadSection), "section 40")]
    public void Insane_counts_and_sizes_in_the_header_are_refused(int offset, ushort value, string kind, string words) =>
        Refused(Changed(i => TestElf.Put16(i, offset, value)), Enum.Parse<ElfErrorKind>(kind), words);

    [Fact]
    public void A_section_count_beyond_the_header_is_read_and_limited()
    {
        TestElf elf = new();
        byte[] image = elf.Build();
        TestElf.Put16(image, 60, 0);
        elf.PutWord(image.AsSpan(elf.SectionHeadersAt), 20, 32, 2);
        Assert.Equal(2, Parse(image).Sections.Count);
        elf.PutWord(image.AsSpan(elf.SectionHeadersAt), 20, 32, ulong.MaxValue);
        Refused(image, ElfErrorKind.TooMany, "section headers");
    }

    [Fact]
    public void Tables_at_impossible_offsets_are_refused()
    {
        Refused(Changed(i => BitConverter.TryWriteBytes(i.AsSpan(32), ulong.MaxValue - 3)), ElfErrorKind.Truncated, "0xfffffffffffffffc");
        Refused(Changed(i => BitConverter.TryWriteBytes(i.AsSpan(40), ulong.MaxValue - 3)), ElfErrorKind.Truncated, "0xfffffffffffffffc");
    }

    [Fact]
    public void A_stripped_image_has_no_sections()
    {
        byte[] image = new TestElf().Build();
        image.AsSpan(40, 8).Clear();
        Assert.Empty(Parse(image).Sections);
    }

    private static byte[] Changed(Action<byte[]> change)
    {
        byte[] image = new TestElf().Build();
        change(image);
        return image;
    }

    private static byte[] ChangedSegment(bool is64, int offset32, int offset64, ulong value)
    {
        TestElf elf = new() { Is64 = is64, Machine = ElfFormat.MachineX86_64 };
        byte[] image = elf.Build();
        elf.PutWord(image.AsSpan(elf.ProgramHeadersAt), offset32, offset64, value);
        return image;
    }

    private void TryEverything(byte[] bytes)
    {
        if (ElfImage.TryParse(bytes, out ElfImage? image, out ElfError? error))
        {
            SymbolTable.TryRead(image, out SymbolTable? symbols, out _);
            symbols?.TryGetAddress("f", out _);
            symbols?.Describe(TestElf.Entry);
            PvhLoader.TryLoad(image, new PvhBootOptions("x"), _scratch, out _, out _);
        }
        else
        {
            OneLine(error);
        }
    }

    private static ElfImage Parse(byte[] bytes)
    {
        bool parsed = ElfImage.TryParse(bytes, out ElfImage? image, out ElfError? error);
        Assert.True(parsed, error?.Message);
        return image!;
    }

    private static ElfError Refused(byte[] bytes)
    {
        Assert.False(ElfImage.TryParse(bytes, out _, out ElfError? error));
        OneLine(error);
        return error;
    }

    private static void Refused(byte[] bytes, ElfErrorKind kind, string words) => OneLine(Refused(bytes), kind, words);

    private static void OneLine(ElfError error, ElfErrorKind kind, string words)
    {
        Assert.Equal(kind, error.Kind);
        Assert.Contains(words, error.Message, StringComparison.Ordinal);
        OneLine(error);
    }

    private static void OneLine(ElfError error)
    {
        Assert.DoesNotContain('\n', error.Message);
        Assert.False(error.Message.EndsWith('.'));
        Assert.Contains(';', error.Message);
    }
}
