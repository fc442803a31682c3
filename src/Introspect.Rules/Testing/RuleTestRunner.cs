using System.Globalization;
using Introspect.Hypervisor.Abi;
using Introspect.Rules.Files;
using Introspect.Rules.Handlers;
using Introspect.Rules.Running;

namespace Introspect.Rules.Testing;

/// <summary>How a test went.</summary>
/// <param name="File">Its file.</param>
/// <param name="Name">Its name.</param>
/// <param name="Failures">What was not as expected, each one line with its place; empty when all was.</param>
internal sealed record RuleTestResult(string File, string Name, IReadOnlyList<string> Failures);

/// <summary>
/// Gives events to rules without a guest and compares what comes of them. Each test has the rules to itself, with a clock
/// that moves only where the test waits.
/// </summary>
internal static class RuleTestRunner
{
    private static readonly DateTime Start = new(2026, 1, 1, 0, 0, 0, DateTimeKind.Utc);

    /// <summary>Runs the tests of a file.</summary>
    public static IEnumerable<RuleTestResult> Run(RuleTestFile file, RuleSet rules) => file.Tests.Select(test => Run(file, rules, test));

    private static RuleTestResult Run(RuleTestFile file, RuleSet set, RuleTest test)
    {
        using var domain = new TestDomain(file.Domain, test.Memory);
        var clock = new TestClock();
        var alerts = new List<AlertRecord>();
        var rules = new DomainRules(set, domain, new Collector(alerts), clock: clock);
        var builder = new SubscriptionBuilder(RuleSetHandler.HandlerName);
        rules.Handler.Subscribe(builder);
        var subscription = builder.Build();
        var failures = new List<string>();
        var number = 0;
        foreach (var item in test.Events.Read())
        {
            number++;
            clock.Advance(item.Wait);
            alerts.Clear();
            var request = item.Event;
            var isSent = subscription.Matches(in request);
            var verdict = isSent ? Judge(rules, domain, in request, Start + clock.Elapsed) : Verdict.Pass;
            if (item.Expectation is { } expectation)
            {
                var where = string.Create(CultureInfo.InvariantCulture, $"{item.Place}: event {number}");
                failures.AddRange(Compare(expectation, verdict, alerts, isSent).Select(what => $"{where}: {what}"));
            }
        }

        return new(file.Name, test.Name, failures);
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
