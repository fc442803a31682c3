using Introspect.Hypervisor.Core.Building;

namespace Introspect.Hypervisor.Tests.Building;

public sealed class SymbolTableTests
{
    private const ulong Base = TestElf.LoadAddress + 0x4000_0000;
    private const byte Function = 0x12;
    private const byte LocalFunction = 0x02;
    private const byte LocalLabel = 0x00;
    private const byte Section = 0x03;
    private const byte SourceFile = 0x04;

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Names_and_addresses_are_found_both_ways(bool is64)
    {
        SymbolTable table = Read(new TestElf { Is64 = is64, Symbols = [("second", Base + 0x20, Function, 1), ("first", Base + 0x10, Function, 1)] });
        Assert.Equal(2, table.Count);
        Assert.True(table.TryGetAddress("second", out ulong address));
        Assert.Equal(Base + 0x20, address);
        Assert.False(table.TryGetAddress("third", out _));
        Assert.Equal("first", table.Describe(Base + 0x10));
        Assert.Equal("first+0xf", table.Describe(Base + 0x1f));
        Assert.Equal("second", table.Describe(Base + 0x20));
    }

    [Fact]
    public void Addresses_outside_the_image_have_no_name()
    {
        SymbolTable table = Read(new TestElf { Symbols = [("first", Base + 0x10, Function, 1)] });
        Assert.Null(table.Describe(Base + 0xf));
        Assert.Equal("first+0x17ef", table.Describe(Base + 0x17ff));
        Assert.Null(table.Describe(Base + 0x1800));
        Assert.Null(table.Describe(ulong.MaxValue));
    }

    [Fact]
    public void Of_several_names_of_one_address_a_global_routine_is_told()
    {
        SymbolTable table = Read(new TestElf
        {
            Symbols = [("routine", Base, Function, 1), ("local", Base, LocalFunction, 1), ("label", Base, LocalLabel, 1)],
        });
        Assert.Equal("routine", table.Describe(Base));
        Assert.True(table.TryGetAddress("label", out _));
    }

    [Fact]
    public void What_names_no_place_is_left_out()
    {
        SymbolTable table = Read(new TestElf
        {
            Symbols =
            [
                ("undefined", Base, Function, 0), ("number", Base, LocalLabel, 0xfff1), ("common", Base, LocalLabel, 0xfff2),
                ("section", Base, Section, 1), ("file.c", Base, SourceFile, 1), ("kept", Base, LocalLabel, 1),
            ],
        });
        Assert.Equal(1, table.Count);
        Assert.Equal("kept", table.Describe(Base));
    }

    [Fact]
    public void An_image_without_symbols_has_an_empty_table()
    {
        SymbolTable table = Read(new TestElf());
        Assert.Equal(0, table.Count);
        Assert.Null(table.Describe(Base));
        Assert.False(table.TryGetAddress("first", out _));
    }

    [Theory]
    [InlineData(56, 23, "23 bytes")]
    [InlineData(40, 77, "section 77")]
    [InlineData(40, 1, "section 1")]
    public void A_damaged_header_of_the_table_is_refused(int field, uint value, string words)
    {
        TestElf elf = new() { Symbols = [("first", Base, Function, 1)] };
        byte[] image = elf.Build();
        TestElf.Put32(image.AsSpan(elf.SectionHeadersAt + 64), field, value);
        Refused(image, words);
    }

    [Fact]
    public void A_name_outside_the_strings_is_refused()
    {
        TestElf elf = new() { Symbols = [("first", Base, Function, 1)] };
        byte[] image = elf.Build();
        int table = (int)BitConverter.ToUInt64(image, elf.SectionHeadersAt + 64 + 24);
        TestElf.Put32(image.AsSpan(table + 24), 0, 0xffff_ff00);
        Refused(image, "symbol 1");
    }

    [Fact]
    public void Strings_without_an_end_are_refused()
    {
        TestElf elf = new() { Symbols = [("first", Base, Function, 1)] };
        byte[] image = elf.Build();
        ulong strings = BitConverter.ToUInt64(image, elf.SectionHeadersAt + 128 + 24);
        ulong size = BitConverter.ToUInt64(image, elf.SectionHeadersAt + 128 + 32);
        image[strings + size - 1] = (byte)'x';
        Refused(image, "does not end");
    }

    private static SymbolTable Read(TestElf elf)
    {
        Assert.True(ElfImage.TryParse(elf.Build(), out ElfImage? image, out _));
        bool read = SymbolTable.TryRead(image, out SymbolTable? table, out ElfError? error);
        Assert.True(read, error?.Message);
        return table!;
    }

    private static void Refused(byte[] bytes, string words)
    {
        Assert.True(ElfImage.TryParse(bytes, out ElfImage? image, out _));
        Assert.False(SymbolTable.TryRead(image, out _, out ElfError? error));
        Assert.Equal(ElfErrorKind.BadSymbol, error.Kind);
        Assert.Contains(words, error.Message, StringComparison.Ordinal);
    }
}
