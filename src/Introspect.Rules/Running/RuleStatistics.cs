using Introspect.Rules.Files;

namespace Introspect.Rules.Running;

/// <summary>A rule's counters on one domain, written by the pump thread alone and readable by any.</summary>
public sealed class RuleStatistics
{
    private long _matches;
    private long _alerts;
    private long _suppressed;
    private long _lost;
    private long _failures;
    private long _throttles;
    private long _missing;
    private int _throttled;

    internal RuleStatistics(string rule, RulePriority priority) => (Rule, Priority) = (rule, priority);

    /// <summary>The rule's name.</summary>
    public string Rule { get; }

    /// <summary>Its priority.</summary>
    public RulePriority Priority { get; }

    /// <summary>Events for which it was true.</summary>
    public long Matches => Volatile.Read(ref _matches);

    /// <summary>Alerts given to the sinks.</summary>
    public long Alerts => Volatile.Read(ref _alerts);

    /// <summary>Alerts that its rate kept back.</summary>
    public long Suppressed => Volatile.Read(ref _suppressed);

    /// <summary>Alerts for which the sinks had no room.</summary>
    public long Lost => Volatile.Read(ref _lost);

    /// <summary>Events that it could not be asked about.</summary>
    public long Failures => Volatile.Read(ref _failures);

    /// <summary>Times that its events were too many.</summary>
    public long Throttles => Volatile.Read(ref _throttles);

    /// <summary>True while its events are not asked for.</summary>
    public bool IsThrottled => Volatile.Read(ref _throttled) != 0;

    /// <summary>Pages of its linear addresses that were never found, and are not watched.</summary>
    public long MissingPages => Volatile.Read(ref _missing);

    internal void CountMatch() => Volatile.Write(ref _matches, _matches + 1);

    internal void CountAlert(bool wasTaken)
    {
        if (wasTaken)
        {
            Volatile.Write(ref _alerts, _alerts + 1);
        }
        else
        {
            Volatile.Write(ref _lost, _lost + 1);
        }
    }

    internal void CountSuppressed() => Volatile.Write(ref _suppressed, _suppressed + 1);

    internal void CountFailure() => Volatile.Write(ref _failures, _failures + 1);

    internal void CountThrottle() => Volatile.Write(ref _throttles, _throttles + 1);

    internal void MarkMissing(long pages) => Volatile.Write(ref _missing, pages);

    internal void MarkThrottled(bool throttled) => Volatile.Write(ref _throttled, throttled ? 1 : 0);
}
