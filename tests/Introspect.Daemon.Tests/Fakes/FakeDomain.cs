using Introspect.Hypervisor;

namespace Introspect.Daemon.Tests.Fakes;

/// <summary>A domain that keeps count of what is done to it.</summary>
internal sealed class FakeDomain(DomainId id, string name, CpuVendor vendor) : IDomain
{
    private int _pauses;

    public DomainId Id => id;

    public DomainState State { get; set; } = DomainState.Running;

    public int PauseCount => Volatile.Read(ref _pauses);

    /// <summary>The monitor that is enabled now, or was last.</summary>
    public FakeMonitor? Monitor { get; private set; }

    /// <summary>How often a monitor was enabled.</summary>
    public int Enables { get; private set; }

    /// <summary>What <see cref="EnableMonitor"/> is refused with.</summary>
    public Errno Refuse { get; set; }

    /// <summary>Called when the monitor is enabled.</summary>
    public Action OnEnable { get; set; } = () => { };

    /// <summary>Called when somebody asks what the domain is.</summary>
    public Action OnInfo { get; set; } = () => { };

    /// <summary>What <see cref="Recover"/> finds.</summary>
    public RecoveryReport Recovery { get; set; } = new(false, 0, 0, 0);

    public MonitorCapabilities Capabilities { get; set; } = (MonitorCapabilities)0x3fff;

    public IGuestMemory Memory { get; } = new FakeMemory();

    public DomainInfo GetInfo()
    {
        OnInfo();
        return new(id, name, Guid.Parse($"00000000-0000-0000-0000-{id.Value:x12}"), vendor, 2, new Gfn(0x4000), 64 << 20, State, PauseCount);
    }

    public void Pause() => Interlocked.Increment(ref _pauses);

    public void Unpause() => Interlocked.Decrement(ref _pauses);

    public VcpuState ReadVcpu(VcpuId vcpu) => default;

    public void WriteVcpu(VcpuId vcpu, in VcpuState state)
    {
    }

    public void InjectTrap(VcpuId vcpu, in TrapInjection trap)
    {
    }

    public IMonitor EnableMonitor()
    {
        if (Refuse != Errno.None)
        {
            throw new HypervisorException(Refuse, $"enabling the monitor of domain {id} was refused");
        }

        OnEnable();
        Enables++;
        return Monitor = new(Capabilities);
    }

    public RecoveryReport Recover() => Recovery;

    public void Dispose()
    {
    }
}
