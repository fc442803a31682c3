using System.Globalization;
using OpenTelemetry;
using OpenTelemetry.Metrics;

namespace Introspect.Daemon.Telemetry;

/// <summary>
/// A pull exporter of the OpenTelemetry SDK for the Prometheus text format: a scrape makes the SDK collect, and
/// the collected batch becomes the page.
/// </summary>
[ExportModes(ExportModes.Pull)]
internal sealed class PrometheusExporter : BaseExporter<Metric>, IPullMetricExporter
{
    private readonly Lock _gate = new();
    private string _page = "";

    /// <inheritdoc/>
    public Func<int, bool>? Collect { get; set; }

    /// <summary>Collects now and returns the page.</summary>
    /// <returns>Null when the SDK could not collect in time.</returns>
    public string? Scrape(TimeSpan timeout)
    {
        // One scrape at a time: the SDK collects into storage that the batch refers to.
        lock (_gate)
        {
            return Collect is { } collect && collect((int)timeout.TotalMilliseconds) ? _page : null;
        }
    }

    /// <inheritdoc/>
    public override ExportResult Export(in Batch<Metric> batch)
    {
        var text = new PrometheusText();
        foreach (var metric in batch)
        {
            Write(text, metric);
        }

        _page = text.ToString();
        return ExportResult.Success;
    }

    private static void Write(PrometheusText text, Metric metric)
    {
        switch (metric.MetricType)
        {
            case MetricType.LongSum or MetricType.DoubleSum:
                WriteNumbers(text, metric, "counter", isCounter: true);
                break;
            case MetricType.LongGauge or MetricType.DoubleGauge or MetricType.LongSumNonMonotonic or MetricType.DoubleSumNonMonotonic:
                WriteNumbers(text, metric, "gauge", isCounter: false);
                break;
            case MetricType.Histogram:
                WriteHistogram(text, metric);
                break;
            default:
                // Exponential histograms have no shape in this version of the format; none of ours is one.
                break;
        }
    }

    private static void WriteNumbers(PrometheusText text, Metric metric, string type, bool isCounter)
    {
        var name = PrometheusNames.Of(metric.Name, metric.Unit, isCounter);
        text.Family(name, type, metric.Description);
        foreach (ref readonly var point in metric.GetMetricPoints())
        {
            Labels(text.Sample(name), point);
            switch (metric.MetricType)
            {
                case MetricType.LongSum or MetricType.LongSumNonMonotonic:
                    text.Value(point.GetSumLong());
                    break;
                case MetricType.DoubleSum or MetricType.DoubleSumNonMonotonic:
                    text.Value(point.GetSumDouble());
                    break;
                case MetricType.LongGauge:
                    text.Value(point.GetGaugeLastValueLong());
                    break;
                default:
                    text.Value(point.GetGaugeLastValueDouble());
                    break;
            }
        }
    }

    private static void WriteHistogram(PrometheusText text, Metric metric)
    {
        var name = PrometheusNames.Of(metric.Name, metric.Unit, isCounter: false);
        text.Family(name, "histogram", metric.Description);
        foreach (ref readonly var point in metric.GetMetricPoints())
        {
            long cumulative = 0;
            foreach (var bucket in point.GetHistogramBuckets())
            {
                cumulative += bucket.BucketCount;
                Labels(text.Sample(name + "_bucket"), point).Label("le", PrometheusText.Format(bucket.ExplicitBound)).Value(cumulative);
            }

            Labels(text.Sample(name + "_sum"), point).Value(point.GetHistogramSum());
            Labels(text.Sample(name + "_count"), point).Value(point.GetHistogramCount());
        }
    }

    private static PrometheusText Labels(PrometheusText text, in MetricPoint point)
    {
        foreach (var tag in point.Tags)
        {
            text.Label(PrometheusNames.Sanitise(tag.Key), Convert.ToString(tag.Value, CultureInfo.InvariantCulture) ?? "");
        }

        return text;
    }
}
