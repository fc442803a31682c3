using System.Diagnostics;
using System.Globalization;
using Introspect.Rules.Tests.Core;
using Xunit.Abstractions;

namespace Introspect.Daemon.Tests.Soak;

/// <summary>
/// The service for as many events as it is told (<c>INTROSPECT_SOAK_EVENTS</c>), while all that can go wrong around it does:
/// what its policies promise to keep is kept, to the event, and its memory stays what it was.
/// </summary>
[Collection(Alone)]
public sealed class SoakTests : IDisposable
{
    private const string Alone = "soak";
    private const long FewEvents = 100_000;

    private static readonly string[] Sinks = ["json", "text", "syslog", "otlp"];

    private readonly string _folder = Directory.CreateTempSubdirectory("introspect-soak-").FullName;
    private readonly ITestOutputHelper _output;
    private readonly SmallDisk _disk;
    private readonly SmallDisk _textDisk;

    public SoakTests(ITestOutputHelper output)
    {
        _output = output;
        _disk = new(Path.Combine(_folder, "disk"), 16 << 10);
        _textDisk = new(Path.Combine(_folder, "text"), 1 << 10);
    }

    public void Dispose()
    {
        _disk.Dispose();
        _textDisk.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    [Fact]
    public async Task Nothing_that_is_promised_to_be_kept_is_lost_and_memory_stays_bounded_whatever_happens_around_the_service()
    {
        var wanted = long.TryParse(Environment.GetEnvironmentVariable("INTROSPECT_SOAK_EVENTS"), NumberStyles.AllowThousands, CultureInfo.InvariantCulture, out var told) ? told : FewEvents;
        using var lab = new SoakLab(_folder);
        await using var collector = new ComingAndGoingCollector();
        await collector.StartAsync();
        using var syslog = new ComingAndGoingSyslog(Path.Combine(_folder, "syslog.sock"));
        var text = _textDisk.IsSmall ? Path.Combine(_textDisk.Folder, "events.txt") : "/dev/full";
        var events = Path.Combine(_disk.Folder, "events.ndjson");
        using var service = new SoakService(_folder, lab, events, text, collector.Port, syslog.Path);
        await service.UntilAsync(page => page.Sum("introspect_domain_attached") == SoakLab.Count, "every domain is watched");

        var clock = Stopwatch.StartNew();
        lab.Go();
        var trouble = new SoakTrouble(lab, service, collector, syslog, _disk, events);
        await trouble.RunAsync(wanted);
        var seconds = clock.Elapsed.TotalSeconds;

        // The guests have ended; what they made comes out.
        var last = await trouble.SettleAsync(page => Sinks.All(sink => Came(page) == Went(page, sink) && (sink == "text" || page.Sink(sink, "queued") == 0)));
        Report(last, trouble, seconds, collector, syslog);
        AssertJudged(lab, last);
        AssertSinks(last, text);
        Assert.Equal(0, service.Stop());
        trouble.TakeTheRest();
        AssertKept(lab, last, trouble, collector, syslog);
        trouble.Memory.AssertBounded();

        // Nobody has them any more, and none stands still.
        Assert.All(lab.Domains, domain =>
        {
            Assert.Equal(0, domain.GetInfo().PauseCount);
            domain.EnableMonitor().Dispose();
        });
    }

    // What came to every sink: the events that the pumps handed on, and the alerts.
    private static long Came(MetricsPage page) => page.Records + page.Sum("introspect_rule_alerts_total");

    // What became of it. The disk of the text stays full: its last lines wait for ever.
    private static long Went(MetricsPage page, string sink) => page.Sink(sink, "written_total") + page.Sink(sink, "dropped_total") + page.Sink(sink, "sampled_out_total") + page.Sink(sink, "queued");

    // The guests' own counters are what was judged: by the pump, by reason, and by the rule that every configuration has.
    private static void AssertJudged(SoakLab lab, MetricsPage page)
    {
        for (var i = 0; i < SoakLab.Count; i++)
        {
            var (name, made) = (SoakLab.NameOf(i), CountingGuest.Read(lab.Domains[i]));
            Assert.Equal(
                (made.Cpuid, made.Msr, made.Cr4, made.Write + made.Read),
                ((ulong)page.Events(name, "cpuid"), (ulong)page.Events(name, "mov_to_msr"), (ulong)page.Events(name, "write_ctrlreg"), (ulong)page.Events(name, "mem_access")));
            Assert.Equal((long)made.Cpuid, page.Matches(name, SoakPolicy.EveryCpuid));
            Assert.Equal((long)(made.Cpuid + made.Msr + made.Cr4 + made.Write + made.Read), page[$"introspect_records_total{{domain=\"{name}\"}}"]);
        }

        foreach (var never in (string[])["introspect_records_dropped_total", "introspect_malformed_requests_total", "introspect_failed_operations_total", "introspect_rule_failures_total", "introspect_rule_throttles_total"])
        {
            Assert.Equal(0, page.Sum(never));
        }
    }

    private void AssertSinks(MetricsPage page, string text)
    {
        Assert.Equal((Came(page), 0), (page.Sink("json", "written_total"), page.Sink("json", "dropped_total") + page.Sink("json", "sampled_out_total")));
        Assert.True(page.Sink("text", "dropped_total") > 0);
        if (_textDisk.IsSmall)
        {
            // Where a write was made again, a line may be there twice.
            Assert.InRange(page.Sink("text", "written_total"), 1, File.ReadLines(text).LongCount());
        }
        else
        {
            Assert.Equal(0, page.Sink("text", "written_total"));
        }
    }

    private void AssertKept(SoakLab lab, MetricsPage last, SoakTrouble trouble, ComingAndGoingCollector collector, ComingAndGoingSyslog syslog)
    {
        // The file is to lose nothing: each event once, though its disk was full.
        Assert.Equal((last.Records, last.Records), (trouble.Ledger.Events, trouble.Ledger.Distinct));
        foreach (var domain in lab.Domains)
        {
            var made = CountingGuest.Read(domain);
            Assert.Null(trouble.Ledger.Missing(domain.Id.Value, made.Cpuid + made.Msr + made.Cr4 + made.Write + made.Read));
        }

        Assert.Equal(last.Sum("introspect_rule_alerts_total"), trouble.Ledger.Alerts);
        if (_disk.IsSmall)
        {
            Assert.True(trouble.TimesFull > 0);
            Assert.True(last.Sink("json", "blocked_total") > 0);
        }

        // A request that was answered into nothing is sent again; none of what counts as delivered is missing.
        Assert.InRange(collector.Ledger.Distinct + collector.Ledger.Alerts, last.Sink("otlp", "written_total"), long.MaxValue);
        Assert.InRange(syslog.Messages, 1, last.Sink("syslog", "written_total"));
        Assert.True(collector.Starts > 1);

        // Plugins did what they must not, and were cut off.
        Assert.True(last["introspect_plugin_crashes_total{plugin=\"crashes\"}"] > 0);
        Assert.True(last["introspect_plugin_hangs_total{plugin=\"hangs\"}"] > 0);
        Assert.True(last["introspect_handler_failures_total{domain=\"soak-1\",handler=\"throws\"}"] > 0);
        Assert.Equal(0, last["introspect_handler_failures_total{domain=\"soak-3\",handler=\"passes\"}"]);
    }

    private void Report(MetricsPage page, SoakTrouble trouble, double seconds, ComingAndGoingCollector collector, ComingAndGoingSyslog syslog)
    {
        var text = string.Create(CultureInfo.InvariantCulture, $"""
            {page.Records:N0} events of {SoakLab.Count} domains in {seconds:0} s, {page.Records / seconds:N0} a second
            {trouble.GoodReloads} good reloads, {trouble.BadReloads} bad ones; the disk was full {trouble.TimesFull} times; the collector came {collector.Starts} times
            alerts {page.Sum("introspect_rule_alerts_total")}, kept back {page.Sum("introspect_rule_alerts_suppressed_total")}, lost {page.Sum("introspect_rule_alerts_lost_total")}
            plugins: {page.Sum("introspect_plugin_crashes_total")} crashes, {page.Sum("introspect_plugin_hangs_total")} hangs, {page.Sum("introspect_plugin_restarts_total")} starts anew, {page.Sum("introspect_handler_stand_ins_total")} events answered for them
            {trouble.Memory}
            """);
        _output.WriteLine(text);
        foreach (var sink in Sinks)
        {
            _output.WriteLine($"{sink}: came {Came(page)}, written {page.Sink(sink, "written_total")}, dropped {page.Sink(sink, "dropped_total")}, left out {page.Sink(sink, "sampled_out_total")}, waited {page.Sink(sink, "blocked_total")}");
        }

        _output.WriteLine($"collector: {collector.Ledger.Events} events, {collector.Ledger.Distinct} of them different; syslog read {syslog.Messages}");
        if (Environment.GetEnvironmentVariable("INTROSPECT_SOAK_REPORT") is { } file)
        {
            File.WriteAllText(file, text + "\n");
        }
    }

    /// <summary>It takes both processors of a small machine: other tests would wait for it.</summary>
    [CollectionDefinition(Alone, DisableParallelization = true)]
    public sealed class SoakCollection;
}
