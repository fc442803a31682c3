using System.Buffers.Binary;
using Introspect.Hypervisor.Core.Memory;

namespace Introspect.Hypervisor.Tests.Memory;

public sealed class PageTableWalkerTests
{
    private readonly Tables _tables = new();

    [Fact]
    public void Without_paging_a_linear_address_is_physical()
    {
        Assert.Equal(0xdead_beefUL, Translate(PagingMode.None, 0, 0xdead_beef));
        Assert.Null(Translate(PagingMode.None, 0, 0x1_0000_0000));
    }

    [Fact]
    public void Two_levels_give_a_small_page()
    {
        _tables.Put32(0x1000 + (0x3ff * 4), 0x2000 | 1);
        _tables.Put32(0x2000 + (0x3fe * 4), 0x0012_3000 | 1);
        Assert.Equal(0x0012_3abcUL, Translate(PagingMode.Legacy32, 0x1018, 0xffff_eabc));
        Assert.Null(Translate(PagingMode.Legacy32, 0x1000, 0xffff_dabc));
        Assert.Null(Translate(PagingMode.Legacy32, 0x1000, 0x0000_0abc));
    }

    [Fact]
    public void A_large_page_of_two_levels_has_pse36_bits_and_needs_cr4_pse()
    {
        _tables.Put32(0x1004, 0x0080_0000 | (0x5a << 13) | 0x81);
        Assert.Equal(0x5a_0080_1234UL, Translate(PagingMode.Legacy32, 0x1000, 0x0040_1234));

        // Without CR4.PSE the bit means nothing and the entry is a table's address.
        var table = (0x0080_0000u | (0x5au << 13)) & 0xffff_f000;
        _tables.Put32(table + 4, 0x0000_7000 | 1);
        Assert.Equal(0x7234UL, Translate(PagingMode.Legacy32, 0x1000, 0x0040_1234, pse: false));
    }

    [Fact]
    public void Linear_addresses_beyond_4_GiB_are_refused_outside_long_mode()
    {
        _tables.Put32(0x1000, 0x81);
        _tables.Put64(0x2000, 0x3000 | 1);
        _tables.Put64(0x3000, 0x81);
        Assert.NotNull(Translate(PagingMode.Legacy32, 0x1000, 0x10));
        Assert.Null(Translate(PagingMode.Legacy32, 0x1000, 0x1_0000_0010));
        Assert.NotNull(Translate(PagingMode.Pae, 0x2000, 0x10));
        Assert.Null(Translate(PagingMode.Pae, 0x2000, 0x1_0000_0010));
    }

    [Fact]
    public void Pae_walks_three_levels_from_a_32_byte_aligned_top()
    {
        _tables.Put64(0x1020 + (3 * 8), 0x8_0000_2000 | 1);
        _tables.Put64(0x8_0000_2000 + (0x1ff * 8), 0x3000 | 1);
        _tables.Put64(0x3000 + (0x1ff * 8), 0x8000_0009_8765_4000 | 1);
        Assert.Equal(0x0009_8765_4fffUL, Translate(PagingMode.Pae, 0x1038, 0xffff_ffff));
    }

    [Fact]
    public void Pae_has_2_MiB_pages()
    {
        _tables.Put64(0x1000 + 8, 0x2000 | 1);
        _tables.Put64(0x2000 + (2 * 8), 0x1_0060_0000 | 0x81);
        Assert.Equal(0x1_0061_2345UL, Translate(PagingMode.Pae, 0x1000, 0x4041_2345));
    }

    [Fact]
    public void Four_levels_give_small_2_MiB_and_1_GiB_pages()
    {
        _tables.Put64(0x1000 + (256 * 8), 0x2000 | 1);
        _tables.Put64(0x2000, 0x3000 | 1);
        _tables.Put64(0x2000 + 8, 0x40_0000_0000 | 0x81);
        _tables.Put64(0x3000, 0x4000 | 1);
        _tables.Put64(0x3000 + 8, 0x0a00_0000 | 0x81);
        _tables.Put64(0x4000 + (5 * 8), 0x8000_0000_0055_5000 | 1);
        const ulong Kernel = 0xffff_8000_0000_0000;
        Assert.Equal(0x0055_5123UL, Translate(PagingMode.FourLevel, 0x1fff, Kernel + 0x5123));
        Assert.Equal(0x0a01_2345UL, Translate(PagingMode.FourLevel, 0x1000, Kernel + 0x21_2345));
        Assert.Equal(0x40_1234_5678UL, Translate(PagingMode.FourLevel, 0x1000, Kernel + 0x5234_5678));
        Assert.Null(Translate(PagingMode.FourLevel, 0x1000, Kernel + 0x6000));
        Assert.Null(Translate(PagingMode.FourLevel, 0x1000, Kernel + 0x8000_0000));
    }

    [Fact]
    public void Bits_of_cr3_that_are_no_address_do_not_matter()
    {
        Map(4, 0x5000, 0x1234_5000);
        Assert.Equal(0x1234_5007UL, Translate(PagingMode.FourLevel, 0x8000_0000_0000_1fff, 0x5007));
    }

    [Fact]
    public void Five_levels_reach_what_four_cannot_name()
    {
        const ulong High = 0x00ab_cdef_0123_4000;
        Map(5, High, 0x7000);
        Assert.Equal(0x7008UL, Translate(PagingMode.FiveLevel, 0x1000, High + 8));
        Assert.Null(Translate(PagingMode.FourLevel, 0x1000, High + 8));
    }

    [Theory]
    [InlineData(PagingMode.FourLevel, 0x0000_8000_0000_0000)]
    [InlineData(PagingMode.FourLevel, 0xffff_7fff_ffff_ffff)]
    [InlineData(PagingMode.FiveLevel, 0x0100_0000_0000_0000)]
    [InlineData(PagingMode.FiveLevel, 0xfeff_ffff_ffff_ffff)]
    public void What_is_not_canonical_is_refused(PagingMode mode, ulong linear)
    {
        // Every entry of the root leads back to the root, so that only the address itself can be the reason.
        for (ulong entry = 0; entry < 512; entry++)
        {
            _tables.Put64(0x1000 + (entry * 8), 0x1000 | 1);
        }

        Assert.Null(Translate(mode, 0x1000, linear));
    }

    [Fact]
    public void Tables_that_lead_to_themselves_end()
    {
        for (ulong entry = 0; entry < 512; entry++)
        {
            _tables.Put64(0x1000 + (entry * 8), 0x1000 | 1);
        }

        Assert.Equal(0x1abcUL, Translate(PagingMode.FiveLevel, 0x1000, 0x1234_5abc));
        Assert.Equal(5, _tables.Reads);
    }

    [Fact]
    public void A_large_page_where_none_can_be_is_not_mapped()
    {
        _tables.Put64(0x1000, 0x2000 | 0x81);
        Assert.Null(Translate(PagingMode.FourLevel, 0x1000, 0));
        Assert.Null(Translate(PagingMode.FiveLevel, 0x1000, 0));
    }

    [Fact]
    public void A_table_outside_memory_is_not_mapped()
    {
        _tables.Put64(0x1000, 0xf_ffff_f000 | 1);
        Assert.Null(Translate(PagingMode.FourLevel, 0x1000, 0));
        Assert.Null(Translate(PagingMode.FourLevel, 0xf_0000_0000, 0));
    }

    [Fact]
    public void Low_bits_of_a_large_page_entry_are_no_address()
    {
        // Bit 12 of a 2 MiB entry is PAT.
        _tables.Put64(0x1000, 0x2000 | 1);
        _tables.Put64(0x2000, 0x3000 | 1);
        _tables.Put64(0x3000, 0x0020_0000 | 0x1000 | 0x81);
        Assert.Equal(0x0020_0010UL, Translate(PagingMode.FourLevel, 0x1000, 0x10));
    }

    private ulong? Translate(PagingMode mode, ulong root, ulong linear, bool pse = true) =>
        PageTableWalker.TryTranslate(_tables, new AddressSpace(mode, root, pse), linear, out var physical) ? physical : null;

    private void Map(int levels, ulong linear, ulong physical)
    {
        ulong table = 0x1000;
        for (var level = levels; level >= 1; level--)
        {
            var index = (linear >> (12 + ((level - 1) * 9))) & 511;
            var next = level == 1 ? physical : table + 0x1000;
            _tables.Put64(table + (index * 8), next | 1);
            table = next;
        }
    }

    private sealed class Tables : IPhysicalReader
    {
        private readonly Dictionary<ulong, byte[]> _pages = [];

        public int Reads { get; private set; }

        public void Put32(ulong address, uint value) => BinaryPrimitives.WriteUInt32LittleEndian(Place(address), value);

        public void Put64(ulong address, ulong value) => BinaryPrimitives.WriteUInt64LittleEndian(Place(address), value);

        public bool TryRead(ulong address, Span<byte> destination)
        {
            Reads++;
            if (!_pages.TryGetValue(address >> 12, out var page))
            {
                return false;
            }

            page.AsSpan((int)(address & 0xfff), destination.Length).CopyTo(destination);
            return true;
        }

        private Span<byte> Place(ulong address)
        {
            if (!_pages.TryGetValue(address >> 12, out var page))
            {
                _pages.Add(address >> 12, page = new byte[4096]);
            }

            return page.AsSpan((int)(address & 0xfff));
        }
    }
}
