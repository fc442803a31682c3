using System.Diagnostics.Metrics;
using Introspect.Hypervisor.Abi;
using Introspect.Rules.Pump;

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

    /// <summary>Begins to tell of a domain.</summary>
    /// <param name="meterName">Name of the meter that is made.</param>
    /// <param name="domain">The label's value: a name, or a number where there is none.</param>
    /// <param name="statistics">The counters of the pump, or null while the domain is not attached.</param>
    public DomainMetrics(string meterName, string domain, Func<PumpStatistics?> statistics)
    {
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
        Counter("introspect.records_dropped", "{record}", "Event records that were lost before any sink saw them; the events were answered.", s => One(s.DroppedRecords));
        Counter("introspect.rule.matches", "{event}", "Events that a rule or handler decided.", s => PerHandler(s, h => h.Decisions, "rule"));
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
