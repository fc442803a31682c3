using System.Globalization;
using OpenTelemetry;
using OpenTelemetry.Metrics;

namespace Introspect.Daemon.Telemetry;

/// <summary>A source of families that the OpenTelemetry SDK has no instrument for.</summary>
internal interface IFamilySource
{
    /// <summary>Writes the families.</summary>
    void WriteTo(PrometheusText text);
}

/// <summary>
/// A pull exporter of the OpenTelemetry SDK for the Prometheus text format: a scrape makes the SDK collect, and
/// the collected batch becomes the page. Metrics of one name from several meters are one family; what a meter is
/// tagged with are labels of all its samples.
/// </summary>
[ExportModes(ExportModes.Pull)]
internal sealed class PrometheusExporter(IFamilySource? extra = null) : BaseExporter<Metric>, IPullMetricExporter
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
        var families = new SortedDictionary<string, List<Metric>>(StringComparer.Ordinal);
        foreach (var metric in batch)
        {
            var name = PrometheusNames.Of(metric.Name, metric.Unit, IsCounter(metric.MetricType));
            if (!families.TryGetValue(name, out var family))
            {
                families.Add(name, family = []);
            }

            family.Add(metric);
        }

        var text = new PrometheusText();
        foreach (var (name, family) in families)
        {
            WriteFamily(text, name, family);
        }

        extra?.WriteTo(text);
        _page = text.ToString();
        return ExportResult.Success;
    }

    private static void WriteFamily(PrometheusText text, string name, List<Metric> family)
    {
        var type = family[0].MetricType;
        text.Family(name, IsCounter(type) ? "counter" : type == MetricType.Histogram ? "histogram" : "gauge", family[0].Description);
        foreach (var metric in family)
        {
            foreach (ref readonly var point in metric.GetMetricPoints())
            {
                if (metric.MetricType == MetricType.Histogram)
                {
                    WriteHistogram(text, name, metric, point);
                }
                else
                {
                    Labels(text.Sample(name), metric, point);
                    WriteNumber(text, metric.MetricType, point);
                }
            }
        }
    }

    private static void WriteNumber(PrometheusText text, MetricType type, in MetricPoint point)
    {
        switch (type)
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
            case MetricType.DoubleGauge:
                text.Value(point.GetGaugeLastValueDouble());
                break;
            default:
                // Exponential histograms have no shape in this version of the format; none of ours is one.
                throw new NotSupportedException($"a metric of type {type} cannot be written as text");
        }
    }

    private static void WriteHistogram(PrometheusText text, string name, Metric metric, in MetricPoint point)
    {
        long cumulative = 0;
        foreach (var bucket in point.GetHistogramBuckets())
        {
            cumulative += bucket.BucketCount;
            Labels(text.Sample(name + "_bucket"), metric, point).Label("le", PrometheusText.Format(bucket.ExplicitBound)).Value(cumulative);
        }

        Labels(text.Sample(name + "_sum"), metric, point).Value(point.GetHistogramSum());
        Labels(text.Sample(name + "_count"), metric, point).Value(point.GetHistogramCount());
    }

    private static PrometheusText Labels(PrometheusText text, Metric metric, in MetricPoint point)
    {
        foreach (var tag in metric.MeterTags ?? [])
        {
            Label(text, tag);
        }

        foreach (var tag in point.Tags)
        {
            Label(text, tag);
        }

        return text;
    }

    private static void Label(PrometheusText text, KeyValuePair<string, object?> tag) =>
        text.Label(PrometheusNames.Sanitise(tag.Key), Convert.ToString(tag.Value, CultureInfo.InvariantCulture) ?? "");

    private static bool IsCounter(MetricType type) => type is MetricType.LongSum or MetricType.DoubleSum;
}
