using Introspect.Daemon.Sinks.Otlp;
using OpenTelemetry;
using OpenTelemetry.Exporter;
using OpenTelemetry.Trace;

namespace Introspect.Daemon.Telemetry;

/// <summary>The <see cref="Spans"/>, sent to a collector by the OpenTelemetry SDK's own exporter.</summary>
internal static class OtlpTraces
{
    private const string HttpPath = "v1/traces";

    /// <summary>Sends spans until it is disposed, which sends the last ones.</summary>
    /// <returns>Null where none are to go.</returns>
    public static TracerProvider? Start(OtlpOptions? options) => options is not { Traces: true }
        ? null
        : Sdk.CreateTracerProviderBuilder()
            .AddSource(Spans.SourceName)
            .SetSampler(new AlwaysOnSampler())
            .SetResourceBuilder(OtlpMetrics.Resource)
            .AddProcessor(new BatchActivityExportProcessor(new OtlpTraceExporter(OtlpMetrics.ExporterOptions(options, HttpPath))))
            .Build();
}
