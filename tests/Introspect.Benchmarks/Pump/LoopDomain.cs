using Introspect.Hypervisor;

namespace Introspect.Benchmarks.Pump;

/// <summary>A domain that is nothing but its monitor.</summary>
internal sealed class LoopDomain(IMonitor monitor) : IDomain
{
    public DomainId Id => new(1);

    public IGuestMemory Memory { get; } = new NoMemory();

    public DomainInfo GetInfo() => new(Id, "benchmark", Guid.Empty, CpuVendor.Vmx, 1, new(0xFFF), 16 << 20, DomainState.Running, 0);

    public void Pause()
    {
    }

    public void Unpause()
    {
    }

    public VcpuState ReadVcpu(VcpuId vcpu) => default;

    public void WriteVcpu(VcpuId vcpu, in VcpuState state)
    {
    }

    public void InjectTrap(VcpuId vcpu, in TrapInjection trap)
    {
    }

    public IMonitor EnableMonitor() => monitor;

    public RecoveryReport Recover() => new(false, 0, 0, 0);

    public void Dispose()
    {
    }
}
