using System.Diagnostics.Metrics;
using Introspect.Daemon.Telemetry;
using OpenTelemetry;
using OpenTelemetry.Metrics;

namespace Introspect.Daemon.Tests.Telemetry;

public sealed class PrometheusTextTests
{
    [Fact]
    public void text_is_escaped_as_the_format_says()
    {
        var text = new PrometheusText();
        text.Family("a_total", "counter", "Back\\slash and\nline.");
        text.Sample("a_total").Label("l", "back\\slash \"quote\"\nline é").Label("m", "").Value(3);
        text.Sample("a_total").Value(0.1);
        Assert.Equal(
            """
            # HELP a_total Back\\slash and\nline.
            # TYPE a_total counter
            a_total{l="back\\slash \"quote\"\nline é",m=""} 3
            a_total 0.1

            """,
            text.ToString());
    }

    [Theory]
    [InlineData(double.PositiveInfinity, "+Inf")]
    [InlineData(double.NegativeInfinity, "-Inf")]
    [InlineData(double.NaN, "NaN")]
    [InlineData(2.5e-6, "2.5E-06")]
    [InlineData(1, "1")]
    [InlineData(1e21, "1E+21")]
    public void numbers_are_written_so_that_go_reads_them(double value, string text) => Assert.Equal(text, PrometheusText.Format(value));

    [Theory]
    [InlineData("introspect.events", "{event}", true, "introspect_events_total")]
    [InlineData("introspect.vcpu.paused", "s", true, "introspect_vcpu_paused_seconds_total")]
    [InlineData("introspect.pump.idle", "s", false, "introspect_pump_idle_seconds")]
    [InlineData("process.resident_memory", "By", false, "process_resident_memory_bytes")]
    [InlineData("introspect.build_info", null, false, "introspect_build_info")]
    [InlineData("x_seconds", "s", false, "x_seconds")]
    [InlineData("9-lives/é", null, false, "_9_lives__")]
    public void names_follow_the_instrument(string instrument, string? unit, bool counter, string name) =>
        Assert.Equal(name, PrometheusNames.Of(instrument, unit, counter));

    [Fact]
    public void instruments_of_the_sdk_become_families()
    {
        using var meter = new Meter("t");
        var exporter = new PrometheusExporter();
        using var provider = Sdk.CreateMeterProviderBuilder().AddMeter("t").AddReader(new BaseExportingMetricReader(exporter))
            .AddView("h", new ExplicitBucketHistogramConfiguration { Boundaries = [0.001, 1] }).Build();
        var counter = meter.CreateCounter<long>("c", null, "A counter.");
        counter.Add(2, new KeyValuePair<string, object?>("bad-label", "x\"y"));
        counter.Add(3, new KeyValuePair<string, object?>("bad-label", "x\"y"));
        var histogram = meter.CreateHistogram<double>("h", "s", "A histogram.");
        histogram.Record(0.0005);
        histogram.Record(0.5);
        histogram.Record(50);
        meter.CreateObservableGauge("g", () => 1.5, "By", "A gauge.");
        meter.CreateObservableUpDownCounter("u", () => -4, null, "Goes up and down.");
        Assert.Equal(
            """
            # HELP c_total A counter.
            # TYPE c_total counter
            c_total{bad_label="x\"y"} 5
            # HELP g_bytes A gauge.
            # TYPE g_bytes gauge
            g_bytes 1.5
            # HELP h_seconds A histogram.
            # TYPE h_seconds histogram
            h_seconds_bucket{le="0.001"} 1
            h_seconds_bucket{le="1"} 2
            h_seconds_bucket{le="+Inf"} 3
            h_seconds_sum 50.5005
            h_seconds_count 3
            # HELP u Goes up and down.
            # TYPE u gauge
            u -4

            """,
            exporter.Scrape(TimeSpan.FromSeconds(5)));
    }

    [Fact]
    public void meters_with_tags_share_a_family_and_leave_it_when_they_go()
    {
        var exporter = new PrometheusExporter();
        using var provider = Sdk.CreateMeterProviderBuilder().AddMeter("d").AddReader(new BaseExportingMetricReader(exporter)).Build();
        using var first = new Meter("d", null, [new("domain", "one")]);
        var second = new Meter("d", null, [new("domain", "two")]);
        first.CreateObservableCounter("n", () => 1L, null, "Number.");
        second.CreateObservableCounter("n", () => 2L, null, "Number.");
        Assert.Equal("# HELP n_total Number.\n# TYPE n_total counter\nn_total{domain=\"one\"} 1\nn_total{domain=\"two\"} 2\n", exporter.Scrape(TimeSpan.FromSeconds(5)));

        second.Dispose();
        _ = exporter.Scrape(TimeSpan.FromSeconds(5));
        Assert.Equal("# HELP n_total Number.\n# TYPE n_total counter\nn_total{domain=\"one\"} 1\n", exporter.Scrape(TimeSpan.FromSeconds(5)));
    }
}
