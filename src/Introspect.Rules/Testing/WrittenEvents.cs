using System.Globalization;
using Introspect.Hypervisor.Abi;
using Introspect.Rules.Files;
using Introspect.Rules.Handlers;
using Introspect.Rules.Language;
using Introspect.Rules.Running;

namespace Introspect.Rules.Testing;

/// <summary>An event that rules are tested with, and what is expected of them.</summary>
/// <param name="Event">The event, as a hypervisor sends it.</param>
/// <param name="Wait">Time that passes before it.</param>
/// <param name="Expectation">What must come of it; null: anything.</param>
/// <param name="Place">Where it is written, for messages.</param>
internal sealed record RuleTestEvent(VmEvent Event, TimeSpan Wait, RuleTestExpectation? Expectation, SourceSpan Place);

/// <summary>What must come of an event.</summary>
/// <param name="Verdict">The verdict in words; null: any.</param>
/// <param name="Alerts">The alerts, in order; null: any.</param>
internal sealed record RuleTestExpectation(string? Verdict, IReadOnlyList<ExpectedAlert>? Alerts);

/// <summary>An alert that must come.</summary>
/// <param name="Rule">Its rule.</param>
/// <param name="Message">Its text; null: any.</param>
internal sealed record ExpectedAlert(string Rule, string? Message);

/// <summary>
/// Events that are written in a test file. Each test has the rules to itself, with a clock that moves only where the test
/// waits.
/// </summary>
internal sealed class WrittenEvents(IReadOnlyList<RuleTestEvent> events) : IRuleTestEvents
{
    private static readonly DateTime Start = new(2026, 1, 1, 0, 0, 0, DateTimeKind.Utc);

    /// <summary>The events, in the order in which they happen.</summary>
    public IReadOnlyList<RuleTestEvent> Events => events;

    /// <inheritdoc/>
    public IEnumerable<string> Run(RuleTestFile file, RuleSet rules, RuleTest test)
    {
        using var domain = new TestDomain(file.Domain, test.Memory);
        var clock = new TestClock();
        var alerts = new List<AlertRecord>();
        var bound = new DomainRules(rules, domain, new Collector(alerts), clock: clock);
        var builder = new SubscriptionBuilder(RuleSetHandler.HandlerName);
        bound.Handler.Subscribe(builder);
        var subscription = builder.Build();
        var failures = new List<string>();
        var number = 0;
        foreach (var item in events)
        {
            number++;
            clock.Advance(item.Wait);
            alerts.Clear();
            var request = item.Event;
            var isSent = subscription.Matches(in request);
            var verdict = isSent ? Judge(bound, domain, in request, Start + clock.Elapsed) : Verdict.Pass;
            if (item.Expectation is { } expectation)
            {
                var where = string.Create(CultureInfo.InvariantCulture, $"{item.Place}: event {number}");
                failures.AddRange(Compare(expectation, verdict, alerts, isSent).Select(what => $"{where}: {what}"));
            }
        }

        return failures;
    }

    private static Verdict Judge(DomainRules rules, TestDomain domain, in VmEvent request, DateTime time)
    {
        var response = request;
        var context = new HandlerContext(domain, in request, ref response, time);
        return rules.Handler.Handle(in request, ref context);
    }

    private static IEnumerable<string> Compare(RuleTestExpectation expectation, Verdict verdict, List<AlertRecord> alerts, bool isSent)
    {
        var why = isSent ? "" : " (the rules do not ask for such an event)";
        if (expectation.Verdict is { } expected && verdict.ToString() != expected)
        {
            yield return $"the verdict is {verdict}, not {expected}{why}";
        }

        if (expectation.Alerts is not { } wanted)
        {
            yield break;
        }

        var came = alerts.ConvertAll(alert => alert.Rule);
        if (!came.SequenceEqual(wanted.Select(alert => alert.Rule)))
        {
            yield return $"the alerts are {List(came)}, not {List(wanted.Select(alert => alert.Rule))}{why}";
            yield break;
        }

        foreach (var (alert, want) in alerts.Zip(wanted))
        {
            if (want.Message is { } message && alert.Message != message)
            {
                yield return $"alert {alert.Rule} says '{alert.Message}', not '{message}'";
            }
        }
    }

    private static string List(IEnumerable<string> rules) => $"[{string.Join(", ", rules)}]";

    private sealed class Collector(List<AlertRecord> alerts) : IAlertSink
    {
        public bool TryRaise(AlertRecord alert)
        {
            alerts.Add(alert);
            return true;
        }
    }

    private sealed class TestClock : TimeProvider
    {
        private long _ticks;

        public TimeSpan Elapsed => TimeSpan.FromTicks(_ticks);

        public override long TimestampFrequency => TimeSpan.TicksPerSecond;

        public override long GetTimestamp() => _ticks;

        public override DateTimeOffset GetUtcNow() => Start + Elapsed;

        public void Advance(TimeSpan time) => _ticks += time.Ticks;
    }
}
