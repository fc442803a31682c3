using Introspect.Daemon.Sinks.Otlp;
using OpenTelemetry.Exporter;
using OpenTelemetry.Metrics;
using OpenTelemetry.Resources;

namespace Introspect.Daemon.Telemetry;

/// <summary>The metrics, sent to a collector from time to time by the OpenTelemetry SDK's own exporter.</summary>
internal static class OtlpMetrics
{
    private const string HttpPath = "v1/metrics";

    /// <summary>Who sends.</summary>
    public static ResourceBuilder Resource =>
        ResourceBuilder.CreateEmpty().AddAttributes(OtlpResource.Attributes.Select(a => KeyValuePair.Create(a.Key, (object)a.Value)));

    /// <summary>How the SDK's exporters speak to the collector.</summary>
    /// <param name="options">The collector.</param>
    /// <param name="httpPath">Where it takes this kind of message, over HTTP.</param>
    public static OtlpExporterOptions ExporterOptions(OtlpOptions options, string httpPath)
    {
        var root = options.Endpoint.AbsoluteUri.TrimEnd('/') + "/";
        return new()
        {
            Endpoint = new(options.Protocol == OtlpProtocol.Http ? root + httpPath : root),
            Protocol = options.Protocol == OtlpProtocol.Http ? OtlpExportProtocol.HttpProtobuf : OtlpExportProtocol.Grpc,
            Headers = options.Headers,
            TimeoutMilliseconds = (int)options.Timeout.TotalMilliseconds,
        };
    }

    /// <summary>Adds the reader that sends.</summary>
    public static MeterProviderBuilder AddTo(MeterProviderBuilder builder, OtlpOptions options)
    {
        var exporter = new OtlpMetricExporter(ExporterOptions(options, HttpPath));
        return builder
            .SetResourceBuilder(Resource)
            .AddReader(new PeriodicExportingMetricReader(exporter, (int)options.MetricsInterval.TotalMilliseconds, (int)options.Timeout.TotalMilliseconds));
    }
}
