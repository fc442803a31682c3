using Introspect.Daemon.Sinks.Otlp;
using OpenTelemetry.Exporter;
using OpenTelemetry.Metrics;
using OpenTelemetry.Resources;

namespace Introspect.Daemon.Telemetry;

/// <summary>The metrics, sent to a collector from time to time by the OpenTelemetry SDK's own exporter.</summary>
internal static class OtlpMetrics
{
    private const string HttpPath = "v1/metrics";

    /// <summary>Adds the reader that sends.</summary>
    public static MeterProviderBuilder AddTo(MeterProviderBuilder builder, OtlpOptions options)
    {
        var root = options.Endpoint.AbsoluteUri.TrimEnd('/') + "/";
        var exporter = new OtlpMetricExporter(new OtlpExporterOptions
        {
            Endpoint = new(options.Protocol == OtlpProtocol.Http ? root + HttpPath : root),
            Protocol = options.Protocol == OtlpProtocol.Http ? OtlpExportProtocol.HttpProtobuf : OtlpExportProtocol.Grpc,
            Headers = options.Headers,
            TimeoutMilliseconds = (int)options.Timeout.TotalMilliseconds,
        });
        return builder
            .SetResourceBuilder(ResourceBuilder.CreateEmpty().AddAttributes(OtlpResource.Attributes.Select(a => KeyValuePair.Create(a.Key, (object)a.Value))))
            .AddReader(new PeriodicExportingMetricReader(exporter, (int)options.MetricsInterval.TotalMilliseconds, (int)options.Timeout.TotalMilliseconds));
    }
}
