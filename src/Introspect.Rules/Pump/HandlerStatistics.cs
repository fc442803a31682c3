namespace Introspect.Rules.Pump;

/// <summary>A handler's counters, written by the pump thread alone and readable by any.</summary>
public sealed class HandlerStatistics
{
    private readonly TimeProvider _clock;
    private long _calls;
    private long _ticks;
    private long _decisions;
    private long _failures;
    private long _overruns;
    private long _trips;
    private long _standIns;
    private long _ignoredVerdicts;
    private int _disabled;

    internal HandlerStatistics(string name, TimeProvider clock) => (Name, _clock) = (name, clock);

    /// <summary>The handler's name.</summary>
    public string Name { get; }

    /// <summary>Events that it was asked about.</summary>
    public long Calls => Volatile.Read(ref _calls);

    /// <summary>Time in the handler.</summary>
    public TimeSpan Time => TimeSpan.FromTicks((long)((Int128)Volatile.Read(ref _ticks) * TimeSpan.TicksPerSecond / _clock.TimestampFrequency));

    /// <summary>Events that it decided, its fail policy included.</summary>
    public long Decisions => Volatile.Read(ref _decisions);

    /// <summary>Times it threw.</summary>
    public long Failures => Volatile.Read(ref _failures);

    /// <summary>Times it took longer than its budget.</summary>
    public long Overruns => Volatile.Read(ref _overruns);

    /// <summary>Times it was disabled for a while.</summary>
    public long BreakerTrips => Volatile.Read(ref _trips);

    /// <summary>Events that its fail policy answered: it threw, was disabled, or its plugin was away.</summary>
    public long StandIns => Volatile.Read(ref _standIns);

    /// <summary>Its verdicts of which a part had no meaning for the event.</summary>
    public long IgnoredVerdicts => Volatile.Read(ref _ignoredVerdicts);

    /// <summary>True while it is disabled.</summary>
    public bool IsDisabled => Volatile.Read(ref _disabled) != 0;

    internal void CountCall() => Volatile.Write(ref _calls, _calls + 1);

    internal void CountTime(long ticks) => Volatile.Write(ref _ticks, _ticks + ticks);

    internal void CountDecision() => Volatile.Write(ref _decisions, _decisions + 1);

    internal void CountFailure() => Volatile.Write(ref _failures, _failures + 1);

    internal void CountOverrun() => Volatile.Write(ref _overruns, _overruns + 1);

    internal void CountTrip() => Volatile.Write(ref _trips, _trips + 1);

    internal void CountStandIn() => Volatile.Write(ref _standIns, _standIns + 1);

    internal void CountIgnoredVerdict() => Volatile.Write(ref _ignoredVerdicts, _ignoredVerdicts + 1);

    internal void MarkDisabled(bool disabled) => Volatile.Write(ref _disabled, disabled ? 1 : 0);
}
