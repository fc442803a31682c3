using Introspect.Hypervisor;
using Introspect.Rules.Running;

namespace Introspect.Rules.Capture;

/// <summary>
/// The domain of a capture, for handlers: what is known of it is told, pauses are as good as done, and everything else is
/// refused by name.
/// </summary>
internal sealed class CapturedDomain(CaptureReader capture) : IDomain, IHasNoPageTables
{
    public DomainId Id => capture.Header.Domain.Id;

    public IGuestMemory Memory => capture.Memory;

    public DomainInfo GetInfo() => capture.Header.Domain;

    // What was recorded has happened: nothing is left that could be held up.
    public void Pause()
    {
    }

    public void Unpause()
    {
    }

    public VcpuState ReadVcpu(VcpuId vcpu) =>
        throw new HypervisorException(Errno.ENODATA, $"the state of vCPU {vcpu} is not in the capture; an event has the registers that it was sent with");

    public void WriteVcpu(VcpuId vcpu, in VcpuState state) => throw Refuse($"writing the state of vCPU {vcpu}");

    public void InjectTrap(VcpuId vcpu, in TrapInjection trap) => throw Refuse($"injecting trap {trap.Vector} into vCPU {vcpu}");

    public IMonitor EnableMonitor() => throw Refuse("watching");

    public RecoveryReport Recover() => throw Refuse("recovering");

    public void Dispose()
    {
    }

    private HypervisorException Refuse(string what) => new(Errno.EOPNOTSUPP, $"{what}: domain {Id} is a capture");
}

/// <summary>The time of a capture: handlers take none of it, so that every replay is the same.</summary>
internal sealed class CaptureClock : TimeProvider
{
    private TimeSpan _elapsed;
    private DateTime _time = DateTime.UnixEpoch;

    public override long TimestampFrequency => TimeSpan.TicksPerSecond;

    public override long GetTimestamp() => _elapsed.Ticks;

    public override DateTimeOffset GetUtcNow() => new(DateTime.SpecifyKind(_time, DateTimeKind.Utc));

    public void MoveTo(TimeSpan elapsed, DateTime time) => (_elapsed, _time) = (elapsed, time);
}
