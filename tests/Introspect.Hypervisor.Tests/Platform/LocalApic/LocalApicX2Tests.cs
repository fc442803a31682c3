using System.Globalization;
using Introspect.Hypervisor.Core.Platform.Apic;

namespace Introspect.Hypervisor.Tests.Platform.Apic;

public sealed class LocalApicX2Tests
{
    // MSR | value written, or r for a read | ok or gp | value read back, where it matters
    private const string Rows = """
        802 r    ok 2
        802 2    gp 2
        803 r    ok 50014
        803 0    gp -
        808 ff   ok ff
        808 100  gp 0
        80a r    ok 0
        80a 0    gp -
        80b r    gp -
        80b 0    ok -
        80b 1    gp -
        80d r    ok 4
        80d 4    gp 4
        80e r    gp -
        80e 0    gp -
        80f 3ff  ok 3ff
        80f 1ff  ok 1ff
        80f 11ff gp 1ff
        810 r    ok 0
        817 r    ok 0
        810 0    gp -
        818 r    ok 0
        820 r    ok 0
        827 r    ok 0
        828 r    ok 0
        828 0    ok 0
        828 1    gp 0
        82f r    ok 0
        82f 100ff  ok 0
        82f 2000   gp -
        830 800000040 ok 800000040
        830 1000     gp -
        830 10000    gp -
        830 2000cc841 ok 2000cc841
        831 r    gp -
        831 0    gp -
        832 200ff ok 200ff
        832 400ff ok 400ff
        832 80000 gp -
        833 107ff ok 107ff
        833 8000  gp -
        834 104ff ok 104ff
        835 1f7ff ok 1f7ff
        835 20000 gp -
        836 1f7ff ok 1f7ff
        837 100ff ok 100ff
        837 100   gp -
        838 ffffffff  ok ffffffff
        838 1000000ff ok ff
        839 r    ok 0
        839 0    gp -
        83a r    gp -
        83e b    ok b
        83e 4    gp 0
        83f r    gp -
        83f 41   ok -
        83f 141  gp -
        800 r    gp -
        801 r    gp -
        840 r    gp -
        8ff r    gp -
        8ff 0    gp -
        """;

    public static TheoryData<string> Cases => [.. Rows.Split('\n', StringSplitOptions.TrimEntries)];

    [Theory]
    [MemberData(nameof(Cases))]
    public void Registers_take_and_give_what_Xen_lets_them(string row)
    {
        var cells = row.Split(' ', StringSplitOptions.RemoveEmptyEntries);
        var msr = uint.Parse(cells[0], NumberStyles.HexNumber, CultureInfo.InvariantCulture);
        var apic = new ApicBench(2, x2: true).Apics[1];
        ulong value;
        if (cells[1] == "r")
        {
            Assert.Equal(cells[2] == "ok", apic.ReadMsr(msr, out value));
        }
        else
        {
            Assert.Equal(cells[2] == "ok", apic.WriteMsr(msr, ulong.Parse(cells[1], NumberStyles.HexNumber, CultureInfo.InvariantCulture)));
            apic.ReadMsr(msr, out value);
        }

        if (cells[3] != "-")
        {
            Assert.Equal(cells[3], value.ToString("x", CultureInfo.InvariantCulture));
        }
    }

    [Fact]
    public void The_number_and_the_logical_address_follow_from_the_vCPU()
    {
        var bench = new ApicBench(20, x2: true);
        Assert.Equal(38u, bench.Read(ApicRegister.Id, vcpu: 19));
        Assert.Equal(0x0002_0040u, bench.Read(ApicRegister.LogicalDestination, vcpu: 19));
    }

    [Fact]
    public void The_modes_have_their_own_doors()
    {
        var bench = new ApicBench();
        Assert.False(bench.Apic.ReadMsr(0x802, out _));
        Assert.False(bench.Apic.WriteMsr(0x80B, 0));
        Assert.True(bench.Apic.Covers(ApicBench.Page));
        bench.Apic.ChangeBase(bench.Apic.Base | 0x400);
        Assert.True(bench.Apic.ReadMsr(0x802, out _));
        Assert.False(bench.Apic.Covers(ApicBench.Page));
        bench.Apic.ChangeBase(0xFEE0_0100);
        Assert.False(bench.Apic.ReadMsr(0x802, out _));
        Assert.False(bench.Apic.Covers(ApicBench.Page));
    }

    [Fact]
    public void The_self_IPI_register_sends_to_the_sender()
    {
        var bench = new ApicBench(2, x2: true);
        Assert.True(bench.Apics[1].WriteMsr(0x83F, 0x41));
        Assert.Equal("1", bench.WhoHas(0x41));
        Assert.True(bench.Apics[1].ReadMsr(0x830, out var command));
        Assert.Equal(0x4_0041UL, command);
    }

    [Fact]
    public void Messages_find_their_way_between_the_modes()
    {
        var bench = new ApicBench(2);
        bench.Apics[1].ChangeBase(bench.Apics[1].Base | 0x400);
        bench.Send(0x41, destination: 2);
        Assert.Equal("1", bench.WhoHas(0x41));
        bench.Send(0x42, destination: 0, vcpu: 1);
        Assert.Equal("0", bench.WhoHas(0x42));
    }
}
