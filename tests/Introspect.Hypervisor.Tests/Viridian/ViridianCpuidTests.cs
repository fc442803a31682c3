using System.Buffers.Binary;
using System.Text;
using Introspect.Hypervisor.Core.Platform;
using Introspect.Hypervisor.Core.Viridian;

namespace Introspect.Hypervisor.Tests.Viridian;

/// <summary>The leaves of a domain with viridian.</summary>
public sealed class ViridianCpuidTests
{
    private const ulong Windows = 4UL << 40;

    private static CpuidLeaf Query(uint leaf, ViridianFeatureSet features, ulong guestOsId = 0, ViridianOptions? options = null) =>
        ViridianCpuid.Query(ViridianCpuid.First + leaf, features, guestOsId, options ?? ViridianOptions.Default);

    private static ViridianFeatureSet With(ViridianFeature feature) => ViridianFeatureSet.Of(ViridianFeature.Base, feature);

    [Fact]
    public void B3_leaf_0_is_Microsofts_and_leaf_1_says_the_interface()
    {
        var leaf = Query(0, ViridianFeatureSet.BaseAndFrequency);
        var name = new byte[12];
        BinaryPrimitives.WriteUInt32LittleEndian(name, leaf.Ebx);
        BinaryPrimitives.WriteUInt32LittleEndian(name.AsSpan(4), leaf.Ecx);
        BinaryPrimitives.WriteUInt32LittleEndian(name.AsSpan(8), leaf.Edx);

        Assert.Equal("Microsoft Hv", Encoding.ASCII.GetString(name));
        Assert.Equal(0x4000_0006u, leaf.Eax);
        Assert.Equal("Hv#1", Encoding.ASCII.GetString(BitConverter.GetBytes(Query(1, ViridianFeatureSet.BaseAndFrequency).Eax)));
    }

    [Fact]
    public void B3_leaf_2_is_zero_until_the_guest_wrote_its_OS_id()
    {
        Assert.Equal(default, Query(2, ViridianFeatureSet.All));
        Assert.Equal(new CpuidLeaf(0x1772, 0x0006_0000, 0, 0), Query(2, ViridianFeatureSet.All, 1));
        Assert.Equal(
            new CpuidLeaf(9600, 0x0006_0003, 0, 0),
            Query(2, ViridianFeatureSet.All, 1, new ViridianOptions { MajorVersion = 6, MinorVersion = 3, Build = 9600 }));
    }

    [Fact]
    public void B3_leaf_4_is_zero_until_the_guest_wrote_an_OS_id_of_4_or_above()
    {
        Assert.Equal(default, Query(4, ViridianFeatureSet.All));
        Assert.Equal(default, Query(4, ViridianFeatureSet.All, Windows - 1));
        Assert.Equal(new CpuidLeaf(0xC2C, 2047, 0, 0), Query(4, ViridianFeatureSet.All, Windows));
        Assert.Equal(new CpuidLeaf(0x28, 7, 0, 0), Query(4, ViridianFeatureSet.BaseAndFrequency, Windows, new ViridianOptions { SpinlockRetries = 7 }));
    }

    [Theory]
    [InlineData(ViridianFeature.Base, 0x70u, 0u)]
    [InlineData(ViridianFeature.Freq, 0x870u, 0u)]
    [InlineData(ViridianFeature.TimeRefCount, 0x72u, 0u)]
    [InlineData(ViridianFeature.ReferenceTsc, 0x270u, 0u)]
    [InlineData(ViridianFeature.HcallRemoteTlbFlush, 0x70u, 0u)]
    [InlineData(ViridianFeature.ApicAssist, 0x70u, 0u)]
    [InlineData(ViridianFeature.CrashCtl, 0x70u, 0x400u)]
    [InlineData(ViridianFeature.Synic, 0x74u, 0x2_0000u)]
    [InlineData(ViridianFeature.Stimer, 0x78u, 0u)]
    [InlineData(ViridianFeature.HcallIpi, 0x70u, 0u)]
    [InlineData(ViridianFeature.ExProcessorMasks, 0x70u, 0u)]
    [InlineData(ViridianFeature.NoVpLimit, 0x70u, 0u)]
    [InlineData(ViridianFeature.CpuHotplug, 0x70u, 0x8u)]
    public void B3_leaf_3_has_exactly_what_the_mask_gives(object feature, uint eax, uint edx) =>
        Assert.Equal(new CpuidLeaf(eax, 0, 0, edx), Query(3, With((ViridianFeature)feature)));

    [Theory]
    [InlineData(ViridianFeature.Base, 0x28u)]
    [InlineData(ViridianFeature.HcallRemoteTlbFlush, 0x2Cu)]
    [InlineData(ViridianFeature.HcallIpi, 0x428u)]
    [InlineData(ViridianFeature.ExProcessorMasks, 0x828u)]
    [InlineData(ViridianFeature.Synic, 0x28u)]
    public void B3_leaf_4_has_exactly_what_the_mask_gives(object feature, uint eax) =>
        Assert.Equal(eax, Query(4, With((ViridianFeature)feature), Windows).Eax);

    [Fact]
    public void B3_leaf_5_has_no_limit_of_processors_only_with_the_feature()
    {
        Assert.Equal(new CpuidLeaf(uint.MaxValue, 0, 0, 0), Query(5, With(ViridianFeature.NoVpLimit)));
        Assert.Equal(default, Query(5, ViridianFeatureSet.All.Without(ViridianFeatureSet.Of(ViridianFeature.NoVpLimit))));
    }

    [Fact]
    public void B3_leaf_6_tells_of_register_bitmaps_and_nested_paging_and_above_it_is_nothing()
    {
        Assert.Equal(new CpuidLeaf(0xA, 0, 0, 0), Query(6, ViridianFeatureSet.All));
        Assert.Equal(default, Query(7, ViridianFeatureSet.All, Windows));
        Assert.Equal(default, Query(0xFF, ViridianFeatureSet.All, Windows));
    }
}
