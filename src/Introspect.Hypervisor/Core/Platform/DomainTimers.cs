using System.Runtime.InteropServices;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Platform.Apic;

namespace Introspect.Hypervisor.Core.Platform;

/// <summary>A vCPU's timers as plain state; times are system time in nanoseconds, 0 is "not set".</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct VcpuTimerState
{
    /// <summary>VIRQ_TIMER once.</summary>
    public ulong Singleshot;

    /// <summary>VIRQ_TIMER again and again, next time then.</summary>
    public ulong PeriodicNext;

    /// <summary>Distance of the periodic timer's ticks.</summary>
    public ulong Period;

    /// <summary>End of a wait in SCHEDOP_poll.</summary>
    public ulong PollEnd;
}

/// <summary>What timers do besides raising VIRQ_TIMER.</summary>
internal interface IDomainTimerHost
{
    /// <summary>A wait in SCHEDOP_poll timed out.</summary>
    void PollTimedOut(uint vcpuId);

    /// <summary>The guest's watchdog was not fed: shut the domain down for that reason.</summary>
    void WatchdogFired();

    /// <summary>The next deadline may be earlier than before: whoever sleeps until it looks again.</summary>
    void DeadlineChanged();
}

/// <summary>
/// Timers that a guest sets by hypercall. Nothing here measures time: who runs the vCPUs asks for the next deadline
/// and calls <see cref="Expire"/>, so that the same instructions give the same interrupts.
/// </summary>
internal sealed partial class DomainTimers(uint vcpuCount, EventChannelTable events, IDomainTimerHost host)
{
    /// <summary>Watchdogs a domain can have.</summary>
    public const int Watchdogs = 2;

    private readonly Lock _lock = new();
    private readonly VcpuTimerState[] _vcpus = new VcpuTimerState[vcpuCount];

    // End of each watchdog; 0: free; ulong.MaxValue: taken, never fires.
    private readonly ulong[] _watchdogs = new ulong[Watchdogs];

    /// <summary>The domain's local APICs, whose timers belong to the same clock; null when it has none.</summary>
    public LocalApicBus? Apics { get; init; }

    /// <summary>Timers that came later, or null.</summary>
    public ISyntheticTimers? Synthetic { get; set; }

    /// <summary>The next moment at which <see cref="Expire"/> has something to do, or <see cref="ulong.MaxValue"/>.</summary>
    public ulong NextDeadline
    {
        get
        {
            if (IsStill)
            {
                return ulong.MaxValue;
            }

            lock (_lock)
            {
                var next = Math.Min(Apics?.NextDeadline ?? ulong.MaxValue, Synthetic?.NextDeadline ?? ulong.MaxValue);
                foreach (ref readonly var timer in _vcpus.AsSpan())
                {
                    next = Earlier(Earlier(Earlier(next, timer.Singleshot), timer.PeriodicNext), timer.PollEnd);
                }

                foreach (var end in _watchdogs)
                {
                    next = Earlier(next, end);
                }

                return next;
            }
        }
    }

    /// <summary>Sets (or, with 0, stops) the one-shot timer of a vCPU.</summary>
    public void SetSingleshot(uint vcpuId, ulong deadline) => Set(ref _vcpus[vcpuId].Singleshot, deadline);

    /// <summary>Sets (or, with 0, stops) the periodic timer of a vCPU.</summary>
    public void SetPeriodic(uint vcpuId, ulong period, ulong now)
    {
        lock (_lock)
        {
            _vcpus[vcpuId].Period = period;
            _vcpus[vcpuId].PeriodicNext = period == 0 ? 0 : now + period;
        }

        host.DeadlineChanged();
    }

    /// <summary>Sets (or, with 0, stops) the end of a vCPU's wait in SCHEDOP_poll.</summary>
    public void SetPollEnd(uint vcpuId, ulong deadline) => Set(ref _vcpus[vcpuId].PollEnd, deadline);

    /// <summary>
    /// <c>SCHEDOP_watchdog</c>: id 0 takes a free watchdog and gives its id, another id feeds it, timeout 0 frees it.
    /// </summary>
    public int SetWatchdog(uint id, uint seconds, ulong now)
    {
        if (id > Watchdogs)
        {
            return -(int)Errno.EINVAL;
        }

        var end = now + (seconds * 1_000_000_000UL);
        int result;
        lock (_lock)
        {
            if (id == 0)
            {
                var free = Array.IndexOf(_watchdogs, 0UL);
                if (free < 0)
                {
                    return -(int)Errno.ENOSPC;
                }

                _watchdogs[free] = Math.Max(end, 1);
                result = free + 1;
            }
            else if (_watchdogs[id - 1] == 0)
            {
                return -(int)Errno.EINVAL;
            }
            else
            {
                _watchdogs[id - 1] = seconds == 0 ? 0 : end;
                result = 0;
            }
        }

        host.DeadlineChanged();
        return result;
    }

    /// <summary>Does what is due.</summary>
    public void Expire(ulong now)
    {
        using var expiring = _expireLock.EnterScope();
        if (IsStill)
        {
            return;
        }

        Apics?.Expire(now);
        Synthetic?.Expire(now);
        for (var vcpuId = 0u; vcpuId < _vcpus.Length; vcpuId++)
        {
            bool tick, pollEnded;
            lock (_lock)
            {
                ref var timer = ref _vcpus[vcpuId];
                tick = Take(ref timer.Singleshot, now);
                if (timer.PeriodicNext != 0 && timer.PeriodicNext <= now)
                {
                    // Ticks that were missed are not made up for, and the phase is kept.
                    tick = true;
                    timer.PeriodicNext += ((now - timer.PeriodicNext) / timer.Period * timer.Period) + timer.Period;
                }

                pollEnded = Take(ref timer.PollEnd, now);
            }

            if (tick)
            {
                events.RaiseVirq(vcpuId, Virq.Timer);
            }

            if (pollEnded)
            {
                events.EndPoll(vcpuId);
                host.PollTimedOut(vcpuId);
            }
        }

        for (var i = 0; i < Watchdogs; i++)
        {
            bool fired;
            lock (_lock)
            {
                fired = Take(ref _watchdogs[i], now);
            }

            if (fired)
            {
                host.WatchdogFired();
            }
        }
    }

    private static bool Take(ref ulong deadline, ulong now)
    {
        if (deadline == 0 || deadline > now)
        {
            return false;
        }

        deadline = 0;
        return true;
    }

    private static ulong Earlier(ulong a, ulong b) => b != 0 && b < a ? b : a;

    private void Set(ref ulong timer, ulong deadline)
    {
        lock (_lock)
        {
            timer = deadline;
        }

        host.DeadlineChanged();
    }
}
