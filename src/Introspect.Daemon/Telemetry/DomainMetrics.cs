using System.Diagnostics.Metrics;
using Introspect.Hypervisor.Abi;
using Introspect.Rules.Files;
using Introspect.Rules.Pump;
using Introspect.Rules.Running;

namespace Introspect.Daemon.Telemetry;

/// <summary>
/// The metrics of one domain, read from its pump's counters when somebody scrapes. They live in a meter of their
/// own, so that a domain that ends takes its series along and the number of series stays bounded by the domains.
/// </summary>
internal sealed class DomainMetrics : IDisposable
{
    private static readonly VmEventFlags[] Flags = [.. Enum.GetValues<VmEventFlags>().Where(f => f != VmEventFlags.None)];

    private static readonly Dictionary<VmEventFlags, string> FlagNames = Flags.ToDictionary(f => f, f => SnakeCase(f.ToString()));

    private readonly Meter _meter;
    private readonly Func<PumpStatistics?> _statistics;
    private readonly Func<IReadOnlyList<RuleStatistics>> _rules;

    /// <summary>Begins to tell of a domain.</summary>
    /// <param name="meterName">Name of the meter that is made.</param>
    /// <param name="domain">The label's value: a name, or a number where there is none.</param>
    /// <param name="statistics">The counters of the pump, or null while the domain is not attached.</param>
    /// <param name="rules">The counters of the rules of files that are in force.</param>
    public DomainMetrics(string meterName, string domain, Func<PumpStatistics?> statistics, Func<IReadOnlyList<RuleStatistics>>? rules = null)
    {
        _rules = rules ?? (static () => []);
        Domain = domain;
        _statistics = statistics;
        _meter = new(meterName, null, [new("domain", domain)]);
        _meter.CreateObservableGauge("introspect.domain.attached", () => _statistics() is null ? 0 : 1, null, "1 while the domain is watched, 0 while it should be and is not.");
        Counter("introspect.events", "{event}", "Events handled, by reason.", Events);
        Counter("introspect.responses", "{response}", "Responses written, by flag; one response has any number of flags.", Responses);
        Counter("introspect.vcpu.paused", "s", "Time that vCPUs stood still until their response, summed over the vCPUs.", s => One(s.VcpuPausedTime.TotalSeconds));
        Counter("introspect.ring.full", "{wakeup}", "Wake-ups that found every slot of the ring taken.", s => One(s.RingFullCount));
        Gauge("introspect.ring.unconsumed_requests", "Requests found in the ring at the last wake-up.", s => One<long>(s.RingOccupancy));
        Gauge("introspect.ring.max_unconsumed_requests", "Most requests found in the ring at a wake-up.", s => One<long>(s.MaxRingOccupancy));
        Counter("introspect.malformed_requests", "{request}", "Requests that made no sense.", s => One(s.MalformedRequests));
        Counter("introspect.failed_operations", "{operation}", "Operations that the hypervisor refused while an event was answered.", s => One(s.FailedOperations));
        Counter("introspect.injected_traps", "{trap}", "Traps injected into the guest.", s => One(s.InjectedTraps));
        Counter("introspect.handler.changes", "{change}", "Times that other handlers came into force while the domain was watched.", s => One(s.Changes));
        Counter("introspect.batches", "{wakeup}", "Wake-ups that found requests.", s => One(s.Batches));
        Counter("introspect.records", "{record}", "Event records handed on to the sinks.", s => One(s.PublishedRecords));
        Counter("introspect.records_dropped", "{record}", "Event records that were lost before any sink saw them; the events were answered.", s => One(s.DroppedRecords));
        Counter("introspect.rule.matches", "{event}", "Events for which a rule was true, and those that a built-in handler decided.", Matches);
        Rules("introspect.rule.alerts", "{alert}", "Alerts of a rule that were told.", r => r.Alerts);
        Rules("introspect.rule.alerts_suppressed", "{alert}", "Alerts of a rule that its rate kept back.", r => r.Suppressed);
        Rules("introspect.rule.alerts_lost", "{alert}", "Alerts of a rule that came faster than they could be told.", r => r.Lost);
        Rules("introspect.rule.failures", "{failure}", "Events that a rule could not be asked about.", r => r.Failures);
        Rules("introspect.rule.throttles", "{throttle}", "Times that a rule had too many events and was switched off for a while.", r => r.Throttles);
        _meter.CreateObservableGauge("introspect.rule.throttled", () => _rules().Select(r => new Measurement<long>(r.IsThrottled ? 1 : 0, new KeyValuePair<string, object?>("rule", r.Rule))), null, "1 while a rule is switched off because it had too many events.");
        _meter.CreateObservableGauge("introspect.rule.missing_pages", () => _rules().Select(r => new Measurement<long>(r.MissingPages, new KeyValuePair<string, object?>("rule", r.Rule))), null, "Pages of a rule's linear addresses that were never found in the guest's page tables, and are not watched.");
        Counter("introspect.handler.time", "s", "Time in a handler.", s => s.Handlers.Select(h => new Measurement<double>(h.Time.TotalSeconds, new KeyValuePair<string, object?>("handler", h.Name))));
        Counter("introspect.handler.failures", "{failure}", "Times that a handler threw.", s => PerHandler(s, h => h.Failures));
        Counter("introspect.handler.overruns", "{overrun}", "Times that a handler took longer than its budget.", s => PerHandler(s, h => h.Overruns));
        Counter("introspect.handler.trips", "{trip}", "Times that a handler was disabled for a while.", s => PerHandler(s, h => h.BreakerTrips));
        Counter("introspect.handler.stand_ins", "{event}", "Events that a handler's fail policy answered: it failed, was disabled, or its plugin was away.", s => PerHandler(s, h => h.StandIns));
        Gauge("introspect.handler.disabled", "1 while a handler is disabled because it failed repeatedly.", s => PerHandler(s, h => h.IsDisabled ? 1 : 0));
        _meter.CreateObservableGauge("introspect.pump.idle", () => Read(s => One(s.SinceLastActivity.TotalSeconds)), "s", "Time since the pump went round its loop.");
    }

    /// <summary>The domain, as labels name it.</summary>
    public string Domain { get; }

    /// <summary>Writes the samples of the handling-time histogram.</summary>
    public void WriteHandling(PrometheusText text, string family)
    {
        if (_statistics() is not { } statistics)
        {
            return;
        }

        long cumulative = 0;
        var bounds = PumpStatistics.HandlingBounds;
        for (var i = 0; i <= bounds.Length; i++)
        {
            cumulative += statistics.HandlingBucket(i);
            var bound = i == bounds.Length ? double.PositiveInfinity : bounds[i];
            text.Sample(family + "_bucket").Label("domain", Domain).Label("le", PrometheusText.Format(bound)).Value(cumulative);
        }

        text.Sample(family + "_sum").Label("domain", Domain).Value(statistics.HandlingTime.TotalSeconds);
        // The counters go on while they are read: the sum of the buckets is the count that fits them.
        text.Sample(family + "_count").Label("domain", Domain).Value(cumulative);
    }

    /// <inheritdoc/>
    public void Dispose() => _meter.Dispose();

    private static IEnumerable<Measurement<long>> Events(PumpStatistics statistics)
    {
        // Every reason from the start, so that the first event of a kind is an increase from zero.
        for (var reason = 0; reason < PumpStatistics.ReasonCount; reason++)
        {
            yield return new(statistics.Events((VmEventReason)reason), new KeyValuePair<string, object?>("reason", ReasonNames.Of((VmEventReason)reason)));
        }
    }

    private static IEnumerable<Measurement<long>> Responses(PumpStatistics statistics) =>
        Flags.Select(flag => new Measurement<long>(statistics.Responses(flag), new KeyValuePair<string, object?>("flag", FlagNames[flag])));

    private static IEnumerable<Measurement<long>> PerHandler(PumpStatistics statistics, Func<HandlerStatistics, long> value, string label = "handler") =>
        statistics.Handlers.Select(handler => new Measurement<long>(value(handler), new KeyValuePair<string, object?>(label, handler.Name)));

    private IEnumerable<Measurement<long>> Matches(PumpStatistics statistics)
    {
        // A handler of rules is counted by its rules.
        foreach (var handler in statistics.Handlers.Where(handler => handler.Name != RuleSetHandler.HandlerName))
        {
            yield return new(handler.Decisions, new KeyValuePair<string, object?>("rule", handler.Name));
        }

        foreach (var rule in _rules())
        {
            yield return new(rule.Matches, new("rule", rule.Rule), new("priority", RuleValues.NameOf(rule.Priority)));
        }
    }

    private void Rules(string name, string unit, string help, Func<RuleStatistics, long> value) =>
        _meter.CreateObservableCounter(name, () => _rules().Select(rule => new Measurement<long>(value(rule), new KeyValuePair<string, object?>("rule", rule.Rule))), unit, help);

    private static IEnumerable<Measurement<T>> One<T>(T value)
        where T : struct =>
        [new(value)];

    private static string SnakeCase(string name) =>
        string.Concat(name.Select((c, i) => char.IsAsciiLetterUpper(c) && i != 0 ? "_" + char.ToLowerInvariant(c) : char.ToLowerInvariant(c).ToString()));

    private void Counter<T>(string name, string unit, string help, Func<PumpStatistics, IEnumerable<Measurement<T>>> read)
        where T : struct =>
        _meter.CreateObservableCounter(name, () => Read(read), unit, help);

    private void Gauge(string name, string help, Func<PumpStatistics, IEnumerable<Measurement<long>>> read) =>
        _meter.CreateObservableGauge(name, () => Read(read), null, help);

    private IEnumerable<Measurement<T>> Read<T>(Func<PumpStatistics, IEnumerable<Measurement<T>>> read)
        where T : struct =>
        _statistics() is { } statistics ? read(statistics) : [];
}
