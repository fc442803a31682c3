using Introspect.Hypervisor;

namespace Introspect.Rules.Tests.Mocks;

/// <summary>A domain without a hypervisor, with one call log for itself and its monitor.</summary>
public sealed class MockDomain : IDomain
{
    private readonly List<(uint Vcpu, TrapInjection Trap)> _traps = [];
    private int _pauses;

    public MockDomain(int vcpus = 2)
    {
        VcpuCount = vcpus;
        Holds = new int[vcpus];
        Monitor = new(this);
    }

    public CallLog Log { get; } = new();

    public MockMonitor Monitor { get; }

    public MockGuestMemory GuestMemory { get; } = new();

    public int VcpuCount { get; }

    public DomainId Id => new(7);

    public IGuestMemory Memory => GuestMemory;

    /// <summary>What the toolstack says of the domain while it is not paused.</summary>
    public DomainState State { get; set; } = DomainState.Running;

    /// <summary>Called when the domain is paused, to play what the guest still did just before.</summary>
    public Action? OnPause { get; set; }

    /// <summary>Pauses that were not undone.</summary>
    public int PauseCount => Volatile.Read(ref _pauses);

    public IReadOnlyList<(uint Vcpu, TrapInjection Trap)> Traps
    {
        get
        {
            lock (_traps)
            {
                return [.. _traps];
            }
        }
    }

    /// <summary>Makes every call fail as for a domain that was destroyed.</summary>
    public void Vanish()
    {
        foreach (var call in new[] { "Pause", "Unpause", "GetInfo", "InjectTrap", "Enable", "Disable", "SetMemoryAccess", "Notify", "Wait" })
        {
            Log.Fail(call, Errno.ESRCH);
        }
    }

    public DomainInfo GetInfo()
    {
        Log.Called("GetInfo");
        return new(Id, "mock", Guid.Empty, CpuVendor.Vmx, VcpuCount, new(0xfff), 16 << 20, PauseCount > 0 ? DomainState.Paused : State, PauseCount);
    }

    public void Pause()
    {
        OnPause?.Invoke();
        Called("Pause");
        Interlocked.Increment(ref _pauses);
    }

    public void Unpause()
    {
        Called("Unpause");
        if (Interlocked.Decrement(ref _pauses) < 0)
        {
            throw new HypervisorException(Errno.EINVAL, "mock: the domain is not paused");
        }
    }

    /// <summary>Holds of each vCPU that were not undone.</summary>
    public int[] Holds { get; }

    /// <summary>As on a hypervisor that cannot hold single vCPUs.</summary>
    public bool CannotHold { get; set; }

    public void PauseVcpu(VcpuId vcpu) => Hold(vcpu, 1);

    public void UnpauseVcpu(VcpuId vcpu) => Hold(vcpu, -1);

    /// <summary>Pages that were added and not taken back.</summary>
    public List<Gfn> Frames { get; } = [];

    public Gfn AddFrame()
    {
        Log.Called("AddFrame");
        var frame = new Gfn(0x1000 + (ulong)Frames.Count);
        Frames.Add(frame);
        GuestMemory.WritePhysical(frame.Address, new byte[Gfn.PageSize]);
        return frame;
    }

    public void RemoveFrame(Gfn gfn)
    {
        Log.Called("RemoveFrame", gfn.ToString());
        Frames.Remove(gfn);
    }

    /// <summary>What reading a vCPU gives.</summary>
    public VcpuState VcpuState { get; set; }

    public VcpuState ReadVcpu(VcpuId vcpu)
    {
        Log.Called("ReadVcpu", vcpu.ToString());
        return VcpuState;
    }

    public void WriteVcpu(VcpuId vcpu, in VcpuState state) => Log.Called("WriteVcpu", vcpu.ToString());

    public void InjectTrap(VcpuId vcpu, in TrapInjection trap)
    {
        Log.Called("InjectTrap", $"{trap.Vector}");
        lock (_traps)
        {
            _traps.Add((vcpu.Value, trap));
        }
    }

    public IMonitor EnableMonitor()
    {
        Log.Called("EnableMonitor");
        return Monitor;
    }

    public RecoveryReport Recover()
    {
        Log.Called("Recover");
        return new(false, 0, 0, 0);
    }

    private void Called(string call)
    {
        if (Monitor.IsVerbose)
        {
            Log.Called(call);
        }
    }

    private void Hold(VcpuId vcpu, int change)
    {
        if (Monitor.IsVerbose)
        {
            Log.Called(change > 0 ? "PauseVcpu" : "UnpauseVcpu", vcpu.ToString());
        }

        var error = CannotHold ? Errno.EOPNOTSUPP : PauseCount == 0 ? Errno.EBUSY : Holds[vcpu.Value] + change < 0 ? Errno.EINVAL : Errno.None;
        if (error != Errno.None)
        {
            throw new HypervisorException(error, $"mock: vCPU {vcpu} is not held");
        }

        Holds[vcpu.Value] += change;
    }

    public void Dispose() => Log.Called("DisposeDomain");
}
