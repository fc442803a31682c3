using Introspect.Hypervisor.Abi;
using Introspect.Rules.Handlers;

namespace Introspect.Rules.Pump;

/// <summary>A handler with what the pump keeps about it.</summary>
internal sealed class HandlerSlot
{
    public HandlerSlot(HandlerRegistration registration, HandlerSubscription subscription, PumpOptions options, HandlerStatistics? statistics = null)
    {
        Registration = registration;
        Handler = registration.Handler;
        Name = registration.Handler.Name;
        Absent = registration.Handler as IAbsentHandler;
        FailPolicy = registration.FailPolicy;
        Subscription = subscription;
        Statistics = statistics ?? new(Name, options.Clock);
        Budget = registration.Budget ?? options.HandlerBudget;
        BudgetTicks = Ticks(Budget, options.Clock);
        Breaker = new(options.BreakerThreshold, Ticks(options.BreakerWindow, options.Clock), Ticks(options.BreakerCoolDown, options.Clock), Ticks(options.BreakerWindow * options.BreakerSlowShare, options.Clock));
    }

    public HandlerRegistration Registration { get; }

    public IEventHandler Handler { get; }

    public string Name { get; }

    public IAbsentHandler? Absent { get; }

    public FailPolicy FailPolicy { get; }

    public HandlerSubscription Subscription { get; }

    public HandlerStatistics Statistics { get; }

    public TimeSpan Budget { get; }

    public long BudgetTicks { get; }

    public CircuitBreaker Breaker { get; }

    /// <summary>Puts handlers in their order and asks each what it wants. One that is registered as before keeps its slot.</summary>
    /// <exception cref="ArgumentException">A handler asks for what cannot be, or two have one name.</exception>
    public static HandlerSlot[] MakeAll(IEnumerable<HandlerRegistration> handlers, PumpOptions options, HandlerSlot[] before)
    {
        var ordered = handlers.OrderBy(registration => registration.Order).ThenBy(registration => registration.Handler.Name, StringComparer.Ordinal).ToArray();
        if (ordered.GroupBy(registration => registration.Handler.Name, StringComparer.Ordinal).FirstOrDefault(group => group.Count() > 1) is { } twins)
        {
            throw new ArgumentException($"{twins.Count()} handlers are called {twins.Key}; give each its own name", nameof(handlers));
        }

        return Array.ConvertAll(ordered, registration =>
        {
            if (Array.Find(before, slot => slot.Registration == registration) is { } same)
            {
                return same;
            }

            var builder = new SubscriptionBuilder(registration.Handler.Name);
            registration.Handler.Subscribe(builder);
            return new HandlerSlot(registration, builder.Build(), options, Array.Find(before, slot => slot.Name == registration.Handler.Name)?.Statistics);
        });
    }

    private static long Ticks(TimeSpan time, TimeProvider clock) =>
        (long)Int128.Min(long.MaxValue / 2, (Int128)time.Ticks * clock.TimestampFrequency / TimeSpan.TicksPerSecond);
}

/// <summary>What the handlers made of an event.</summary>
/// <param name="Verdict">The verdict that won, or pass.</param>
/// <param name="Handler">Position of the handler that gave it, or -1.</param>
/// <param name="WasSeen">A handler is subscribed to the event.</param>
/// <param name="FromPolicy">The verdict is the fail policy of a handler that failed or is disabled.</param>
/// <param name="IsRecorded">The event is worth a record.</param>
/// <param name="DecidedBy">The part of the handler that gave it, where it says so.</param>
internal readonly record struct Judgement(Verdict Verdict, int Handler, bool WasSeen, bool FromPolicy, bool IsRecorded = true, string? DecidedBy = null);

/// <summary>Asks the handlers in order, each within its budget, and stands in for those that fail.</summary>
internal sealed class HandlerChain
{
    private readonly HandlerSlot[] _slots;
    private readonly PumpStatistics _statistics;
    private readonly PumpReporter _reporter;
    private readonly TimeProvider _clock;
    private readonly TimeSpan _coolDown;

    // What an observer writes goes here, so that it cannot spoil the decided response. The context never reads it
    // before it has written it.
    private VmEvent _scratch;

    public HandlerChain(HandlerSlot[] slots, PumpStatistics statistics, PumpReporter reporter, PumpOptions options)
    {
        _slots = slots;
        _statistics = statistics;
        _reporter = reporter;
        _clock = options.Clock;
        _coolDown = options.BreakerCoolDown;
    }

    public ReadOnlySpan<HandlerSlot> Slots => _slots;

    public Judgement Judge(ref readonly VmEvent request, ref HandlerContext context, long now)
    {
        var decided = Verdict.Pass;
        var decider = -1;
        var seen = false;
        var fromPolicy = false;
        var recorded = false;
        for (var i = 0; i < _slots.Length; i++)
        {
            var slot = _slots[i];
            if (!slot.Subscription.Matches(in request))
            {
                continue;
            }

            seen = true;
            recorded |= !slot.Subscription.IsUnrecorded;
            if (decider < 0)
            {
                var verdict = Ask(i, in request, ref context, ref now, out var isPolicy);
                if (verdict.IsPass)
                {
                    context.Discard();
                    context.DecidedBy = null;
                    continue;
                }

                (decided, decider, fromPolicy) = (verdict, i, isPolicy);
                slot.Statistics.CountDecision();
            }
            else if (slot.Subscription.ObservesDecided)
            {
                var observing = new HandlerContext(context.Domain, in request, ref _scratch, context.Time)
                {
                    Sequence = context.Sequence,
                    IsDecided = true,
                    DecidedVerdict = decided,
                };
                Ask(i, in request, ref observing, ref now, out _);
                recorded |= observing.IsRecorded;
            }
        }

        return new(decided, decider, seen, fromPolicy, recorded || context.IsRecorded || decider >= 0, decider >= 0 && !fromPolicy ? context.DecidedBy : null);
    }

    /// <summary>Puts what the handlers made of an event into its record.</summary>
    public void Describe(in Judgement judgement, ref EventRecord record)
    {
        record.Verdict = judgement.Verdict;
        record.Handler = judgement.Handler >= 0 ? judgement.DecidedBy ?? _slots[judgement.Handler].Name : null;
    }

    private Verdict Ask(int index, ref readonly VmEvent request, ref HandlerContext context, ref long now, out bool isPolicy)
    {
        var slot = _slots[index];
        isPolicy = false;
        var wasOpen = slot.Breaker.IsOpen;
        if (slot.Absent is { IsAway: true } || !slot.Breaker.Allows(now))
        {
            isPolicy = true;
            return StandIn(slot);
        }

        if (wasOpen)
        {
            slot.Statistics.MarkDisabled(false);
            _reporter.Tell(PumpDiagnosticKind.HandlerEnabled, $"handler {slot.Name} is on trial after its cool-down", handler: slot.Name, reason: request.Reason);
        }

        slot.Statistics.CountCall();
        _statistics.ActiveHandler = slot.Name;
        Exception? failure = null;
        var verdict = Verdict.Pass;
        try
        {
            verdict = slot.Handler.Handle(in request, ref context);
        }
#pragma warning disable CA1031 // Whatever a handler throws, the guest must get its answer.
        catch (Exception exception)
#pragma warning restore CA1031
        {
            failure = exception;
        }

        _statistics.ActiveHandler = null;
        var end = _clock.GetTimestamp();
        var elapsed = end - now;
        now = end;
        slot.Statistics.CountTime(elapsed);
        if (failure is null && elapsed <= slot.BudgetTicks)
        {
            if (slot.Breaker.Succeeded())
            {
                _reporter.Tell(PumpDiagnosticKind.HandlerEnabled, $"handler {slot.Name} works again", handler: slot.Name, reason: request.Reason);
            }

            return verdict;
        }

        Failed(index, request.Reason, failure, elapsed, now);
        if (failure is null)
        {
            // Late, but an answer.
            return verdict;
        }

        context.Discard();
        isPolicy = true;
        return StandIn(slot);
    }

    private static Verdict StandIn(HandlerSlot slot)
    {
        slot.Statistics.CountStandIn();
        return slot.FailPolicy == FailPolicy.Closed ? Verdict.Deny : Verdict.Pass;
    }

    private void Failed(int index, VmEventReason reason, Exception? failure, long elapsed, long now)
    {
        var slot = _slots[index];
        if (failure is not null)
        {
            slot.Statistics.CountFailure();
            _statistics.CountHandlerFailure();
            if (_reporter.ShouldTell(PumpDiagnosticKind.HandlerFailed, index, out var count))
            {
                _reporter.Tell(PumpDiagnosticKind.HandlerFailed, $"handler {slot.Name} threw {failure.GetType().Name} on {reason}: {PumpReporter.TextOf(failure)}", failure, slot.Name, reason, count);
            }
        }
        else
        {
            slot.Statistics.CountOverrun();
            _statistics.CountHandlerOverrun();
            if (_reporter.ShouldTell(PumpDiagnosticKind.HandlerOverran, index, out var count))
            {
                var milliseconds = elapsed * 1e3 / _clock.TimestampFrequency;
                _reporter.Tell(PumpDiagnosticKind.HandlerOverran, FormattableString.Invariant($"handler {slot.Name} took {milliseconds:0.###} ms for {reason}, more than its budget of {slot.Budget.TotalMilliseconds:0.###} ms"), null, slot.Name, reason, count);
            }
        }

        if (failure is not null ? slot.Breaker.Failed(now) : slot.Breaker.Overran(now, elapsed))
        {
            slot.Statistics.CountTrip();
            slot.Statistics.MarkDisabled(true);
            _statistics.CountBreakerTrip();
            _reporter.Tell(PumpDiagnosticKind.HandlerDisabled, FormattableString.Invariant($"handler {slot.Name} {(failure is not null ? "failed" : "was slow")} too often and is disabled for {_coolDown.TotalSeconds:0.###} s; its events are {(slot.FailPolicy == FailPolicy.Closed ? "denied" : "passed")}"), handler: slot.Name, reason: reason);
        }
    }
}
