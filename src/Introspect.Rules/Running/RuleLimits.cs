using Introspect.Rules.Files;

namespace Introspect.Rules.Running;

/// <summary>
/// The alerts that a rule may still raise on a domain, which other rules of its name and rate go on with. Touched by the
/// thread of the pump that has the rule in force, alone.
/// </summary>
internal sealed class AlertLimit(RateLimit rate, long burst, TimeProvider clock)
{
    private TokenBucket _bucket = new(rate, burst, clock);

    /// <summary>The one of before where it is for the same rate, else a new one; null where there is no limit.</summary>
    public static AlertLimit? Of(RuleRate rate, RuleRate? rateBefore, AlertLimit? before, TimeProvider clock) =>
        rate.Alerts is not { } alerts ? null : before is not null && rateBefore?.Alerts == alerts && rateBefore.Burst == rate.Burst ? before : new(alerts, rate.Burst, clock);

    /// <summary>Takes one, if there is one.</summary>
    public bool TryTake(long now) => _bucket.TryTake(now);
}

/// <summary>
/// The events that a rule may still see on a domain, and whether there were too many, which other rules of its name and rate go
/// on with. Events are counted by the thread of the pump alone; the throttle may be read and ended by any.
/// </summary>
internal sealed class EventLimit(RateLimit rate, long coolDown, TimeProvider clock)
{
    private TokenBucket _bucket = new(rate, rate.Count, clock);
    private long _throttledUntil;
    private bool _needsRefill;
    private int _throttled;

    /// <summary>The one of before where it is for the same rate, else a new one; null where there is no limit.</summary>
    public static EventLimit? Of(RuleRate rate, RuleRate? rateBefore, EventLimit? before, long coolDown, TimeProvider clock) =>
        rate.Events is not { } events ? null : before is not null && rateBefore?.Events == events && rateBefore.CoolDown == rate.CoolDown ? before : new(events, coolDown, clock);

    /// <summary>True from when there were too many until it is ended.</summary>
    public bool IsThrottled => Volatile.Read(ref _throttled) != 0;

    /// <summary>When it may be ended, as the clock's timestamp.</summary>
    public long ThrottledUntil => Volatile.Read(ref _throttledUntil);

    /// <summary>Takes one, if there is one.</summary>
    public bool TryTake(long now)
    {
        if (_needsRefill)
        {
            _needsRefill = false;
            _bucket.Refill(now);
        }

        return _bucket.TryTake(now);
    }

    /// <summary>There were too many.</summary>
    public void Throttle(long now)
    {
        Volatile.Write(ref _throttledUntil, now + coolDown);
        _needsRefill = true;
        Volatile.Write(ref _throttled, 1);
    }

    /// <summary>The cool-down is over.</summary>
    public void Resume() => Volatile.Write(ref _throttled, 0);
}
