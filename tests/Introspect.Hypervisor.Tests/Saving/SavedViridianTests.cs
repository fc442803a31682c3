using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Building.Demo;
using Introspect.Hypervisor.Core.Domains;
using Introspect.Hypervisor.Core.Execution;
using Introspect.Hypervisor.Core.Saving;
using Introspect.Hypervisor.Core.State;
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

    [Fact]
    public void A_saved_file_carries_the_registers_that_Xens_records_forget()
    {
        using var first = Enlightened(new SavingLab());
        var vcpu = Viridian(first.Domain).Find(0)!;
        (uint Msr, ulong Value)[] forgotten =
            [(Msr.HvScontrol, 1), (Msr.HvSiefp, 0x7001), (Msr.HvCrashP0, 0xDEAD), (Msr.HvCrashP4, 0xBEEF), (Msr.HvStimer0Count, 1UL << 40)];
        foreach (var (msr, value) in forgotten)
        {
            Assert.True(vcpu.TryWrite(msr, value));
        }

        using var second = new SavingLab().Restore(first.Save());
        Assert.All(forgotten, register =>
        {
            Assert.True(Viridian(second.Domain).Find(0)!.TryRead(register.Msr, out var value));
            Assert.Equal(register.Value, value);
        });
    }

    [Fact]
    public void A_file_from_before_the_mask_restores_as_base_and_freq()
    {
        using var first = Enlightened(new SavingLab());
        using var second = new SavingLab().Restore(WithMask(first.Save(), 1));
        Assert.Equal(ViridianFeatureSet.BaseAndFrequency, Viridian(second.Domain).Features);
        Assert.Equal(1UL, second.Domain.GetParam(HvmParam.Viridian));
    }

    [Fact]
    public void A_file_with_a_mask_that_the_core_does_not_know_is_refused_by_name()
    {
        using var first = Enlightened(new SavingLab());
        using var second = new SavingLab();
        var refused = Assert.Throws<HypervisorException>(() => second.Restore(WithMask(first.Save(), 0x2001)));
        Assert.Equal(Errno.EINVAL, refused.Error);
        Assert.Contains("viridian: the saved domain's feature mask is 0x2001: bits 0x2000 are not known to this core", refused.Message, StringComparison.Ordinal);
        Assert.Empty(second.Machine.Domains);
    }

    [Fact]
    public void A_hostile_file_in_which_a_timer_runs_without_a_count_is_refused()
    {
        using var first = Enlightened(new SavingLab());
        var hostile = ReSealed.Change(first.Save(), static (kind, payload) =>
        {
            if (kind == SavedKind.Section && BitConverter.ToUInt16(payload) == CoreSectionCode.ViridianVcpu)
            {
                // The first timer behind the controller's two registers and the crash's five: periodic, and started.
                var timer = payload.AsSpan(SavedFormat.SectionPrefixBytes + 56);
                BitConverter.TryWriteBytes(timer, 0x1_0003UL);
                timer[32..34].Fill(1);
            }

            return payload;
        });
        using var second = new SavingLab();
        var refused = Assert.Throws<HypervisorException>(() => second.Restore(hostile));
        Assert.Equal(Errno.EINVAL, refused.Error);
        Assert.Contains("synthetic timers", refused.Message, StringComparison.Ordinal);
        Assert.Empty(second.Machine.Domains);
    }

    private static byte[] WithMask(byte[] saved, ulong mask) => ReSealed.Change(saved, (kind, payload) =>
    {
        for (var at = 0; kind == SavedKind.Parameters && at < payload.Length; at += SavedFormat.ParameterBytes)
        {
            if (BitConverter.ToUInt32(payload, at) == HvmParam.Viridian)
            {
                BitConverter.TryWriteBytes(payload.AsSpan(at + 8), mask);
            }
        }

        return payload;
    });

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
