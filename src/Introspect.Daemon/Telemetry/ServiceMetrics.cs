using System.Diagnostics;
using System.Diagnostics.Metrics;
using System.Runtime.InteropServices;
using Introspect.Daemon.Sinks;
using Introspect.Daemon.Sinks.Otlp;
using OpenTelemetry;
using OpenTelemetry.Metrics;

namespace Introspect.Daemon.Telemetry;

/// <summary>
/// The service's metrics: the OpenTelemetry SDK with our exporter, the process's own instruments, and the domains'
/// as they come and go.
/// </summary>
internal sealed class ServiceMetrics : IFamilySource, IDisposable
{
    // Meters are found by name in the whole process: a second service in it must not collect the first one's.
    private static int _instances;

    private const string HandlingFamily = "introspect_event_handling_seconds";

    // The specification's own limits are for libraries in large programs; here a domain has 17 streams.
    private const int MaxStreams = 20_000;

    private readonly Lock _gate = new();
    private readonly List<DomainMetrics> _domains = [];
    private readonly string _meterName;
    private readonly Meter _meter;
    private readonly MeterProvider _provider;
    private int _lastReload = 1;
    private long _lastSuccess = DateTimeOffset.UtcNow.ToUnixTimeMilliseconds();

    /// <summary>Sets the SDK up.</summary>
    /// <param name="version">The program's version.</param>
    /// <param name="sinks">What the sinks counted.</param>
    /// <param name="otlp">A collector that the metrics go to, beside the page; null: none.</param>
    public ServiceMetrics(string version, Func<IEnumerable<SinkCounts>> sinks, OtlpOptions? otlp = null)
    {
        Exporter = new(this);
        var instance = Interlocked.Increment(ref _instances);
        _meterName = instance == 1 ? "Introspect" : $"Introspect.{instance}";
        _meter = new(_meterName);
        var builder = Sdk.CreateMeterProviderBuilder()
            .AddMeter(_meterName, DomainMeterName)
            .SetMaxMetricStreams(MaxStreams)
            .AddReader(new BaseExportingMetricReader(Exporter));
        _provider = (otlp is { Metrics: true } ? OtlpMetrics.AddTo(builder, otlp) : builder).Build();
        var build = new KeyValuePair<string, object?>[] { new("version", version), new("runtime", Environment.Version.ToString()), new("architecture", RuntimeInformation.ProcessArchitecture.ToString().ToLowerInvariant()) };
        _meter.CreateObservableGauge("introspect.build_info", () => new Measurement<long>(1, build), null, "The program's version, as labels of a constant 1.");
        _meter.CreateObservableGauge("introspect.config.last_reload_successful", () => Volatile.Read(ref _lastReload), null, "1 when the configuration in force is the one in the file, 0 when the last reload failed.");
        _meter.CreateObservableGauge("introspect.config.last_reload_success_timestamp", () => Volatile.Read(ref _lastSuccess) / 1000.0, "s", "When the configuration in force was read, since the epoch.");
        Sink("introspect.sink.written", s => s.Written, "Event records that a sink wrote, or its receiver took.");
        Sink("introspect.sink.dropped", s => s.Dropped, "Event records that a sink lost: it was too slow, could not write, or its receiver refused them.");
        Sink("introspect.sink.sampled_out", s => s.SampledOut, "Event records that a sink left out, as its policy is to sample when it does not keep up.");
        Sink("introspect.sink.blocked", s => s.Blocked, "Event records that waited for room before a sink, as its policy is to lose nothing.");
        _meter.CreateObservableGauge("introspect.sink.queued", () => sinks().Select(s => Of(s.Waiting, s.Sink)), null, "Event records that wait before a sink.");
        _meter.CreateObservableCounter("process.cpu", () => Process.GetCurrentProcess().TotalProcessorTime.TotalSeconds, "s", "Processor time of the program, user and system.");
        _meter.CreateObservableGauge("process.resident_memory", () => Environment.WorkingSet, "By", "Resident memory of the program.");
        _meter.CreateObservableGauge("introspect.gc_heap", () => GC.GetGCMemoryInfo(GCKind.Any).HeapSizeBytes, "By", "Memory of the program's objects at the last garbage collection.");
        var start = new DateTimeOffset(Process.GetCurrentProcess().StartTime).ToUnixTimeMilliseconds() / 1000.0;
        _meter.CreateObservableGauge("process.start_time", () => start, "s", "When the program started, since the epoch.");

        void Sink(string name, Func<SinkCounts, long> value, string help) =>
            _meter.CreateObservableCounter(name, () => sinks().Select(s => Of(value(s), s.Sink)), "{record}", help);

        static Measurement<long> Of(long value, string sink) => new(value, new KeyValuePair<string, object?>("sink", sink));
    }

    /// <summary>Where the page comes from.</summary>
    public PrometheusExporter Exporter { get; }

    /// <summary>Name of the meters that domains' metrics live in.</summary>
    public string DomainMeterName => $"{_meterName}.Domain";

    /// <summary>Tells of a domain until it is removed.</summary>
    public void Add(DomainMetrics domain)
    {
        lock (_gate)
        {
            _domains.Add(domain);
        }
    }

    /// <summary>Tells of the domain no more.</summary>
    public void Remove(DomainMetrics domain)
    {
        lock (_gate)
        {
            _domains.Remove(domain);
        }

        domain.Dispose();
    }

    /// <summary>The last reload was taken over, or there was none.</summary>
    public bool LastReloadSuccessful => Volatile.Read(ref _lastReload) != 0;

    /// <summary>Tells how the last reload went.</summary>
    public void MarkReload(bool successful)
    {
        Volatile.Write(ref _lastReload, successful ? 1 : 0);
        if (successful)
        {
            Volatile.Write(ref _lastSuccess, DateTimeOffset.UtcNow.ToUnixTimeMilliseconds());
        }
    }

    /// <inheritdoc/>
    public void WriteTo(PrometheusText text)
    {
        DomainMetrics[] domains;
        lock (_gate)
        {
            domains = [.. _domains];
        }

        if (domains.Length == 0)
        {
            return;
        }

        text.Family(HandlingFamily, "histogram", "Time in handlers and in making the response, an event.");
        foreach (var domain in domains)
        {
            domain.WriteHandling(text, HandlingFamily);
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var domain in _domains)
        {
            domain.Dispose();
        }

        _provider.Dispose();
        _meter.Dispose();
    }
}
