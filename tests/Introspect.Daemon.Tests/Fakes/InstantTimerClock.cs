using Introspect.Rules.Tests.Mocks;

namespace Introspect.Daemon.Tests.Fakes;

/// <summary>A clock that stands still until it is moved, and whose timers fire at once or never.</summary>
internal sealed class InstantTimerClock : ManualClock
{
    private int _timers;

    public bool TimersFire { get; init; }

    /// <summary>Timers that were started.</summary>
    public int Timers => Volatile.Read(ref _timers);

    public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period)
    {
        Interlocked.Increment(ref _timers);
        if (TimersFire)
        {
            callback(state);
        }

        return new StoppedTimer();
    }

    private sealed class StoppedTimer : ITimer
    {
        public bool Change(TimeSpan dueTime, TimeSpan period) => true;

        public void Dispose()
        {
        }

        public ValueTask DisposeAsync() => ValueTask.CompletedTask;
    }
}
