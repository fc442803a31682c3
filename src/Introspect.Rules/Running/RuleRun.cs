using Introspect.Hypervisor.Abi;
using Introspect.Rules.Files;
using Introspect.Rules.Handlers;
using Introspect.Rules.Language;
using Introspect.Rules.Pump;

namespace Introspect.Rules.Running;

/// <summary>What a rule answered about an event.</summary>
internal enum RuleAnswer : byte
{
    No,
    Yes,

    /// <summary>Memory that it needs cannot be read, and it fails closed.</summary>
    Unreadable,
}

/// <summary>A rule on one domain, with what it remembers. Touched by the pump thread alone, but for the counters and the throttle.</summary>
internal sealed class RuleRun
{
    private const int BreakerThreshold = 5;

    private static readonly TimeSpan BreakerWindow = TimeSpan.FromSeconds(10);
    private static readonly TimeSpan BreakerCoolDown = TimeSpan.FromSeconds(30);

    private readonly TimeProvider _clock;
    private readonly CircuitBreaker _breaker;
    private readonly long _activeFrom;
    private readonly long[] _skipped;
    private readonly AlertLimit? _alerts;
    private readonly EventLimit? _events;
    private RuleFilter _filter;
    private long _suppressed;

    /// <param name="rule">The rule.</param>
    /// <param name="filter">What it is about on the domain.</param>
    /// <param name="vcpus">vCPUs of the domain.</param>
    /// <param name="started">When the domain was first watched, as the clock's timestamp.</param>
    /// <param name="clock">The clock.</param>
    /// <param name="before">The rule of the same name that this one follows: what it counted and remembers goes on.</param>
    public RuleRun(Rule rule, RuleFilter filter, int vcpus, long started, TimeProvider clock, RuleRun? before)
    {
        Rule = rule;
        _filter = filter;
        Statistics = before is not null && before.Rule.Definition.Priority == rule.Definition.Priority ? before.Statistics : new(rule.Name, rule.Definition.Priority);
        _clock = clock;
        var definition = rule.Definition;
        Tags = [.. definition.Tags.Concat(rule.Verdict.Tags).Distinct()];
        VerdictText = rule.Verdict.Actions;
        Decides = rule.IsEnforced && rule.Verdict.Decides;
        Pauses = rule.IsEnforced && rule.Verdict.Has(VerdictKind.Pause);
        FailsClosed = rule.IsEnforced && definition.Fail == FailPolicy.Closed;
        _breaker = new(BreakerThreshold, Ticks(BreakerWindow), Ticks(BreakerCoolDown));
        _activeFrom = started + Ticks(definition.After.Delay);
        _skipped = new long[definition.After.Matches > 0 ? vcpus : 0];
        before?._skipped.AsSpan(0, Math.Min(before._skipped.Length, _skipped.Length)).CopyTo(_skipped);
        if (before is not null)
        {
            filter.Remember(before.Filter);
        }

        var rateBefore = before?.Rule.Definition.Rate;
        _alerts = AlertLimit.Of(definition.Rate, rateBefore, before?._alerts, clock);
        _events = EventLimit.Of(definition.Rate, rateBefore, before?._events, Ticks(definition.Rate.CoolDown), clock);
        IsMissingTold = before?.IsMissingTold ?? false;
    }

    public Rule Rule { get; }

    public RuleFilter Filter => Volatile.Read(ref _filter);

    /// <summary>Where its linear addresses are; null where it has none, or nobody knows.</summary>
    public LinearPages? Pages { get; init; }

    /// <summary>When it is looked again, as the clock's timestamp.</summary>
    public long LookAgain { get; set; }

    /// <summary>It was told that pages of them were never found.</summary>
    public bool IsMissingTold { get; set; }

    /// <summary>Other frames stand for its linear addresses from here on.</summary>
    public void Replace(RuleFilter filter)
    {
        filter.Remember(Filter);
        Volatile.Write(ref _filter, filter);
    }

    public RuleStatistics Statistics { get; }

    public string Name => Rule.Name;

    /// <summary>Tags of its alerts.</summary>
    public string[] Tags { get; }

    /// <summary>What it does, for alerts.</summary>
    public string VerdictText { get; }

    public bool Decides { get; }

    public bool Pauses { get; }

    public bool FailsClosed { get; }

    /// <summary>True while its events are not asked for.</summary>
    public bool IsThrottled => _events is { IsThrottled: true };

    /// <summary>When it is in force again, as the clock's timestamp.</summary>
    public long ThrottledUntil => _events?.ThrottledUntil ?? 0;

    /// <summary>Whether its events were asked for when the handler subscribed that is to be in force.</summary>
    public bool IsAskedFor { get; private set; }

    /// <summary>True when it may be asked: it did not fail too often.</summary>
    public bool IsInService => !_breaker.IsOpen || _breaker.Allows(_clock.GetTimestamp());

    /// <summary>Counts an event towards the rule's limit.</summary>
    /// <returns>False when there were too many.</returns>
    public bool Admit() => _events is null || _events.TryTake(_clock.GetTimestamp());

    /// <summary>Leaves its events alone for the cool-down.</summary>
    public void Throttle()
    {
        _events?.Throttle(_clock.GetTimestamp());
        Statistics.CountThrottle();
        Statistics.MarkThrottled(IsThrottled);
    }

    /// <summary>Asks for its events again.</summary>
    public void Resume()
    {
        _events?.Resume();
        Statistics.MarkThrottled(IsThrottled);
    }

    /// <summary>Asks for what it is about, but while it is throttled.</summary>
    public void Subscribe(SubscriptionBuilder subscription)
    {
        IsAskedFor = !IsThrottled;
        if (IsAskedFor)
        {
            Filter.Subscribe(subscription);
        }
    }

    /// <summary>Has the counters, which rules from before may have had until now, tell of this rule.</summary>
    public void TakeOverStatistics()
    {
        Statistics.MarkThrottled(IsThrottled);
        Statistics.MarkMissing(Pages?.Missing ?? 0);
    }

    /// <summary>Asks the rule.</summary>
    public RuleAnswer Ask(ref readonly VmEvent request, ref EvaluationContext context)
    {
        if (!Rule.ReadsGuestMemory)
        {
            return IsTrue(in request, ref context) ? RuleAnswer.Yes : RuleAnswer.No;
        }

        var failed = context.FailedMemoryReads;
        var isTrue = IsTrue(in request, ref context);
        return isTrue ? RuleAnswer.Yes : FailsClosed && context.FailedMemoryReads != failed ? RuleAnswer.Unreadable : RuleAnswer.No;
    }

    /// <summary>True when a match counts: the rule's time has come, and the vCPU's first matches are over.</summary>
    public bool HasBegun(uint vcpu)
    {
        if (Rule.Definition.After.Delay > TimeSpan.Zero && _clock.GetTimestamp() < _activeFrom)
        {
            return false;
        }

        if (_skipped.Length == 0 || vcpu >= (uint)_skipped.Length || _skipped[vcpu] >= Rule.Definition.After.Matches)
        {
            return true;
        }

        _skipped[vcpu]++;
        return false;
    }

    /// <summary>Takes the right to alert.</summary>
    /// <param name="suppressed">Alerts that were kept back since the last one.</param>
    public bool MayAlert(out long suppressed)
    {
        suppressed = _suppressed;
        if (_alerts is not null && !_alerts.TryTake(_clock.GetTimestamp()))
        {
            _suppressed++;
            Statistics.CountSuppressed();
            return false;
        }

        _suppressed = 0;
        return true;
    }

    /// <summary>Notes that the rule threw.</summary>
    public void Failed()
    {
        Statistics.CountFailure();
        _breaker.Failed(_clock.GetTimestamp());
    }

    /// <summary>Notes that the rule answered.</summary>
    public void Succeeded() => _breaker.Succeeded();

    private bool IsTrue(ref readonly VmEvent request, ref EvaluationContext context)
    {
        foreach (var condition in Rule.Conditions)
        {
            if (!condition.Evaluate(in request, ref context))
            {
                return false;
            }
        }

        foreach (var exception in Rule.Exceptions)
        {
            if (exception.Evaluate(in request, ref context))
            {
                return false;
            }
        }

        return true;
    }

    private long Ticks(TimeSpan time) => (long)Int128.Min(long.MaxValue / 2, (Int128)time.Ticks * _clock.TimestampFrequency / TimeSpan.TicksPerSecond);
}
