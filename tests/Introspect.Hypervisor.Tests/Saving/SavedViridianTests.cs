using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Building.Demo;
using Introspect.Hypervisor.Core.Domains;
using Introspect.Hypervisor.Core.Execution;
using Introspect.Hypervisor.Core.Viridian;

namespace Introspect.Hypervisor.Tests.Saving;

/// <summary>The enlightenments of a domain that is saved and restored.</summary>
public sealed class SavedViridianTests
{
    [Fact]
    public void A_restored_domain_has_exactly_the_enlightenments_that_it_had()
    {
        using var first = Enlightened(new SavingLab());
        var vcpu = Viridian(first.Domain).Find(0)!;
        Assert.True(vcpu.TryWrite(Msr.HvGuestOsId, 4UL << 40));
        Assert.True(vcpu.TryWrite(Msr.HvSint0 + 1, 0x55));
        Assert.True(vcpu.TryWrite(Msr.HvStimer0Count, 1UL << 40));

        using var second = new SavingLab().Restore(first.Save());
        Assert.Equal(ViridianFeatureSet.All, Viridian(second.Domain).Features);
        Assert.Equal(ViridianFeatureSet.All.ToMask(), second.Domain.GetParam(HvmParam.Viridian));
        Assert.Equal(first.Platform.Policy.XenBase, second.Platform.Policy.XenBase);
        Assert.Equal(State(first.Domain), State(second.Domain));
    }

    [Fact]
    public void The_reference_counter_goes_on_where_it_stood()
    {
        using var first = Enlightened(new SavingLab());
        first.RunTo(100_000);
        Assert.True(Viridian(first.Domain).Find(0)!.TryRead(Msr.HvTimeRefCount, out var before));
        Assert.NotEqual(0UL, before);

        using var second = new SavingLab().Restore(first.Save());
        Assert.True(Viridian(second.Domain).Find(0)!.TryRead(Msr.HvTimeRefCount, out var after));
        Assert.Equal(before, after);
        second.RunTo(second.Retired + 100_000);
        Assert.True(Viridian(second.Domain).Find(0)!.TryRead(Msr.HvTimeRefCount, out after));
        Assert.True(after > before);
    }

    private static SavingLab Enlightened(SavingLab lab) => lab.Build(DemoGuest.Build(new() { Forever = true }).Image, viridian: ViridianFeatureSet.All);

    private static ViridianDomain Viridian(Domain domain) => ((DomainPlatform)domain.Platform).Viridian!;

    private static string State(Domain domain)
    {
        var (whole, vcpu) = (new byte[32], new byte[216]);
        Viridian(domain).Save(whole);
        Viridian(domain).Find(0)!.Save(vcpu);
        return $"{Convert.ToHexString(whole)} {Convert.ToHexString(vcpu)}";
    }
}
