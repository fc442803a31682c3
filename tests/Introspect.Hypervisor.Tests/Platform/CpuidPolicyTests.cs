using System.Buffers.Binary;
using System.Text;
using Introspect.Hypervisor.Core.Platform;

namespace Introspect.Hypervisor.Tests.Platform;

public sealed class CpuidPolicyTests
{
    private static CpuidPolicy Policy(
        CpuVendor vendor = CpuVendor.Vmx, int vcpus = 1, ulong frequency = 1_000_000_000, CpuFeatureSet? features = null,
        bool viridian = false) => new(new CpuidConfiguration
        {
            Vendor = vendor,
            DomainId = 7,
            VcpuCount = vcpus,
            TscFrequency = frequency,
            Features = features,
            ViridianFirst = viridian,
        });

    private static string Text(params ReadOnlySpan<uint> words)
    {
        var bytes = new byte[words.Length * 4];
        for (var i = 0; i < words.Length; i++)
        {
            BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan(i * 4), words[i]);
        }

        return Encoding.ASCII.GetString(bytes).TrimEnd('\0');
    }

    [Theory]
    [InlineData(CpuVendor.Vmx, "GenuineIntel", 0x16u)]
    [InlineData(CpuVendor.Svm, "AuthenticAMD", 0xDu)]
    public void Leaf_0_tells_the_vendor_and_the_highest_leaf(CpuVendor vendor, string name, uint max)
    {
        var leaf = Policy(vendor).Query(0, 0, default);
        Assert.Equal(max, leaf.Eax);
        Assert.Equal(name, Text(leaf.Ebx, leaf.Edx, leaf.Ecx));
    }

    [Theory]
    [InlineData(CpuVendor.Vmx, "")]
    [InlineData(CpuVendor.Svm, "AuthenticAMD")]
    public void Only_AMD_tells_its_name_in_the_extended_leaves(CpuVendor vendor, string name)
    {
        var leaf = Policy(vendor).Query(0x8000_0000, 0, default);
        Assert.Equal(0x8000_0008u, leaf.Eax);
        Assert.Equal(name, Text(leaf.Ebx, leaf.Edx, leaf.Ecx));
    }

    [Fact]
    public void Who_is_not_told_of_a_hypervisor_finds_none_in_the_leaves()
    {
        var policy = Policy(features: CpuFeatures.Implemented.Without(CpuFeature.Hypervisor));
        for (var leaf = 0x4000_0000u; leaf < 0x4000_0200; leaf++)
        {
            Assert.Equal(default, policy.Query(leaf, 0, default));
        }
    }

    [Theory]
    [InlineData(false, 0x4000_0000u, 0x4000_0000u)]
    [InlineData(true, 0x4000_0100u, 0x4000_0200u)]
    public void Xen_leaves_are_found_as_guests_look_for_them(bool viridian, uint expectedBase, uint expectedMsr)
    {
        var policy = Policy(viridian: viridian);
        var found = 0u;
        for (var leaf = 0x4000_0000u; leaf < 0x4001_0000 && found == 0; leaf += 0x100)
        {
            var r = policy.Query(leaf, 0, default);
            if (Text(r.Ebx, r.Ecx, r.Edx) == "XenVMMXenVMM" && r.Eax - leaf >= 2)
            {
                found = leaf;
            }
        }

        Assert.Equal(expectedBase, found);
        Assert.Equal(new CpuidLeaf(expectedBase + 5, 0x566E6558, 0x65584D4D, 0x4D4D566E), policy.Query(found, 0, default));
        Assert.Equal(new CpuidLeaf(0x0004_0011, 0, 0, 0), policy.Query(found + 1, 0, default));
        Assert.Equal(new CpuidLeaf(1, expectedMsr, 0, 0), policy.Query(found + 2, 0, default));
        Assert.Equal(expectedMsr, policy.HypercallPageMsr);
    }

    [Fact]
    public void Xen_leaf_4_tells_vcpu_and_domain()
    {
        var leaf = Policy(vcpus: 4).Query(0x4000_0004, 0, new CpuidVcpuState { VcpuId = 3 });
        Assert.Equal(new CpuidLeaf((1 << 2) | (1 << 3) | (1 << 4) | (1 << 6), 3, 7, 0), leaf);
        Assert.Equal(default, Policy().Query(0x4000_0004, 1, default));
        Assert.Equal(default, Policy().Query(0x4000_0005, 0, default));
    }

    [Fact]
    public void Xen_leaf_3_tells_the_frequency_and_the_scale()
    {
        var policy = Policy(frequency: 2_500_000_000);
        Assert.Equal(2_500_000u, policy.Query(0x4000_0003, 0, default).Ecx);
        var scale = TimeScale.ForFrequency(2_500_000_000);
        Assert.Equal(
            new CpuidLeaf(0, 0, scale.Multiplier, unchecked((uint)scale.Shift)), policy.Query(0x4000_0003, 1, default));
        Assert.Equal(new CpuidLeaf(2_500_000, 0, 0, 0), policy.Query(0x4000_0003, 2, default));
        Assert.Equal(default, policy.Query(0x4000_0003, 3, default));
    }

    [Theory]
    [InlineData(CpuVendor.Vmx, 0x17u)]
    [InlineData(CpuVendor.Vmx, 0x3FFF_FFFFu)]
    [InlineData(CpuVendor.Vmx, 0x4000_0006u)]
    [InlineData(CpuVendor.Vmx, 0x4000_0100u)]
    [InlineData(CpuVendor.Vmx, 0x8000_0009u)]
    [InlineData(CpuVendor.Vmx, 0xC000_0000u)]
    [InlineData(CpuVendor.Svm, 0xEu)]
    [InlineData(CpuVendor.Svm, 0x15u)]
    [InlineData(CpuVendor.Svm, 0x8000_001Eu)]
    [InlineData(CpuVendor.Svm, 2u)]
    [InlineData(CpuVendor.Svm, 4u)]
    public void Leaves_that_are_not_there_are_zero(CpuVendor vendor, uint leaf) =>
        Assert.Equal(default, Policy(vendor, vcpus: 4).Query(leaf, 0, default));

    [Theory]
    [InlineData(1_000_000_000UL)]
    [InlineData(10_000_000UL)]
    [InlineData(2_400_000_000UL)]
    [InlineData(33_333_333UL)]
    [InlineData(1_234_567_000UL)]
    public void Leaf_0x15_gives_the_frequency_exactly(ulong frequency)
    {
        var leaf = Policy(frequency: frequency).Query(0x15, 0, default);
        Assert.Equal(frequency, (ulong)leaf.Ecx * leaf.Ebx / leaf.Eax);

        // Linux multiplies the crystal's kHz in 32 bits.
        Assert.True((ulong)(leaf.Ecx / 1000) * leaf.Ebx <= uint.MaxValue);
    }

    [Fact]
    public void Control_registers_show_through_in_leaf_1_and_7()
    {
        var policy = Policy(features: CpuFeatures.Implemented.With(CpuFeature.Apic, CpuFeature.Xsave, CpuFeature.Pku));
        Assert.Equal(0u, policy.Query(1, 0, default).Ecx & (1u << 27));
        Assert.NotEqual(0u, policy.Query(1, 0, new CpuidVcpuState { OsXsave = true }).Ecx & (1u << 27));
        Assert.Equal(0u, policy.Query(1, 0, default).Edx & (1u << 9));
        Assert.NotEqual(0u, policy.Query(1, 0, new CpuidVcpuState { ApicEnabled = true }).Edx & (1u << 9));
        Assert.Equal(0u, policy.Query(7, 0, default).Ecx & (1u << 4));
        Assert.NotEqual(0u, policy.Query(7, 0, new CpuidVcpuState { ProtectionKeys = true }).Ecx & (1u << 4));
        Assert.Equal(default, policy.Query(7, 1, default));
    }

    [Fact]
    public void Intel_shows_SYSCALL_in_long_mode_only()
    {
        var long64 = new CpuidVcpuState { LongMode = true };
        Assert.Equal(0u, Policy().Query(0x8000_0001, 0, default).Edx & (1u << 11));
        Assert.NotEqual(0u, Policy().Query(0x8000_0001, 0, long64).Edx & (1u << 11));
        Assert.NotEqual(0u, Policy(CpuVendor.Svm).Query(0x8000_0001, 0, default).Edx & (1u << 11));
    }

    [Fact]
    public void AMD_repeats_common_features_and_Intel_does_not()
    {
        var amd = Policy(CpuVendor.Svm).Query(0x8000_0001, 0, default).Edx;
        Assert.Equal((1u << 0) | (1u << 6) | (1u << 24), amd & ((1u << 0) | (1u << 6) | (1u << 24)));
        Assert.Equal(0u, Policy().Query(0x8000_0001, 0, default).Edx & ((1u << 0) | (1u << 6) | (1u << 24)));
    }

    [Theory]
    [InlineData(1, 1, 1u)]
    [InlineData(2, 2, 4u)]
    [InlineData(3, 3, 8u)]
    [InlineData(128, 8, 255u)]
    public void Topology_covers_every_vcpu(int vcpus, int coreShift, uint logical)
    {
        var policy = Policy(vcpus: vcpus);
        var last = new CpuidVcpuState { VcpuId = (uint)vcpus - 1 };
        var leaf1 = policy.Query(1, 0, last);
        Assert.Equal(((uint)vcpus - 1) * 2, leaf1.Ebx >> 24);
        Assert.Equal(logical, (leaf1.Ebx >> 16) & 0xFF);
        Assert.Equal(vcpus > 1, (leaf1.Edx & (1u << 28)) != 0);
        Assert.Equal(new CpuidLeaf(1, 1, 0x100, last.VcpuId * 2), policy.Query(0xB, 0, last));
        Assert.Equal(new CpuidLeaf((uint)coreShift, (uint)vcpus, 0x201, last.VcpuId * 2), policy.Query(0xB, 1, last));
        Assert.Equal(new CpuidLeaf(0, 0, 2, last.VcpuId * 2), policy.Query(0xB, 2, last));

        // Ids of one package differ only below the shift.
        Assert.Equal(0u, (last.VcpuId * 2) >> coreShift);
    }

    [Fact]
    public void Xstate_sizes_follow_XCR0()
    {
        var features = CpuFeatures.Implemented.With(
            CpuFeature.Ssse3, CpuFeature.Sse41, CpuFeature.Sse42, CpuFeature.Xsave, CpuFeature.Avx, CpuFeature.Xsavec);
        var policy = Policy(features: features);
        Assert.Equal(7UL, policy.SupportedXcr0);
        Assert.Equal(new CpuidLeaf(7, 576, 832, 0), policy.Query(0xD, 0, new CpuidVcpuState { Xcr0 = 1 }));
        Assert.Equal(new CpuidLeaf(7, 832, 832, 0), policy.Query(0xD, 0, new CpuidVcpuState { Xcr0 = 7 }));
        Assert.Equal(new CpuidLeaf(2, 832, 0, 0), policy.Query(0xD, 1, new CpuidVcpuState { Xcr0 = 7 }));
        Assert.Equal(new CpuidLeaf(256, 576, 0, 0), policy.Query(0xD, 2, default));
        Assert.Equal(default, policy.Query(0xD, 3, default));
        Assert.Equal(default, Policy(features: features.Without(CpuFeature.Xsave)).Query(0xD, 0, default));
    }

    [Fact]
    public void Intel_caches_end_with_an_empty_entry()
    {
        var policy = Policy(vcpus: 4);
        uint[] types = [.. Enumerable.Range(0, 5).Select(i => policy.Query(4, (uint)i, default).Eax & 0x1F)];
        Assert.Equal([1u, 2u, 3u, 3u, 0u], types);

        // ways × partitions × line × sets: 32 KiB of L1 data.
        var l1 = policy.Query(4, 0, default);
        Assert.Equal(32u * 1024, ((l1.Ebx >> 22) + 1) * (((l1.Ebx >> 12) & 0x3FF) + 1) * ((l1.Ebx & 0xFFF) + 1) * (l1.Ecx + 1));
    }

    [Fact]
    public void Features_lose_what_the_vendor_or_a_prerequisite_lacks()
    {
        var all = CpuFeatures.Implemented.With(CpuFeature.Vmx, CpuFeature.Svm, CpuFeature.Avx, CpuFeature.Avx2, CpuFeature.OsXsave).Without(CpuFeature.Xsave);
        var intel = CpuFeatures.Consistent(all, CpuVendor.Vmx);
        var amd = CpuFeatures.Consistent(all, CpuVendor.Svm);
        Assert.True(intel.Has(CpuFeature.Vmx) && !intel.Has(CpuFeature.Svm));
        Assert.True(amd.Has(CpuFeature.Svm) && !amd.Has(CpuFeature.Vmx));
        Assert.False(intel.Has(CpuFeature.Avx) || intel.Has(CpuFeature.Avx2), "no XSAVE, so no AVX");
        Assert.False(intel.Has(CpuFeature.OsXsave), "a control register's bit, not a feature");
        Assert.False(CpuFeatures.Consistent(all.Without(CpuFeature.Sse2), CpuVendor.Vmx).Has(CpuFeature.Page1Gb));
    }

    [Fact]
    public void Nested_virtualisation_and_transactions_are_not_told_by_default()
    {
        foreach (var vendor in new[] { CpuVendor.Vmx, CpuVendor.Svm })
        {
            var policy = Policy(vendor);
            Assert.Equal(0u, policy.Query(1, 0, default).Ecx & (1u << 5));
            Assert.Equal(0u, policy.Query(0x8000_0001, 0, default).Ecx & (1u << 2));
            Assert.Equal(0u, policy.Query(7, 0, default).Ebx & ((1u << 4) | (1u << 11)));
            Assert.NotEqual(0u, policy.Query(1, 0, default).Ecx & (1u << 31));
        }
    }

    [Fact]
    public void The_brand_string_is_text_in_48_bytes()
    {
        var policy = Policy();
        var words = Enumerable.Range(0, 3).SelectMany(i =>
        {
            var r = policy.Query(0x8000_0002 + (uint)i, 0, default);
            return new[] { r.Eax, r.Ebx, r.Ecx, r.Edx };
        }).ToArray();
        Assert.Equal("Introspect virtual CPU", Text(words));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(129)]
    public void A_number_of_vcpus_that_the_topology_cannot_tell_is_refused(int vcpus) =>
        Assert.Throws<ArgumentOutOfRangeException>(() => Policy(vcpus: vcpus));
}
