using System.Runtime.InteropServices;
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

/// <summary>A vCPU's times as plain state.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct RunstateTimes
{
    public RunstateKind State;

    // Named, so that it is zero: records are compared and written byte by byte.
    private uint _pad0;
    public ulong Since, Running, Runnable, Blocked, Offline;
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

    /// <summary>The times as plain state.</summary>
    public RunstateTimes Save()
    {
        lock (_lock)
        {
            return new RunstateTimes { State = _state, Since = _since, Running = _spent[0], Runnable = _spent[1], Blocked = _spent[2], Offline = _spent[3] };
        }
    }

    /// <summary>Takes times over.</summary>
    public void Load(in RunstateTimes times)
    {
        lock (_lock)
        {
            (_state, _since) = (times.State, times.Since);
            (_spent[0], _spent[1], _spent[2], _spent[3]) = (times.Running, times.Runnable, times.Blocked, times.Offline);
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
