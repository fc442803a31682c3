using System.Runtime.InteropServices;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Domains;
using Introspect.Hypervisor.Core.Execution;
using Introspect.Hypervisor.Core.Viridian;
using Introspect.Hypervisor.Tests.Forks;

namespace Introspect.Hypervisor.Tests.Viridian;

/// <summary>Forks begin with the enlightenments of their parent, to the last bit, and are taken back to them.</summary>
public sealed class ViridianForkTests : IDisposable
{
    private const ulong MessagePage = 0xC000;
    private const uint TimerExpired = 0x8000_0010;

    private readonly ForkLab _lab = new(static code => code.hlt(), vcpus: 2);
    private readonly List<IDomain> _forks = [];

    public ViridianForkTests()
    {
        Assert.Equal(Errno.None, SetViridian(_lab.Parent.Id.Value, ViridianFeatureSet.All));
        Write(Parent, Msr.HvGuestOsId, 4UL << 40);
        Write(Parent, Msr.HvScontrol, 1);
        Write(Parent, Msr.HvSiefp, 0xD001);
        Write(Parent, Msr.HvSimp, MessagePage | 1);
        Write(Parent, Msr.HvSint0 + 1, 0x55);
        Write(Parent, Msr.HvCrashP0, 0xBAD);

        // One timer that went off and waits for its message, one that is far away.
        Write(Parent, Msr.HvStimer0Count, 1UL << 63);
        Write(Parent, Msr.HvStimer0Config, (1 << 16) | 1);
        Write(Parent, Msr.HvStimer3Count, 1UL << 40);
        Write(Parent, Msr.HvStimer3Count - 1, (1 << 16) | 3);
    }

    private Domain Parent => _lab.Inside(_lab.Parent);

    [Fact]
    public void B5_a_fork_has_its_parents_features_and_state_and_a_reset_takes_it_back()
    {
        var child = Fork(out var fork);
        Assert.Equal(ViridianFeatureSet.All, Viridian(child).Features);
        Assert.Equal(0x1FFDUL, child.GetParam(HvmParam.Viridian));
        Assert.Equal(0x4000_0100u, ((DomainPlatform)child.Platform).Policy.XenBase);
        Assert.Equal(State(Parent), State(child));

        Write(child, Msr.HvSiefp, 0);
        Write(child, Msr.HvGuestOsId, 0);
        Write(child, Msr.HvStimer0Config, 0);
        Assert.NotEqual(State(Parent), State(child));
        fork.ResetFork(state: true, memory: true);

        Assert.Equal(State(Parent), State(child));
        Assert.True(Vcpu(child).HasPendingTimers);
    }

    [Fact]
    public void B5_a_message_to_a_fork_is_in_the_forks_own_memory()
    {
        var child = Fork(out var fork);
        Vcpu(child).DeliverTimers();

        Assert.Equal(TimerExpired, (uint)ForkLab.Read(fork, MessagePage + 256));
        Assert.Equal(0UL, ForkLab.Read(_lab.Parent, MessagePage + 256));
        Assert.True(Vcpu(Parent).HasPendingTimers);
    }

    [Fact]
    public void B5_a_domain_that_has_other_features_cannot_become_a_fork()
    {
        using var other = Introspect.Hypervisor.Core.DomainUnderConstruction.Create(
            _lab.Toolstack, new() { MemoryBytes = 2 << 20, Vcpus = 2, Viridian = ViridianFeatureSet.BaseAndFrequency });
        var child = _lab.Machine.Find(other.Id.Value)!;

        Assert.Equal(Errno.EEXIST, Forking.Fork(child, Parent));
        Assert.Null(child.Parent);
        Assert.Equal(1UL, child.GetParam(HvmParam.Viridian));
    }

    public void Dispose()
    {
        foreach (var fork in _forks)
        {
            fork.Dispose();
        }

        _lab.Dispose();
    }

    private static ViridianDomain Viridian(Domain domain) => ((DomainPlatform)domain.Platform).Viridian!;

    private static ViridianVcpu Vcpu(Domain domain) => Viridian(domain).Find(1)!;

    private static void Write(Domain domain, uint msr, ulong value) => Assert.True(Vcpu(domain).TryWrite(msr, value));

    private static string State(Domain domain)
    {
        var (record, mine) = (new byte[32], new byte[216]);
        Viridian(domain).Save(record);
        Vcpu(domain).Save(mine);
        Vcpu(domain).SaveRest(out var rest);
        return $"{Convert.ToHexString(record)} {Convert.ToHexString(mine)} {Convert.ToHexString(MemoryMarshal.AsBytes(new ReadOnlySpan<ViridianVcpuRest>(in rest)))}";
    }

    private Domain Fork(out IDomain fork)
    {
        fork = _lab.Parent.Fork();
        _forks.Add(fork);
        return _lab.Inside(fork);
    }

    private Errno SetViridian(ushort domain, ViridianFeatureSet features)
    {
        var argument = new HvmParamArgument { Domid = domain, Index = HvmParam.Viridian, Value = features.ToMask() };
        return (Errno)(-_lab.Toolstack.HvmOp(HvmOp.SetParam, MemoryMarshal.AsBytes(new Span<HvmParamArgument>(ref argument)), default, default));
    }
}
