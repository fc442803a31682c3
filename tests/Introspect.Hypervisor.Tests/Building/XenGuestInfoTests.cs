using System.Text;
using Introspect.Hypervisor.Core.Building;

namespace Introspect.Hypervisor.Tests.Building;

public sealed class XenGuestInfoTests
{
    [Fact]
    public void Every_note_has_its_typed_value()
    {
        XenGuestInfo info = Read(
            (1, Number(0xffff_ffff_8100_0000)), (2, Number(0xffff_ffff_8100_1000)), (3, Number(0xffff_ffff_8000_0000)), (4, Number(0)),
            (5, Text("xen-3.0")), (6, Text("netbsd")), (7, Text("10.1")), (8, Text("generic")), (9, Text("yes,bimodal")),
            (10, Text("writable_page_tables|!pae_pgdir_above_4gb")), (11, Text("yes")), (12, Number(0xffff_8000_0000_0000)),
            (13, [.. Number(1), .. Number(2), .. Number(3), .. Number(4)]), (14, Number(1)), (15, Number(0x8000_0000_00)), (16, [1, 0, 0, 0]),
            (17, [0x01, 0x80, 0x00, 0x00]), (18, [0, 0, 0x10, 0]), (19, [0, 0, 0x20, 0, 0, 0, 0x10, 0, 0xff, 0xff, 0xff, 0x3f]));
        Assert.Equal(XenInfoSource.Notes, info.Source);
        Assert.Equal(0xffff_ffff_8100_0000, info.VirtualEntry);
        Assert.Equal(0xffff_ffff_8100_1000, info.HypercallPage);
        Assert.Equal(0xffff_ffff_8000_0000, info.VirtualBase);
        Assert.Equal(0UL, info.PhysicalOffset);
        Assert.Equal(("xen-3.0", "netbsd", "10.1", "generic"), (info.XenVersion, info.GuestOs, info.GuestVersion, info.Loader));
        Assert.Equal(XenPaeMode.Bimodal, info.Pae);
        Assert.Equal(["writable_page_tables", "pae_pgdir_above_4gb", "linux_rsdp_unrestricted"], info.Features.SupportedNames);
        Assert.Equal(["pae_pgdir_above_4gb"], info.Features.RequiredNames);
        Assert.True(info.WantsBsdSymbols);
        Assert.Equal(0xffff_8000_0000_0000, info.HypervisorStartLow);
        Assert.Equal([(1UL, 2UL), (3UL, 4UL)], info.ValidL1);
        Assert.True(info.TakesCancelledSuspend);
        Assert.Equal(0x8000_0000_00UL, info.InitialP2m);
        Assert.True(info.TakesUnmappedInitrd);
        Assert.Equal(0x10_0000UL, info.Phys32Entry);
        Assert.Equal(new XenRelocation(0x20_0000, 0x10_0000, 0x3fff_ffff), info.Relocation);
        Assert.Equal(0xffff_ffff_8000_0000, info.VirtualOffset);
    }

    [Fact]
    public void What_is_not_said_has_no_value()
    {
        XenGuestInfo info = Read();
        Assert.Equal(XenInfoSource.None, info.Source);
        Assert.Null(info.VirtualEntry ?? info.HypercallPage ?? info.VirtualBase ?? info.PhysicalOffset ?? info.InitialP2m ?? info.Phys32Entry ?? info.HypervisorStartLow);
        Assert.Null(info.XenVersion ?? info.GuestOs ?? info.GuestVersion ?? info.Loader ?? info.Features.UnknownRequired);
        Assert.Null(info.Relocation);
        Assert.Empty(info.ValidL1);
        Assert.Empty(info.Features.SupportedNames);
        Assert.False(info.WantsBsdSymbols || info.TakesCancelledSuspend || info.TakesUnmappedInitrd);
        Assert.Equal(XenPaeMode.None, info.Pae);
    }

    [Fact]
    public void A_number_of_odd_length_is_none()
    {
        XenGuestInfo info = Read((3, [1, 2, 3]), (14, []), (17, [1, 2, 3]), (13, new byte[15]));
        Assert.Null(info.VirtualBase);
        Assert.False(info.TakesCancelledSuspend);
        Assert.Equal(0u, info.Features.Supported);
        Assert.Empty(info.ValidL1);
    }

    [Fact]
    public void A_relocation_without_limits_may_go_anywhere_below_4_gib()
    {
        Assert.Equal(new XenRelocation(null, 0, uint.MaxValue), Read((19, [])).Relocation);
        Assert.Equal(new XenRelocation(0x1000, 0, uint.MaxValue), Read((19, [0, 0x10, 0, 0])).Relocation);
    }

    [Theory]
    [InlineData("yes", true)]
    [InlineData("no", false)]
    [InlineData("", false)]
    [InlineData("yes please", false)]
    public void A_note_asks_for_symbols_with_the_word_yes(string text, bool wanted) => Assert.Equal(wanted, Read((11, Text(text))).WantsBsdSymbols);

    [Theory]
    [InlineData("yes", 2)]
    [InlineData("no", 0)]
    [InlineData("bimodal", 3)]
    public void The_note_of_pae_knows_three_words(string text, int expected) => Assert.Equal((XenPaeMode)expected, Read((9, Text(text))).Pae);

    [Fact]
    public void An_unknown_feature_matters_only_when_it_is_required()
    {
        Assert.Null(Read((10, Text("teleport|hvm_pirqs"))).Features.UnknownRequired);
        XenGuestInfo info = Read((10, Text("hvm_pirqs|!tele\u0001port")));
        Assert.Equal("tele?port", info.Features.UnknownRequired);
        Assert.Equal(["hvm_pirqs"], info.Features.SupportedNames);
    }

    [Fact]
    public void An_image_that_requires_an_unknown_feature_is_refused()
    {
        byte[] notes = [.. TestElf.Note("Xen", 18, BitConverter.GetBytes(TestElf.Entry)), .. TestElf.Note("Xen", 10, Text("!teleport"))];
        Assert.True(ElfImage.TryParse(new TestElf { Notes = notes }.Build(), out ElfImage? image, out _));
        FakeGuest guest = new(2 << 20);
        Assert.False(PvhLoader.TryLoad(image, new PvhBootOptions(), guest, out _, out ElfError? error));
        Assert.Equal(ElfErrorKind.UnknownFeature, error.Kind);
        Assert.Contains("'teleport'", error.Message, StringComparison.Ordinal);
        Assert.False(guest.WasTouched);
    }

    [Fact]
    public void The_legacy_section_has_every_key_that_xen_knows()
    {
        XenGuestInfo info = ReadSection(
            "GUEST_OS=linux,GUEST_VER=2.6,XEN_VER=xen-3.0,LOADER=generic,VIRT_BASE=0xC0000000,VIRT_ENTRY=0xC0100000,ELF_PADDR_OFFSET=3221225472,"
            + "HYPERCALL_PAGE=0x2,PAE=yes[extended-cr3],BSD_SYMTAB,FEATURES=!writable_page_tables|auto_translated_physmap,UNKNOWN=7\0VIRT_BASE=1");
        Assert.Equal(XenInfoSource.GuestSection, info.Source);
        Assert.Equal(("xen-3.0", "linux", "2.6", "generic"), (info.XenVersion, info.GuestOs, info.GuestVersion, info.Loader));
        Assert.Equal(0xc000_0000UL, info.VirtualBase);
        Assert.Equal(0xc010_0000UL, info.VirtualEntry);
        Assert.Equal(0xc000_0000UL, info.PhysicalOffset);
        Assert.Equal(0xc000_2000UL, info.HypercallPage);
        Assert.Equal(XenPaeMode.ExtendedCr3, info.Pae);
        Assert.True(info.WantsBsdSymbols);
        Assert.Equal(["writable_page_tables", "auto_translated_physmap"], info.Features.SupportedNames);
        Assert.Equal(["writable_page_tables"], info.Features.RequiredNames);
        Assert.Equal(0UL, info.VirtualOffset);
    }

    [Fact]
    public void In_the_legacy_section_the_key_alone_asks_for_symbols()
    {
        Assert.True(ReadSection("BSD_SYMTAB=no").WantsBsdSymbols);
        Assert.False(ReadSection("XBSD_SYMTAB").WantsBsdSymbols);
        Assert.Equal(XenPaeMode.Yes, ReadSection("PAE=yes").Pae);
        Assert.Equal(0x3000UL, ReadSection("HYPERCALL_PAGE=3").HypercallPage);
    }

    [Fact]
    public void Without_an_offset_the_legacy_section_means_virtual_addresses_and_notes_physical_ones()
    {
        Assert.Equal(0UL, ReadSection("VIRT_BASE=0x8000").VirtualOffset);
        Assert.Equal(0x8000UL, Read((3, Number(0x8000))).VirtualOffset);
        Assert.Equal(0x7000UL, Read((3, Number(0x8000)), (4, Number(0x1000))).VirtualOffset);
    }

    [Fact]
    public void The_legacy_section_does_not_count_beside_notes()
    {
        TestElf elf = new() { OtherSections = [("__xen_guest", Text("GUEST_OS=old"))] };
        Assert.Equal(XenInfoSource.Notes, Parse(elf).XenInfo.Source);
        Assert.Null(Parse(elf).XenInfo.GuestOs);
    }

    [Fact]
    public void An_image_with_only_the_legacy_section_has_no_pvh_entry_and_is_told_so()
    {
        ElfImage image = Parse(new TestElf { Notes = null, OtherSections = [("__xen_guest", Text("GUEST_OS=linux"))] });
        Assert.False(image.TryGetPvhEntry(out _, out ElfError? error));
        Assert.Equal(ElfErrorKind.NoPvhEntry, error.Kind);
        Assert.Contains("__xen_guest", error.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("0x10", 16)]
    [InlineData("0X1f,", 31)]
    [InlineData("010", 8)]
    [InlineData("09", 0)]
    [InlineData("  42abc", 42)]
    [InlineData("", 0)]
    [InlineData("-1", 0)]
    [InlineData("0xffffffffffffffff", ulong.MaxValue)]
    [InlineData("0x1ffffffffffffffff", ulong.MaxValue)]
    public void Numbers_of_the_legacy_section_are_those_of_c(string text, ulong value) => Assert.Equal(value, XenGuestSection.Number(text));

    private static byte[] Number(ulong value) => BitConverter.GetBytes(value);

    private static byte[] Text(string text) => Encoding.ASCII.GetBytes(text + "\0");

    private static XenGuestInfo Read(params (uint Type, byte[] Content)[] notes) =>
        Parse(new TestElf { Notes = [.. notes.SelectMany(n => TestElf.Note("Xen", n.Type, n.Content))] }).XenInfo;

    private static XenGuestInfo ReadSection(string text) =>
        Parse(new TestElf { Notes = null, OtherSections = [("__xen_guest", Text(text))] }).XenInfo;

    private static ElfImage Parse(TestElf elf)
    {
        bool parsed = ElfImage.TryParse(elf.Build(), out ElfImage? image, out ElfError? error);
        Assert.True(parsed, error?.Message);
        return image!;
    }
}
