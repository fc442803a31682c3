using Introspect.Hypervisor.Core.Platform.Apic;

namespace Introspect.Hypervisor.Tests.Platform.Apic;

public sealed class LocalApicMessageTests
{
    private const uint Logical = 1 << 11;

    [Theory]
    [InlineData(0x00, "0")]
    [InlineData(0x02, "1")]
    [InlineData(0x06, "3")]
    [InlineData(0x03, "")]
    [InlineData(0x08, "")]
    [InlineData(0xFF, "0123")]
    public void A_physical_destination_is_a_number_or_everybody(uint destination, string expected)
    {
        var bench = new ApicBench(4);
        bench.Send(0x41, destination);
        Assert.Equal(expected, bench.WhoHas(0x41));
    }

    [Theory]
    [InlineData(0x02, "1")]
    [InlineData(0x06, "3")]
    [InlineData(0xFF, "")]
    [InlineData(0xFFFF_FFFF, "0123")]
    public void In_x2APIC_mode_everybody_is_32_ones(uint destination, string expected)
    {
        var bench = new ApicBench(4, x2: true);
        bench.Send(0x41, destination);
        Assert.Equal(expected, bench.WhoHas(0x41));
    }

    [Theory]
    [InlineData(0x01, "0")]
    [InlineData(0x0A, "13")]
    [InlineData(0xFF, "0123")]
    [InlineData(0x10, "")]
    public void A_flat_logical_destination_is_a_set_of_bits(uint destination, string expected)
    {
        var bench = new ApicBench(4);
        for (var n = 0; n < 4; n++)
        {
            bench.Write(ApicRegister.LogicalDestination, 1u << (24 + n), n);
        }

        bench.Send(0x41 | Logical, destination);
        Assert.Equal(expected, bench.WhoHas(0x41));
    }

    [Theory]
    [InlineData(0x11, "0")]
    [InlineData(0x13, "01")]
    [InlineData(0x21, "2")]
    [InlineData(0x23, "23")]
    [InlineData(0x33, "")]
    public void A_cluster_destination_is_a_set_of_bits_in_one_cluster(uint destination, string expected)
    {
        var bench = new ApicBench(4);
        uint[] addresses = [0x11, 0x12, 0x21, 0x22];
        for (var n = 0; n < 4; n++)
        {
            bench.Write(ApicRegister.DestinationFormat, 0x0FFF_FFFF, n);
            bench.Write(ApicRegister.LogicalDestination, addresses[n] << 24, n);
        }

        bench.Send(0x41 | Logical, destination);
        Assert.Equal(expected, bench.WhoHas(0x41));
    }

    [Theory]
    [InlineData(0x0001, "0")]
    [InlineData(0x0005, "01")]
    [InlineData(0x0002, "")]
    [InlineData(0xFFFF, "01234567")]
    [InlineData(0x1_0001, "8")]
    [InlineData(0x1_0005, "89")]
    [InlineData(0x2_0001, "")]
    public void An_x2APIC_logical_destination_is_a_cluster_and_a_set_of_bits(uint destination, string expected)
    {
        var bench = new ApicBench(10, x2: true);
        bench.Send(0x41 | Logical, destination);
        Assert.Equal(expected, bench.WhoHas(0x41));
    }

    [Theory]
    [InlineData(0x0004_0041, "1")]
    [InlineData(0x0008_0041, "0123")]
    [InlineData(0x000C_0041, "023")]
    public void A_shorthand_needs_no_destination(uint command, string expected)
    {
        var bench = new ApicBench(4);
        bench.Send(command, destination: 0, vcpu: 1);
        Assert.Equal(expected, bench.WhoHas(0x41));
    }

    [Fact]
    public void Who_is_disabled_gets_nothing()
    {
        var bench = new ApicBench(3);
        bench.Write(ApicRegister.SpuriousVector, 0xFF, vcpu: 1);
        bench.Send(0x0008_0041);
        Assert.Equal("02", bench.WhoHas(0x41));
    }

    [Fact]
    public void Lowest_priority_goes_to_the_least_busy_and_in_turn_among_equals()
    {
        var bench = new ApicBench(4);
        for (var n = 0; n < 4; n++)
        {
            bench.Write(ApicRegister.LogicalDestination, 1u << (24 + n), n);
        }

        foreach (var expected in new[] { "1", "2", "3", "0", "1" })
        {
            bench.Send(0x41 | 0x100 | Logical, 0x0F);
            Assert.Equal(expected, bench.WhoHas(0x41));
            var who = expected[0] - '0';
            Assert.Equal((byte)0x41, bench.Take(who));
            bench.Write(ApicRegister.Eoi, 0, who);
        }

        for (var n = 0; n < 4; n++)
        {
            bench.Write(ApicRegister.TaskPriority, n == 2 ? 0x10u : 0x20u, n);
        }

        bench.Send(0x41 | 0x100 | Logical, 0x0F);
        Assert.Equal("2", bench.WhoHas(0x41));
        bench.Send(0x42 | 0x100 | Logical, 0x0B);
        Assert.Equal("3", bench.WhoHas(0x42)); // 2 was not asked, and 3 is next
    }

    [Theory]
    [InlineData(0x0000)]
    [InlineData(0x0100)]
    public void A_message_with_an_illegal_vector_is_not_sent(uint mode)
    {
        var bench = new ApicBench(2);
        bench.Send(0x0008_000F | mode);
        Assert.All(bench.Apics, static apic => Assert.False(apic.HasRequests));
        bench.Write(ApicRegister.ErrorStatus, 0);
        Assert.Equal(0x20u, bench.Read(ApicRegister.ErrorStatus));
    }

    [Fact]
    public void NMI_INIT_and_SIPI_reach_the_vCPU()
    {
        var bench = new ApicBench(3);
        bench.Write(ApicRegister.SpuriousVector, 0xFF, vcpu: 2); // they come to disabled APICs, too
        bench.Send(0x000C_0400);
        Assert.Equal([0, 1, 1], bench.Hosts.Select(static host => host.Nmis));
        bench.Send(0x0000_4500, destination: 4);
        Assert.Equal([0, 0, 1], bench.Hosts.Select(static host => host.Inits));
        bench.Send(0x0000_4608, destination: 4);
        Assert.Equal([8], bench.Hosts[2].Startups);
        Assert.Empty(bench.Hosts[1].Startups);
        bench.Send(0x0000_8500, destination: 4); // level, de-assert
        Assert.Equal(1, bench.Hosts[2].Inits);
        bench.Send(0x0000_C500, destination: 4);
        Assert.Equal(2, bench.Hosts[2].Inits);
    }

    [Fact]
    public void SMI_and_remote_read_are_nothing_and_ExtINT_ends_the_domain_as_on_Xen()
    {
        var bench = new ApicBench(2);
        bench.Send(0x0000_0241, destination: 2);
        bench.Send(0x0000_0341, destination: 2);
        Assert.False(bench.Apics[1].HasRequests);
        Assert.Equal(0, bench.Hosts[1].Crashes);
        bench.Send(0x0000_0741, destination: 2);
        Assert.Equal(1, bench.Hosts[1].Crashes);
    }
}
