using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Viridian;

namespace Introspect.Hypervisor.Tests.Viridian;

/// <summary>The registers: which there are, and what those do that have no test class of their own.</summary>
public sealed class ViridianMsrTests
{
    // Registers that are only written, or only read.
    private static readonly uint[] WriteOnly = [Msr.HvEoi];
    private static readonly uint[] ReadOnly = [Msr.HvTimeRefCount, Msr.HvTscFrequency, Msr.HvApicFrequency, Msr.HvSversion];

    /// <summary>A value that the register takes.</summary>
    private static ulong ValueFor(uint msr) => msr is >= Msr.HvSint0 and <= Msr.HvSint15 ? 0x1_0031u : 0;

    [Theory]
    [InlineData(ViridianFeature.Base, "40000000 40000001 40000002 40000070 40000071 40000072")]
    [InlineData(ViridianFeature.Freq, "40000022 40000023")]
    [InlineData(ViridianFeature.TimeRefCount, "40000020")]
    [InlineData(ViridianFeature.ReferenceTsc, "40000021")]
    [InlineData(ViridianFeature.HcallRemoteTlbFlush, "")]
    [InlineData(ViridianFeature.ApicAssist, "40000073")]
    [InlineData(ViridianFeature.CrashCtl, "40000100 40000101 40000102 40000103 40000104 40000105")]
    [InlineData(ViridianFeature.Synic, "40000080 40000081 40000082 40000083 40000084 40000090 40000091 40000092 40000093 40000094 40000095 40000096 40000097 40000098 40000099 4000009a 4000009b 4000009c 4000009d 4000009e 4000009f")]
    [InlineData(ViridianFeature.Stimer, "400000b0 400000b1 400000b2 400000b3 400000b4 400000b5 400000b6 400000b7")]
    [InlineData(ViridianFeature.HcallIpi, "")]
    [InlineData(ViridianFeature.ExProcessorMasks, "")]
    [InlineData(ViridianFeature.NoVpLimit, "")]
    [InlineData(ViridianFeature.CpuHotplug, "")]
    public void B3_a_feature_gives_these_registers_and_no_other_and_without_it_they_are_GP(object feature, string registers)
    {
        var own = registers.Split(' ', StringSplitOptions.RemoveEmptyEntries).Select(static text => Convert.ToUInt32(text, 16)).ToHashSet();
        var (with, without) = ((ViridianFeature)feature == ViridianFeature.Base)
            ? (ViridianFeatureSet.Of(ViridianFeature.Base), ViridianFeatureSet.None)
            : (ViridianFeatureSet.Of(ViridianFeature.Base, (ViridianFeature)feature), ViridianFeatureSet.All.Without(ViridianFeatureSet.Of((ViridianFeature)feature)));
        var basic = Accessible(ViridianFeatureSet.Of(ViridianFeature.Base));

        Assert.Equal(own, (ViridianFeature)feature == ViridianFeature.Base ? basic : [.. Accessible(with).Except(basic)]);
        if (!without.IsEmpty)
        {
            Assert.Equal(own, Accessible(ViridianFeatureSet.All).Except(Accessible(without)).ToHashSet());
        }
    }

    [Fact]
    public void B3_the_registers_that_Xen_leaves_open_are_there_with_the_option()
    {
        var open = Accessible(ViridianFeatureSet.Of(ViridianFeature.Base), new ViridianOptions { OpenRegisters = true });
        open.ExceptWith(Accessible(ViridianFeatureSet.Of(ViridianFeature.Base)));

        Assert.Equal("40000073 40000100 40000101 40000102 40000103 40000104 40000105", string.Join(' ', open.Order().Select(static msr => $"{msr:x}")));
    }

    [Fact]
    public void B3_guest_OS_id_and_VP_index_are_each_their_own()
    {
        var host = new FakeViridianHost(ViridianFeatureSet.All);
        host.Write(Msr.HvGuestOsId, 0x0001_0406_0002_0000);
        host.Write(Msr.HvVpIndex, 77);

        Assert.Equal(0x0001_0406_0002_0000UL, host.Read(Msr.HvGuestOsId, vcpu: 1));
        Assert.Equal((0UL, 1UL), (host.Read(Msr.HvVpIndex), host.Read(Msr.HvVpIndex, vcpu: 1)));
        Assert.NotEqual(0u, host.Domain.Cpuid(0x4000_0002).Eax);
    }

    [Theory]
    [InlineData(CpuVendor.Vmx, 0xC1)]
    [InlineData(CpuVendor.Svm, 0xD9)]
    public void B3_writing_the_hypercall_register_puts_the_page_into_the_guests_memory(CpuVendor vendor, byte last)
    {
        var host = new FakeViridianHost(ViridianFeatureSet.BaseAndFrequency) { Vendor = vendor };
        host.Write(Msr.HvHypercall, 0x3000);
        Assert.Equal(-1, host.Page(3).IndexOfAnyExcept((byte)0));
        host.Write(Msr.HvHypercall, 0x3001);

        Assert.Equal([0x0D, 0, 0, 0, 0x80, 0x0F, 0x01, last, 0xC3], host.Page(3)[..9].ToArray());
        Assert.Equal(-1, host.Page(3)[9..].IndexOfAnyExcept((byte)0xCC));
        Assert.Equal(0x3001UL, host.Read(Msr.HvHypercall, vcpu: 1));
        Assert.Equal(0, host.HeldPages);
    }

    [Theory]
    [InlineData(Msr.HvHypercall)]
    [InlineData(Msr.HvReferenceTsc)]
    [InlineData(Msr.HvSimp)]
    [InlineData(Msr.HvVpAssistPage)]
    public void B3_a_page_register_keeps_a_frame_that_has_no_page_and_nothing_else_happens(uint msr)
    {
        var host = new FakeViridianHost(ViridianFeatureSet.All);
        host.Write(msr, ~0UL);

        Assert.Equal(~0UL, host.Read(msr));
        Assert.Equal(0, host.HeldPages);
    }

    [Fact]
    public void B3_frequencies_are_the_clocks_and_the_APIC_buss()
    {
        var host = new FakeViridianHost(ViridianFeatureSet.BaseAndFrequency, frequency: 2_400_000_000);

        Assert.Equal(2_400_000_000UL, host.Read(Msr.HvTscFrequency));
        Assert.Equal(100_000_000UL, host.Read(Msr.HvApicFrequency));
    }

    [Fact]
    public void B3_EOI_ICR_and_TPR_are_the_local_APICs()
    {
        var host = new FakeViridianHost(ViridianFeatureSet.BaseAndFrequency);
        host.Write(Msr.HvTpr, 0x50);
        Assert.Equal(0x50u, host.Vcpus[0].Apic!.ReadMemory(0xFEE0_0080, 4));
        Assert.Equal(0x50UL, host.Read(Msr.HvTpr));

        // A fixed interrupt 0x41 for APIC 2, which is the second vCPU's.
        host.Write(Msr.HvIcr, 0x0200_0000_0000_0041);
        Assert.Equal(0x0200_0000_0000_0041UL, host.Read(Msr.HvIcr));
        Assert.Equal((byte)0x41, host.Vcpus[1].TakeInterrupt());
        host.Write(Msr.HvIcr, 0x0200_0000_0000_0040);
        Assert.Null(host.Vcpus[1].TakeInterrupt());
        host.Write(Msr.HvEoi, 0, vcpu: 1);
        Assert.Equal((byte)0x40, host.Vcpus[1].TakeInterrupt());
    }

    [Theory]
    [InlineData(Msr.HvEoi)]
    [InlineData(Msr.HvIcr)]
    [InlineData(Msr.HvTpr)]
    public void B3_without_a_local_APIC_its_registers_are_GP(uint msr)
    {
        var host = new FakeViridianHost(ViridianFeatureSet.BaseAndFrequency, withApics: false);

        Assert.False(host.First.TryRead(msr, out _));
        Assert.False(host.First.TryWrite(msr, 0));
    }

    [Fact]
    public void B3_crash_registers_keep_what_the_guest_says_and_the_notification_is_passed_on()
    {
        var host = new FakeViridianHost(ViridianFeatureSet.Defaults);
        for (var n = 0u; n < 5; n++)
        {
            host.Write(Msr.HvCrashP0 + n, 0xD1E0 + n);
        }

        host.Write(Msr.HvCrashCtl, 1);
        Assert.Empty(host.Log);
        Assert.Null(host.Domain.LastCrash);
        Assert.Equal(1UL << 63, host.Read(Msr.HvCrashCtl));
        host.Write(Msr.HvCrashCtl, 1UL << 63);

        Assert.Equal(["crash"], host.Log);
        Assert.Equal([0xD1E0, 0xD1E1, 0xD1E2, 0xD1E3, 0xD1E4], host.Domain.LastCrash);
        Assert.Equal(0xD1E4UL, host.Read(Msr.HvCrashP4));
    }

    private static HashSet<uint> Accessible(ViridianFeatureSet features, ViridianOptions? options = null)
    {
        var found = new HashSet<uint>();
        var host = new FakeViridianHost(features, options);
        for (var msr = 0x4000_0000u; msr <= ViridianMsrRange.LastNumber; msr++)
        {
            var (reads, writes) = (host.First.TryRead(msr, out _), host.First.TryWrite(msr, ValueFor(msr)));
            if (reads || writes)
            {
                Assert.Equal(!WriteOnly.Contains(msr), reads);
                Assert.Equal(!ReadOnly.Contains(msr), writes);
                found.Add(msr);
            }
        }

        return found;
    }
}
