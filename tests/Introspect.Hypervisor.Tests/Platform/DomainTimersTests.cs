using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Platform;

namespace Introspect.Hypervisor.Tests.Platform;

public sealed class DomainTimersTests : IDomainTimerHost
{
    private readonly SharedPages _pages = new();
    private readonly SharedInfoPage _shared;
    private readonly EventChannelTable _events;
    private readonly DomainTimers _timers;
    private readonly List<uint> _polls = [];
    private int _watchdogs;
    private int _changes;
    private readonly uint[] _ports = new uint[2];

    public DomainTimersTests()
    {
        _shared = new SharedInfoPage(_pages);
        _events = new EventChannelTable(1, _shared, _pages);
        _timers = new DomainTimers(2, _events, this);
        _events.BindVirq(Virq.Timer, 0, out _ports[0]);
        _events.BindVirq(Virq.Timer, 1, out _ports[1]);
    }

    void IDomainTimerHost.PollTimedOut(uint vcpuId) => _polls.Add(vcpuId);

    void IDomainTimerHost.WatchdogFired() => _watchdogs++;

    void IDomainTimerHost.DeadlineChanged() => _changes++;

    private bool Ticked(uint vcpuId)
    {
        var pending = _shared.IsPending(_ports[vcpuId]);
        _shared.ClearPending(_ports[vcpuId]);
        return pending;
    }

    [Fact]
    public void Nothing_is_due_before_anything_is_set() => Assert.Equal(ulong.MaxValue, _timers.NextDeadline);

    [Fact]
    public void A_one_shot_timer_ticks_once_at_its_vcpu()
    {
        _timers.SetSingleshot(1, 500);
        Assert.Equal(1, _changes);
        Assert.Equal(500UL, _timers.NextDeadline);
        _timers.Expire(499);
        Assert.False(Ticked(1));
        _timers.Expire(500);
        Assert.True(Ticked(1));
        Assert.False(Ticked(0));
        _timers.Expire(10_000);
        Assert.False(Ticked(1));
        Assert.Equal(ulong.MaxValue, _timers.NextDeadline);
    }

    [Fact]
    public void A_periodic_timer_keeps_its_phase_and_drops_missed_ticks()
    {
        _timers.SetPeriodic(0, 100, now: 50);
        Assert.Equal(150UL, _timers.NextDeadline);
        _timers.Expire(150);
        Assert.True(Ticked(0));
        Assert.Equal(250UL, _timers.NextDeadline);
        _timers.Expire(777);
        Assert.True(Ticked(0));
        Assert.Equal(850UL, _timers.NextDeadline);
        _timers.SetPeriodic(0, 0, now: 800);
        Assert.Equal(ulong.MaxValue, _timers.NextDeadline);
    }

    [Fact]
    public void A_poll_times_out()
    {
        _events.BindIpi(0, out var port);
        Assert.Equal(0, _events.StartPoll(1, [port]));
        _timers.SetPollEnd(1, 90);
        _timers.Expire(90);
        Assert.Equal([1u], _polls);
        _events.Send(port);
        Assert.Empty(_pages.Woken);
    }

    [Fact]
    public void Watchdogs_are_taken_fed_freed_and_fire()
    {
        Assert.Equal(1, _timers.SetWatchdog(0, 2, now: 0));
        Assert.Equal(2, _timers.SetWatchdog(0, 9, now: 0));
        Assert.Equal(-(int)Errno.ENOSPC, _timers.SetWatchdog(0, 1, now: 0));
        Assert.Equal(-(int)Errno.EINVAL, _timers.SetWatchdog(3, 1, now: 0));
        Assert.Equal(2_000_000_000UL, _timers.NextDeadline);
        Assert.Equal(0, _timers.SetWatchdog(1, 4, now: 1_000_000_000));
        Assert.Equal(5_000_000_000UL, _timers.NextDeadline);
        Assert.Equal(0, _timers.SetWatchdog(1, 0, now: 0));
        Assert.Equal(-(int)Errno.EINVAL, _timers.SetWatchdog(1, 4, now: 0));
        _timers.Expire(9_000_000_000);
        Assert.Equal(1, _watchdogs);
    }
}
