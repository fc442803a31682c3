using System.Runtime.InteropServices;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core;
using Introspect.Hypervisor.Core.Building;
using Introspect.Hypervisor.Core.Domains;
using Introspect.Hypervisor.Core.Execution;
using Introspect.Hypervisor.Core.Hypercalls.Guest;
using Introspect.Hypervisor.Core.Hypercalls.Toolstack;
using Introspect.Hypervisor.Core.State;
using Introspect.Hypervisor.Core.Viridian;

namespace Introspect.Hypervisor.Tests.Viridian;

/// <summary>The parameter, and what a whole domain makes of it: leaves, pauses, saved records.</summary>
public sealed class ViridianParameterTests : IDisposable
{
    private readonly Machine _machine = new(new MachineOptions(static domain => new DomainPlatform(domain, new PlatformOptions())));
    private readonly LocalToolstack _toolstack;
    private readonly List<DomainUnderConstruction> _built = [];

    public ViridianParameterTests() => _toolstack = new LocalToolstack(_machine, ToolstackCaller.Control);

    [Theory]
    [InlineData(0u)]
    [InlineData(2u)] // a negative without what it negates
    [InlineData(4u)]
    [InlineData(0x1FFEu)]
    [InlineData(0x2001u)]
    [InlineData(0xFFFF_FFFFu)]
    public void B2_a_mask_without_base_or_with_an_unknown_bit_is_EINVAL_and_nothing_is_set(uint mask)
    {
        var domain = Create(ViridianFeatureSet.None);

        Assert.Equal(Errno.EINVAL, Set(domain, mask));
        Assert.Equal(0UL, domain.GetParam(HvmParam.Viridian));
        Assert.Null(Platform(domain).Viridian);
        Assert.Equal(Errno.None, Set(domain, 1));
    }

    [Theory]
    [InlineData(1u)] // the same
    [InlineData(3u)]
    [InlineData(0x1FFDu)]
    [InlineData(0u)]
    [InlineData(0x2001u)]
    public void B2_once_set_the_mask_can_neither_change_nor_be_cleared_nor_be_set_to_the_same(uint mask)
    {
        var domain = Create(ViridianFeatureSet.None);
        Assert.Equal(Errno.None, Set(domain, 1));

        Assert.Equal(Errno.EEXIST, Set(domain, mask));
        Assert.Equal(1UL, domain.GetParam(HvmParam.Viridian));
        Assert.Equal(ViridianFeatureSet.BaseAndFrequency, Platform(domain).Viridian!.Features);
    }

    [Fact]
    public void B2_only_the_toolstack_may_set_it_and_a_guest_may_not_even_read_it()
    {
        var domain = Create(ViridianFeatureSet.None);

        Assert.Equal(-(long)Errno.EPERM, HvmParamRights.CheckGuestWrite(HvmParam.Viridian, 1));
        Assert.Equal(-(long)Errno.EPERM, HvmParamRights.CheckGuestRead(HvmParam.Viridian));
        Assert.Equal(Errno.EPERM, Set(domain, 1, new LocalToolstack(_machine, default)));
        Assert.Null(Platform(domain).Viridian);
    }

    [Fact]
    public void B3_viridian_takes_the_first_leaves_and_Xens_move_whether_the_vCPUs_are_there_or_not()
    {
        var domain = Create(ViridianFeatureSet.None);
        Assert.Equal((0x4000_0000u, 0x4000_0000u), (Platform(domain).Policy.XenBase, Platform(domain).Policy.HypercallPageMsr));
        Assert.Equal(Errno.None, Set(domain, 1));
        Assert.Equal((0x4000_0100u, 0x4000_0200u), (Platform(domain).Policy.XenBase, Platform(domain).Policy.HypercallPageMsr));
        Assert.Equal(XenCpuid.SignatureEbx, Platform(domain).Policy.Query(0x4000_0100, 0, default).Ebx);
        Assert.NotNull(Platform(domain).Viridian!.Find(0));

        var early = Create(ViridianFeatureSet.Defaults);
        Assert.Equal(0x4000_0100u, Platform(early).Policy.XenBase);
        Assert.Equal(0x1865UL, early.GetParam(HvmParam.Viridian));
        Assert.NotNull(Platform(early).Viridian!.Find(1));
    }

    [Fact]
    public void B5_the_reference_time_follows_the_domains_pauses()
    {
        var domain = Create(ViridianFeatureSet.Defaults);
        var time = Platform(domain).Viridian!.Time;
        Assert.False(time.IsRunning);
        domain.ControllerUnpause();
        Assert.True(time.IsRunning);
        domain.Pause();
        Assert.False(time.IsRunning);
        domain.Pause();
        domain.Unpause();
        Assert.False(time.IsRunning);
        var stood = time.At(ulong.MaxValue);
        Assert.Equal(stood, time.At(0));
        domain.Unpause();
        Assert.True(time.IsRunning);
        domain.Shutdown(ShutdownReason.Suspend);
        Assert.False(time.IsRunning);
        domain.Resume();
        Assert.True(time.IsRunning);
    }

    [Fact]
    public void B5_a_context_carries_the_domains_and_each_vCPUs_state()
    {
        var (domain, restored) = (Create(ViridianFeatureSet.All), Create(ViridianFeatureSet.All));
        var vcpu = Platform(domain).Viridian!.Find(1)!;
        (uint Msr, ulong Value)[] registers =
        [
            (Msr.HvGuestOsId, 0x0001_0406_0001_1DB1), (Msr.HvHypercall, 0x2_0001), (Msr.HvReferenceTsc, 0x3_0001), (Msr.HvVpAssistPage, 0x4_0001),
            (Msr.HvSimp, 0x5_0001), (Msr.HvSint0 + 3, 0x2_0042), (Msr.HvSint15, 0x99), (Msr.HvStimer0Count, 1UL << 60), (Msr.HvStimer0Config, 0x3_0001),
            (Msr.HvStimer3Count, 500), (Msr.HvStimer3Count - 1, 0x5_0006),
        ];
        foreach (var (msr, value) in registers)
        {
            Assert.True(vcpu.TryWrite(msr, value));
        }

        Platform(domain).Viridian!.Time.Load(987_654_321);
        var context = Save(domain);
        Assert.Equal(Errno.None, HvmContext.Load(restored, context));

        var other = Platform(restored).Viridian!;
        Assert.All(registers, register =>
        {
            Assert.True(other.Find(1)!.TryRead(register.Msr, out var value));
            Assert.Equal(register.Value, value);
        });
        Assert.True(other.Find(0)!.TryRead(Msr.HvSimp, out var simp));
        Assert.Equal(0UL, simp);
        Assert.Equal(987_654_321UL, other.Time.At(0));
        foreach (var type in new[] { HvmSaveCode.ViridianDomain, HvmSaveCode.ViridianVcpu })
        {
            Assert.Equal(Record(domain, type), Record(restored, type));
        }
    }

    [Fact]
    public void B5_a_timer_that_runs_without_its_interrupt_is_restored_as_disabled()
    {
        var domain = Create(ViridianFeatureSet.All);
        var record = new byte[216];
        BitConverter.TryWriteBytes(record.AsSpan(152), 1UL); // enabled, SINT 0
        BitConverter.TryWriteBytes(record.AsSpan(184), 1UL);
        Assert.Equal(Errno.None, HvmContext.Find(domain, HvmSaveCode.ViridianVcpu)!.Load(0, record));
        Assert.True(Platform(domain).Viridian!.Find(0)!.TryRead(Msr.HvStimer0Config, out var config));

        Assert.Equal(0UL, config);
    }

    [Fact]
    public void B5_records_that_cannot_be_are_refused()
    {
        var (with, without) = (Create(ViridianFeatureSet.All), Create(ViridianFeatureSet.None));
        var record = new byte[216];
        record[9] = 1; // padding
        Assert.Equal(Errno.EINVAL, HvmContext.Find(with, HvmSaveCode.ViridianVcpu)!.Load(0, record));
        record[9] = 0;
        Assert.Equal(Errno.None, HvmContext.Find(with, HvmSaveCode.ViridianVcpu)!.Load(0, record));
        Assert.Equal(Errno.EINVAL, HvmContext.Find(with, HvmSaveCode.ViridianVcpu)!.Load(2, record));

        // The mask comes first; a domain that has none takes no records.
        Assert.Equal(Errno.EINVAL, HvmContext.Find(without, HvmSaveCode.ViridianVcpu)!.Load(0, record));
        Assert.Equal(Errno.EINVAL, HvmContext.Load(without, Save(with)));
        Assert.Equal(Errno.None, HvmContext.Load(with, Save(without)));
    }

    [Fact]
    public void B5_a_domain_without_viridian_saves_no_record_of_it()
    {
        var context = Save(Create(ViridianFeatureSet.None));
        var types = new List<ushort>();
        for (var at = 0; at < context.Length;)
        {
            var descriptor = MemoryMarshal.Read<HvmSaveDescriptor>(context.AsSpan(at));
            types.Add(descriptor.TypeCode);
            at += 8 + (int)descriptor.Length;
        }

        Assert.DoesNotContain(HvmSaveCode.ViridianDomain, types);
        Assert.DoesNotContain(HvmSaveCode.ViridianVcpu, types);
    }

    public void Dispose()
    {
        foreach (var built in _built)
        {
            built.Dispose();
        }

        _machine.Dispose();
    }

    private static DomainPlatform Platform(Domain domain) => (DomainPlatform)domain.Platform;

    private static byte[] Save(Domain domain)
    {
        var context = new byte[HvmContext.MaxSize(domain)];
        return context[..HvmContext.Save(domain, context)];
    }

    private static byte[] Record(Domain domain, uint type)
    {
        var section = HvmContext.Find(domain, type)!;
        var record = new byte[section.Length];
        Assert.True(section.TrySave(section.IsPerVcpu ? 1u : 0, record));
        return record;
    }

    private static Errno Set(Domain domain, ulong mask, LocalToolstack toolstack)
    {
        var argument = new HvmParamArgument { Domid = domain.Id.Value, Index = HvmParam.Viridian, Value = mask };
        return (Errno)(-toolstack.HvmOp(HvmOp.SetParam, MemoryMarshal.AsBytes(new Span<HvmParamArgument>(ref argument)), default, default));
    }

    private Errno Set(Domain domain, ulong mask) => Set(domain, mask, _toolstack);

    // Two vCPUs, of which the first halts with interrupts on.
    private Domain Create(ViridianFeatureSet features)
    {
        var built = DomainUnderConstruction.Create(_toolstack, new DomainConfig { MemoryBytes = 2 << 20, Vcpus = 2, Viridian = features });
        _built.Add(built);
        built.WritePhysical(0x10_0000, [0xFB, 0xF4, 0xEB, 0xFD]);
        built.Start(new PvhEntryState(0x10_0000, 0).ToVcpuState());
        return _machine.Find(built.Id.Value)!;
    }
}
