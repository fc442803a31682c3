using Introspect.Hypervisor.Core.Viridian;

namespace Introspect.Hypervisor.Tests.Viridian;

/// <summary>A configuration's list of features, and the mask.</summary>
public sealed class ViridianFeatureListTests
{
    [Theory]
    [InlineData("", "", 0x0u)]
    [InlineData("base,freq", "base freq", 0x1u)]
    [InlineData("base", "base", 0x3u)]
    [InlineData("freq,base", "base freq", 0x1u)]
    [InlineData("BASE,Freq", "base freq", 0x1u)]
    [InlineData("base,base", "base", 0x3u)]
    [InlineData("base,reference_tsc", "base reference_tsc", 0xBu)]
    [InlineData("base,stimer,synic,time_ref_count", "base time_ref_count synic stimer", 0x187u)]
    [InlineData("defaults", "base freq time_ref_count apic_assist crash_ctl no_vp_limit cpu_hotplug", 0x1865u)]
    [InlineData("!freq,defaults", "base time_ref_count apic_assist crash_ctl no_vp_limit cpu_hotplug", 0x1867u)]
    [InlineData("all", "base freq time_ref_count reference_tsc hcall_remote_tlb_flush apic_assist crash_ctl synic stimer hcall_ipi ex_processor_masks no_vp_limit cpu_hotplug", 0x1FFDu)]
    [InlineData("all,!freq", "base time_ref_count reference_tsc hcall_remote_tlb_flush apic_assist crash_ctl synic stimer hcall_ipi ex_processor_masks no_vp_limit cpu_hotplug", 0x1FFFu)]
    [InlineData("defaults,synic,!cpu_hotplug", "base freq time_ref_count apic_assist crash_ctl synic no_vp_limit", 0x8E5u)]
    [InlineData("!base", "", 0x0u)]
    public void B4_a_list_of_names_is_a_set_and_a_mask(string names, string formatted, uint mask)
    {
        var result = ViridianFeatureList.Parse(Split(names));

        Assert.Null(result.Error);
        Assert.Null(result.Warning);
        Assert.Equal(formatted, ViridianFeatureList.Format(result.Features));
        Assert.Equal(mask, result.Features.ToMask());
        Assert.True(ViridianFeatureSet.TryFromMask(mask, out var back));
        Assert.Equal(result.Features, back);
        Assert.Equal(result, ViridianFeatureList.Parse(ViridianFeatureList.ToNames(result.Features)));
    }

    [Theory]
    [InlineData("freq", -1, "'freq'", "without 'base'")]
    [InlineData("defaults,!base", -1, "'time_ref_count'", "without 'base'")]
    [InlineData("base,freq,!freq", 2, "'!freq'", "both enabled and disabled")]
    [InlineData("all,!synic,base,synic,time_ref_count", 3, "'synic'", "both enabled and disabled")]
    [InlineData("base,stimer", -1, "'stimer' needs 'time_ref_count' and 'synic'", "add")]
    [InlineData("base,stimer,synic", -1, "'stimer' needs 'time_ref_count'", "add")]
    [InlineData("all,!synic", -1, "'stimer' needs 'synic'", "add")]
    [InlineData("base,turbo", 1, "'turbo'", "not known")]
    [InlineData("base,no_freq", 1, "'no_freq'", "not known")]
    [InlineData("base,!turbo", 1, "'!turbo'", "not known")]
    [InlineData("all,!defaults", 1, "'!defaults'", "group")]
    [InlineData("!", 0, "'!'", "not known")]
    public void B4_a_mistake_in_a_list_names_viridian_the_value_and_the_known_names_in_one_line(string names, int index, string value, string what)
    {
        var result = ViridianFeatureList.Parse(Split(names));

        Assert.NotNull(result.Error);
        Assert.Equal(index, result.ErrorIndex);
        Assert.StartsWith("viridian: ", result.Error, StringComparison.Ordinal);
        Assert.Contains(value, result.Error, StringComparison.Ordinal);
        Assert.Contains(what, result.Error, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', result.Error);
        Assert.All(ViridianFeatureList.Names, name => Assert.Contains(name, result.Error, StringComparison.Ordinal));
        Assert.True(result.Features.IsEmpty);
    }

    [Fact]
    public void B4_the_deprecated_boolean_means_base_and_freq_or_none_and_warns()
    {
        var (on, off) = (ViridianFeatureList.FromBoolean(true), ViridianFeatureList.FromBoolean(false));

        Assert.Equal("base freq", ViridianFeatureList.Format(on.Features));
        Assert.Equal(1UL, on.Features.ToMask());
        Assert.Contains("deprecated", on.Warning, StringComparison.Ordinal);
        Assert.Equal(0UL, off.Features.ToMask());
        Assert.Contains("deprecated", off.Warning, StringComparison.Ordinal);
        Assert.Null(on.Error);
    }

    [Fact]
    public void B1_the_mask_says_the_absence_of_the_frequency_registers_and_inside_the_name_is_positive()
    {
        Assert.True(ViridianFeatureSet.TryFromMask(0b01, out var with));
        Assert.True(ViridianFeatureSet.TryFromMask(0b11, out var without));

        Assert.True(with is { HasBase: true, HasFrequencyMsrs: true });
        Assert.True(without is { HasBase: true, HasFrequencyMsrs: false });
    }

    [Theory]
    [InlineData(0x2u)]
    [InlineData(0x4u)]
    [InlineData(0x1FFEu)]
    [InlineData(0x2001u)]
    [InlineData(0x8000_0001u)]
    public void B1_a_mask_without_base_or_with_an_unknown_bit_is_none(uint mask) =>
        Assert.False(ViridianFeatureSet.TryFromMask(mask, out _));

    [Fact]
    public void B1_every_mask_that_may_be_comes_back_as_it_was()
    {
        for (var mask = 1UL; mask <= 0x1FFF; mask += 2)
        {
            Assert.True(ViridianFeatureSet.TryFromMask(mask, out var features));
            Assert.Equal(mask, features.ToMask());
        }
    }

    [Fact]
    public void B5_a_stream_from_before_the_mask_restores_as_base_and_freq() =>
        Assert.Equal(ViridianFeatureSet.BaseAndFrequency, ViridianFeatureSet.FromStream(1));

    [Theory]
    [InlineData(0x2001u, "0x2001", "0x2000")]
    [InlineData(0x4u, "0x4", "'base'")]
    public void B5_a_stream_with_a_mask_that_the_core_does_not_know_is_refused_by_name(uint mask, string value, string why)
    {
        var refused = Assert.Throws<HypervisorException>(() => ViridianFeatureSet.FromStream(mask));

        Assert.Equal(Errno.EINVAL, refused.Error);
        Assert.StartsWith("viridian: ", refused.Message, StringComparison.Ordinal);
        Assert.Contains(value, refused.Message, StringComparison.Ordinal);
        Assert.Contains(why, refused.Message, StringComparison.Ordinal);
    }

    private static string[] Split(string names) => names.Split(',', StringSplitOptions.RemoveEmptyEntries);
}
