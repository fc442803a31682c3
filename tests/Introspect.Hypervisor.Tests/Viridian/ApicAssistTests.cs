using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Viridian;

namespace Introspect.Hypervisor.Tests.Viridian;

/// <summary>The VP assist page, by which a guest is spared EOIs.</summary>
public sealed class ApicAssistTests
{
    private const ulong Page = 0x5000;

    [Fact]
    public void B3_an_interrupt_with_nothing_below_it_needs_no_end()
    {
        var host = WithAssist();
        host.Vcpus[0].Apic!.Request(0x41);
        Assert.Equal((byte)0x41, host.Vcpus[0].TakeInterrupt());
        Assert.Equal(1u, host.Load<uint>(Page));

        // The guest clears the word in place of an EOI; a lower interrupt can come then.
        host.Store(Page, 0u);
        host.Vcpus[0].Apic!.Request(0x31);
        Assert.Equal((byte)0x31, host.Vcpus[0].TakeInterrupt());
    }

    [Fact]
    public void B3_when_a_lower_interrupt_waits_the_end_is_asked_for_again()
    {
        var host = WithAssist();
        host.Vcpus[0].Apic!.Request(0x41);
        Assert.Equal((byte)0x41, host.Vcpus[0].TakeInterrupt());
        host.Vcpus[0].Apic!.Request(0x31);
        Assert.Null(host.Vcpus[0].TakeInterrupt());
        Assert.Equal(0u, host.Load<uint>(Page));
        host.Write(Msr.HvEoi, 0);

        Assert.Equal((byte)0x31, host.Vcpus[0].TakeInterrupt());
    }

    [Fact]
    public void B3_an_interrupt_above_another_one_is_ended_in_the_old_way()
    {
        var host = WithAssist();
        host.Vcpus[0].Apic!.Request(0x41);
        Assert.Equal((byte)0x41, host.Vcpus[0].TakeInterrupt());
        host.Vcpus[0].Apic!.Request(0x91);
        Assert.Equal((byte)0x91, host.Vcpus[0].TakeInterrupt());
        host.Write(Msr.HvEoi, 0); // that of 0x91
        Assert.Equal(0u, host.Load<uint>(Page));
        host.Vcpus[0].Apic!.Request(0x31);
        Assert.Null(host.Vcpus[0].TakeInterrupt());
        host.Write(Msr.HvEoi, 0);

        Assert.Equal((byte)0x31, host.Vcpus[0].TakeInterrupt());
    }

    [Fact]
    public void B3_an_end_that_comes_behind_one_that_was_spared_is_for_the_interrupt_below()
    {
        var host = WithAssist();
        host.Vcpus[0].Apic!.Request(0x41);
        Assert.Equal((byte)0x41, host.Vcpus[0].TakeInterrupt());
        host.Store(Page, 0u);
        host.Write(Msr.HvEoi, 0);
        host.Vcpus[0].Apic!.Request(0x31);

        Assert.Equal((byte)0x31, host.Vcpus[0].TakeInterrupt());
        Assert.DoesNotContain("assist crash", host.Log);
    }

    [Theory]
    [InlineData(true, 0x5000u)] // not enabled
    [InlineData(false, 0x5001u)] // without the feature, though Xen's open register takes the page
    public void B3_without_page_or_feature_no_end_is_spared(bool feature, uint register)
    {
        var features = ViridianFeatureSet.Of(ViridianFeature.Base, feature ? ViridianFeature.ApicAssist : ViridianFeature.Synic);
        var host = new FakeViridianHost(features, new ViridianOptions { OpenRegisters = true });
        host.Write(Msr.HvVpAssistPage, register);
        host.Vcpus[0].Apic!.Request(0x41);

        Assert.Equal((byte)0x41, host.Vcpus[0].TakeInterrupt());
        Assert.Equal(0u, host.Load<uint>(Page));
        host.Vcpus[0].Apic!.Request(0x31);
        Assert.Null(host.Vcpus[0].TakeInterrupt());
    }

    [Fact]
    public void B3_a_second_spared_end_before_the_first_was_seen_to_ends_the_guest_as_on_Xen()
    {
        var host = WithAssist();
        host.Vcpus[0].Apic!.Request(0x41);
        Assert.Equal((byte)0x41, host.Vcpus[0].TakeInterrupt());

        // INIT empties the APIC, and the word still says that an end was spared.
        host.Vcpus[0].Apic!.Initialise();
        host.Vcpus[0].Apic!.WriteMemory(0xFEE0_00F0, 4, 0x1FF);
        host.Vcpus[0].Apic!.Request(0x41);
        Assert.Equal((byte)0x41, host.Vcpus[0].TakeInterrupt());

        Assert.Contains("assist crash", host.Log);
    }

    private static FakeViridianHost WithAssist()
    {
        var host = new FakeViridianHost(ViridianFeatureSet.Defaults);
        host.Write(Msr.HvVpAssistPage, Page | 1);
        return host;
    }
}
