namespace Introspect.Hypervisor.Core.Platform.Apic;

/// <summary>
/// The timer: one-shot and periodic on a bus of 100 MHz, and TSC deadline. It measures nothing itself; whoever runs
/// the domain's timers asks for <see cref="Deadline"/> and calls <see cref="Expire"/>.
/// </summary>
internal sealed partial class LocalApic
{
    private const ulong BusCycle = 1000 / CpuidPolicy.ApicBusMhz; // nanoseconds

    // As on Xen, a guest cannot ask for more than 10,000 ticks a second from the periodic timer.
    private const ulong ShortestPeriod = 100_000;

    private readonly Lock _timerLock = new();

    // System times; 0: none. The counter was at its initial count at the start.
    private ulong _deadline;
    private ulong _period;
    private ulong _countStart;

    /// <summary>System time at which <see cref="Expire"/> has something to do, or 0. Any thread.</summary>
    public ulong Deadline => Volatile.Read(ref _deadline);

    /// <summary>The running timer. The vCPU stands still.</summary>
    public ApicTimerState TimerState
    {
        get
        {
            lock (_timerLock)
            {
                return new() { Deadline = _deadline, Period = _period, CountStart = _countStart };
            }
        }

        set
        {
            lock (_timerLock)
            {
                (_period, _countStart) = (value.Period, value.CountStart);
                Volatile.Write(ref _deadline, value.Deadline);
            }
        }
    }

    /// <summary>IA32_TSC_DEADLINE.</summary>
    public ulong TscDeadline
    {
        get => IsDeadlineTimer ? Volatile.Read(ref _hidden.TdtMsr) : 0;
        set
        {
            if (!IsHardwareDisabled && IsDeadlineTimer)
            {
                ArmDeadline(value);
            }
        }
    }

    private uint TimerMode => Register(ApicRegister.LvtTimer) & ApicBits.TimerMode;

    private bool IsDeadlineTimer => TimerMode == ApicBits.TimerDeadline;

    // Mode 3 is reserved: nothing counts.
    private bool IsCounter => IsCounterMode(TimerMode);

    /// <summary>Counts down to zero and, in periodic mode, from the top again; zero when it does not run.</summary>
    private uint CurrentCount
    {
        get
        {
            var initial = Register(ApicRegister.InitialCount);
            lock (_timerLock)
            {
                if (!IsCounter || initial == 0 || _countStart == 0)
                {
                    return 0;
                }

                var passed = Since(_countStart) / (BusCycle * _hidden.TimerDivisor);
                if (TimerMode == ApicBits.TimerPeriodic)
                {
                    passed %= initial;
                }

                return passed < initial ? initial - (uint)passed : 0;
            }
        }
    }

    /// <summary>Does what is due at a system time. Any thread.</summary>
    public void Expire(ulong now)
    {
        uint entry;
        lock (_timerLock)
        {
            if (_deadline == 0 || _deadline > now)
            {
                return;
            }

            // As it was when the time came: the guest may give the timer another mode and vector at once.
            entry = Register(ApicRegister.LvtTimer);

            if (_period != 0)
            {
                // Ticks that were missed are not made up for, and the phase is kept.
                var next = _deadline + ((((now - _deadline) / _period) + 1) * _period);
                _countStart = next - _period;
                Volatile.Write(ref _deadline, next);
            }
            else
            {
                Volatile.Write(ref _deadline, 0);
                Volatile.Write(ref _hidden.TdtMsr, 0);
            }
        }

        Tick(entry);
    }

    private static bool IsCounterMode(uint mode) => mode is ApicBits.TimerOneShot or ApicBits.TimerPeriodic;

    private void Tick(uint entry)
    {
        if (IsEnabled && (entry & ApicBits.LvtMasked) == 0)
        {
            Request((byte)entry);
        }
    }

    private ulong Since(ulong time)
    {
        var now = _host.Nanoseconds;
        return now > time ? now - time : 0;
    }

    private void ResetTimer()
    {
        lock (_timerLock)
        {
            Register(ApicRegister.InitialCount) = 0;
            Register(ApicRegister.CurrentCount) = 0;
            Register(ApicRegister.Divide) = 0;
            _hidden.TimerDivisor = DivisorOf(0);
            _hidden.TdtMsr = 0;
            Stop();
        }
    }

    private void WriteTimerEntry(uint value)
    {
        lock (_timerLock)
        {
            var mode = value & ApicBits.TimerMode;
            if (IsDeadlineTimer != (mode == ApicBits.TimerDeadline))
            {
                Register(ApicRegister.InitialCount) = 0;
                _hidden.TdtMsr = 0;
                Stop();
            }
            else if (IsCounterMode(mode))
            {
                Restart(mode, _hidden.TimerDivisor);
            }
            else if (mode != ApicBits.TimerDeadline)
            {
                Stop();
            }

            WriteLvt(ApicRegister.LvtTimer, value);
        }
    }

    private void WriteInitialCount(uint value)
    {
        lock (_timerLock)
        {
            if (!IsCounter)
            {
                return;
            }

            Register(ApicRegister.InitialCount) = value;
            Start(value * BusCycle * _hidden.TimerDivisor, 0, TimerMode);
        }
    }

    private void WriteDivide(uint value)
    {
        lock (_timerLock)
        {
            var before = _hidden.TimerDivisor;
            Register(ApicRegister.Divide) = value & ApicBits.DivideMask;
            _hidden.TimerDivisor = DivisorOf(value);
            if (IsCounter)
            {
                Restart(TimerMode, before);
            }
        }
    }

    /// <summary>Bits 0, 1 and 3 say 2, 4, 8 … 128, and 1.</summary>
    private static uint DivisorOf(uint divide) => 1u << (int)(((divide & 3) + ((divide & 8) >> 1) + 1) & 7);

    /// <summary>The mode or the divisor changes while the counter runs: the count that is left goes on.</summary>
    private void Restart(uint mode, uint oldDivisor)
    {
        var period = Register(ApicRegister.InitialCount) * BusCycle * oldDivisor;
        if (period == 0 || _countStart == 0)
        {
            Stop();
            return;
        }

        var passed = Since(_countStart);
        if (TimerMode == ApicBits.TimerPeriodic)
        {
            passed %= period;
        }

        if (passed >= period)
        {
            Stop();
            return;
        }

        Start(period / oldDivisor * _hidden.TimerDivisor, passed * _hidden.TimerDivisor / oldDivisor, mode);
    }

    /// <summary>Counts from the top, or from where it would be when some time of the period had passed.</summary>
    private void Start(ulong period, ulong passed, uint mode)
    {
        if (period == 0)
        {
            Stop();
            return;
        }

        var now = _host.Nanoseconds;
        _countStart = now > passed ? now - passed : 1;
        _period = mode == ApicBits.TimerPeriodic ? Math.Max(period, ShortestPeriod) : 0;
        SetDeadline(now + period - passed);
    }

    private void Stop()
    {
        (_countStart, _period) = (0, 0);
        Volatile.Write(ref _deadline, 0);
    }

    private void ArmDeadline(ulong value)
    {
        lock (_timerLock)
        {
            Stop();
            if (value > _host.Timestamp)
            {
                Volatile.Write(ref _hidden.TdtMsr, value);
                SetDeadline(_host.NanosecondsAt(value));
                return;
            }

            Volatile.Write(ref _hidden.TdtMsr, 0);
        }

        if (value != 0)
        {
            Tick(Volatile.Read(ref Register(ApicRegister.LvtTimer))); // it is past already
        }
    }

    private void SetDeadline(ulong deadline)
    {
        Volatile.Write(ref _deadline, Math.Max(deadline, 1));
        _host.DeadlineChanged();
    }

    /// <summary>Starts what a loaded state says is running: counters from the top, as on Xen.</summary>
    private void Rearm()
    {
        if (IsDeadlineTimer)
        {
            if (_hidden.TdtMsr != 0)
            {
                ArmDeadline(_hidden.TdtMsr);
            }

            return;
        }

        lock (_timerLock)
        {
            if (IsCounter)
            {
                Start(Register(ApicRegister.InitialCount) * BusCycle * _hidden.TimerDivisor, 0, TimerMode);
            }
        }
    }
}
