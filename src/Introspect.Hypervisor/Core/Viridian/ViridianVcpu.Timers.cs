using Introspect.Hypervisor.Abi;

namespace Introspect.Hypervisor.Core.Viridian;

/// <summary>
/// The synthetic timers. They go off on the timers' thread, which leaves a note; the vCPU's own thread delivers the
/// message before it enters the guest.
/// </summary>
internal sealed partial class ViridianVcpu
{
    private const ulong NanosecondsPerUnit = 100;

    // What rounding takes from a deadline: the guest must not find the reference time short of it.
    private const ulong Rounding = 2;

    // Ticks behind which a timer that is not lazy gives up making up for them.
    private const ulong MostMissed = 3;

    private readonly Lock _timerLock = new();
    private readonly SyntheticTimer[] _timers = new SyntheticTimer[SyntheticTimerMsrs.Count];
    private int _pending;

    /// <summary>System time of the next timer, or <see cref="ulong.MaxValue"/>.</summary>
    public ulong NextDeadline
    {
        get
        {
            var next = ulong.MaxValue;
            foreach (ref var timer in _timers.AsSpan())
            {
                if (Volatile.Read(ref timer.Deadline) is > 0 and var deadline && deadline < next)
                {
                    next = deadline;
                }
            }

            return next;
        }
    }

    /// <summary>A timer went off, and its message may not be delivered yet. Any thread.</summary>
    public bool HasPendingTimers => Volatile.Read(ref _pending) != 0;

    /// <summary>Lets the timers that are due go off. Any thread.</summary>
    public void ExpireTimers(ulong now)
    {
        var due = false;
        lock (_timerLock)
        {
            for (var n = 0; n < _timers.Length; n++)
            {
                if (_timers[n].Deadline != 0 && _timers[n].Deadline <= now)
                {
                    GoOff(n);
                    due = true;
                }
            }
        }

        if (due)
        {
            _host.Wake();
        }
    }

    /// <summary>The domain stands still: nobody waits for the timers. Any thread.</summary>
    public void SuspendTimers()
    {
        lock (_timerLock)
        {
            foreach (ref var timer in _timers.AsSpan())
            {
                Volatile.Write(ref timer.Deadline, 0);
            }
        }
    }

    /// <summary>The domain goes on: the timers are as far from going off as they were. Any thread.</summary>
    public void ResumeTimers()
    {
        var due = false;
        lock (_timerLock)
        {
            var cycles = _domain.Host.Cycles;
            for (var n = 0; n < _timers.Length; n++)
            {
                ref var timer = ref _timers[n];
                if (timer.Deadline != 0)
                {
                    continue; // one that was copied as it runs, in time that is instructions
                }

                if (timer is { IsEnabled: true, Started: true, Pending: false })
                {
                    Arm(n, cycles, _domain.Time.At(cycles));
                }
                else if (timer is { IsEnabled: true, Pending: false })
                {
                    Start(n, cycles);
                }

                due |= timer.Pending;
            }
        }

        if (due)
        {
            _host.Wake();
        }
    }

    /// <summary>Delivers what is due, as far as there is room for it. The vCPU's own thread.</summary>
    public void DeliverTimers()
    {
        for (var n = 0; n < _timers.Length; n++)
        {
            SyntheticTimer timer;
            lock (_timerLock)
            {
                if (!_timers[n].Pending)
                {
                    continue;
                }

                // It may have been disabled meanwhile.
                if (!_timers[n].IsEnabled)
                {
                    NoLongerPending(n);
                    continue;
                }

                timer = _timers[n];
            }

            // Nobody but this thread changes a timer that is pending.
            var cycles = _host.Cycles;
            if (!TryDeliver(timer.Sint, (uint)n, timer.Expiration, _domain.Time.At(cycles)))
            {
                continue;
            }

            lock (_timerLock)
            {
                NoLongerPending(n);
                if (timer.IsPeriodic)
                {
                    Start(n, cycles);
                }
                else
                {
                    _timers[n].IsEnabled = false;
                }
            }
        }
    }

    private ulong ReadTimer(int timer, bool isCount)
    {
        lock (_timerLock)
        {
            ref var state = ref _timers[timer];
            if (isCount)
            {
                return state.Count;
            }

            // A single shot that went off is not enabled any more, wherever its message is.
            var read = state;
            read.IsEnabled &= state.IsPeriodic || !state.Pending;
            return read.Config;
        }
    }

    private void WriteTimer(int timer, bool isCount, ulong value)
    {
        lock (_timerLock)
        {
            ref var state = ref _timers[timer];
            Stop(timer);
            if (isCount)
            {
                state.Count = value;
                if (state.EnablesItself && value != 0)
                {
                    state.IsEnabled = true;
                }
            }
            else
            {
                state.Config = value;
            }

            // As on Xen, SINT 0 is looked at when the configuration is written.
            if (state.Count == 0 || (!isCount && state.Sint == 0))
            {
                state.IsEnabled = false;
            }

            if (state.IsEnabled)
            {
                Start(timer, _host.Cycles);
            }
        }

        _domain.Host.DeadlineChanged();
    }

    private void Stop(int timer)
    {
        ref var state = ref _timers[timer];
        state.Started = false;
        Volatile.Write(ref state.Deadline, 0);
    }

    private void Start(int timer, ulong cycles)
    {
        ref var state = ref _timers[timer];
        var now = _domain.Time.At(cycles);
        state.Expiration = state.IsPeriodic ? NextTick(in state, now) : state.Count;
        Arm(timer, cycles, now);
    }

    private static ulong NextTick(ref readonly SyntheticTimer timer, ulong now)
    {
        if (!timer.Started || timer.IsLazy)
        {
            return unchecked(now + timer.Count);
        }

        // Ticks that were missed make the next ones come faster, unless they are too many.
        var next = unchecked(timer.Expiration + timer.Count);
        if (!IsPast(next, now))
        {
            return next;
        }

        var missed = (unchecked(now - next) / timer.Count) + 1;
        return unchecked(now + (missed > MostMissed ? timer.Count : Math.Max(timer.Count / missed, 1)));
    }

    // The guest's numbers are compared as it subtracts them: half of all are past.
    private static bool IsPast(ulong time, ulong now) => unchecked((long)(time - now)) <= 0;

    private void Arm(int timer, ulong cycles, ulong now)
    {
        ref var state = ref _timers[timer];
        if (IsPast(state.Expiration, now))
        {
            GoOff(timer);
            return;
        }

        state.Started = true;
        NoLongerPending(timer);
        var distance = unchecked(state.Expiration - now);
        var from = _domain.Host.ToNanoseconds(cycles);
        var deadline = distance > (ulong.MaxValue - from - Rounding) / NanosecondsPerUnit
            ? ulong.MaxValue - 1
            : from + (distance * NanosecondsPerUnit) + Rounding;

        // While the time stands still nobody waits; it is armed again when the domain goes on.
        Volatile.Write(ref state.Deadline, _domain.Time.IsRunning ? deadline : 0);
    }

    private void GoOff(int timer)
    {
        Volatile.Write(ref _timers[timer].Deadline, 0);
        _timers[timer].Pending = true;
        Volatile.Write(ref _pending, _pending | (1 << timer));
    }

    private void NoLongerPending(int timer)
    {
        _timers[timer].Pending = false;
        Volatile.Write(ref _pending, _pending & ~(1 << timer));
    }
}
