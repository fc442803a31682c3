using Introspect.Hypervisor.Core.Hypercalls.Guest;

namespace Introspect.Hypervisor.Core.Execution;

/// <summary>States of a vCPU as its guest is told them (<c>RUNSTATE_*</c>).</summary>
internal enum RunstateKind
{
    Running = 0,
    Runnable = 1,
    Blocked = 2,
    Offline = 3,
}

/// <summary>Where a vCPU spent its time, in guest nanoseconds.</summary>
internal sealed class RunstateClock(DomainPlatform platform)
{
    private readonly Lock _lock = new();
    private readonly ulong[] _spent = new ulong[4];
    private RunstateKind _state = RunstateKind.Offline;
    private ulong _since;

    /// <summary>The vCPU enters a state.</summary>
    public void Set(RunstateKind state)
    {
        if (_state == state)
        {
            return;
        }

        lock (_lock)
        {
            var now = platform.Clock.Nanoseconds;
            _spent[(int)_state] += now - _since;
            (_state, _since) = (state, now);
        }
    }

    /// <summary>The times until now.</summary>
    public Runstate Read()
    {
        lock (_lock)
        {
            var current = platform.Clock.Nanoseconds - _since;
            return new Runstate(
                (int)_state, _since, At(RunstateKind.Running), At(RunstateKind.Runnable), At(RunstateKind.Blocked), At(RunstateKind.Offline));

            ulong At(RunstateKind kind) => _spent[(int)kind] + (kind == _state ? current : 0);
        }
    }
}
