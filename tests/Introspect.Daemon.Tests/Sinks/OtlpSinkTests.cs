using System.Collections.Concurrent;
using System.Text.Json;
using Introspect.Daemon.Sinks;
using Introspect.Daemon.Sinks.Otlp;
using Introspect.Daemon.Telemetry;
using Introspect.Daemon.Tests.Fakes;
using Introspect.Daemon.Tests.Service;
using Introspect.Hypervisor.Abi;

namespace Introspect.Daemon.Tests.Sinks;

public sealed class OtlpSinkTests
{
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task events_arrive_as_log_records(bool grpc)
    {
        await using var collector = await Collector.StartAsync(grpc);
        var queue = Queue(collector);
        Post(queue, 1, 300);
        await queue.PostAsync(SampleRecords.Denied(VmEventReason.WriteCtrlreg, sequence: 301), SampleRecords.Web, CancellationToken.None);
        await queue.DisposeAsync();

        Assert.Equal((301, 0), (queue.Counts.Written, queue.Counts.Dropped));
        var request = collector.Requests.First();
        Assert.Equal(grpc ? "/opentelemetry.proto.collector.logs.v1.LogsService/Export" : "/v1/logs", request.Path);
        Assert.Equal("secret", request.Key);
        var resource = request.Message.Messages(1).Single().Messages(1).Single().Attributes(1);
        Assert.Equal(("introspect", ProgramInfo.Version), (resource["service.name"], resource["service.version"]));
        var scope = request.Message.Messages(1).Single().Messages(2).Single().Messages(1).Single();
        Assert.Equal("introspect.events", scope.Text(1));

        var records = collector.LogRecords.ToList();
        Assert.Equal(Enumerable.Range(1, 301).Select(i => $"{i}"), records.Select(r => r.Attributes(6)["introspect.sequence"]));
        var first = records[0];
        Assert.Equal(1767323045678000000ul, first.Number(1));
        Assert.True(first.Number(11) > first.Number(1));
        Assert.Equal((9ul, "INFO", "introspect.cpuid"), (first.Number(2), first.Text(3), first.Text(12)));
        Assert.StartsWith("web \"1\"? v1 cpuid ", first.Messages(5).Single().Text(1), StringComparison.Ordinal);
        var last = records[^1].Attributes(6);
        Assert.Equal((13ul, "deny", "protect-cr4", "7"), (records[^1].Number(2), last["introspect.verdict"], last["introspect.rule"], last["introspect.domain.id"]));
        Assert.Equal("cr4", JsonDocument.Parse(last["introspect.event"]).RootElement.GetProperty("write_ctrlreg").GetProperty("register").GetString());
    }

    [Fact]
    public async Task alerts_arrive_with_the_severity_of_their_rule()
    {
        await using var collector = await Collector.StartAsync();
        var queue = Queue(collector);
        await queue.PostAsync(new Introspect.Rules.Running.AlertRecord { Rule = "smep_cleared", Message = "SMEP cleared", Priority = Introspect.Rules.Files.RulePriority.Critical, Domain = SampleRecords.Web.Id }, SampleRecords.Web, CancellationToken.None);
        await queue.DisposeAsync();

        var record = Assert.Single(collector.LogRecords);
        Assert.Equal((18ul, "ERROR2", "introspect.alert"), (record.Number(2), record.Text(3), record.Text(12)));
        Assert.Equal("SMEP cleared", record.Messages(5).Single().Text(1));
        Assert.Equal("smep_cleared", record.Attributes(6)["introspect.rule"]);
    }

    [Theory]
    [InlineData(false, 503)]
    [InlineData(true, 14)]
    public async Task what_the_collector_cannot_take_now_is_sent_again_though_nothing_new_comes(bool grpc, int status)
    {
        await using var collector = await Collector.StartAsync(grpc);
        collector.Answers.Enqueue(status);
        collector.Answers.Enqueue(status);
        var told = 0;
        var queue = Queue(collector, (_, _) => Interlocked.Increment(ref told));
        Post(queue, 1, 1);
        await ServiceHarness.Until(() => collector.LogRecords.Any());
        await queue.DisposeAsync();
        Assert.Single(collector.LogRecords);
        Assert.Equal((1, 0, 1), (queue.Counts.Written, queue.Counts.Dropped, told));
    }

    [Theory]
    [InlineData(false, 400)]
    [InlineData(true, 3)]
    public async Task what_the_collector_will_never_take_is_counted_and_does_not_hold_up_the_rest(bool grpc, int status)
    {
        await using var collector = await Collector.StartAsync(grpc);
        collector.Answers.Enqueue(status);
        var queue = Queue(collector, (_, _) => { });
        Post(queue, 1, 1);
        await ServiceHarness.Until(() => queue.Counts.Dropped == 1);
        Post(queue, 2, 1);
        await queue.DisposeAsync();
        Assert.Equal("2", Assert.Single(collector.LogRecords).Attributes(6)["introspect.sequence"]);
        Assert.Equal(1, queue.Counts.Dropped);
    }

    [Theory]
    [InlineData(false, 500)]
    [InlineData(true, 3)]
    public async Task what_waits_for_a_collector_that_then_refuses_it_for_good_is_told_as_lost_even_where_nothing_is_to_be_lost(bool grpc, int status)
    {
        var collector = await Collector.StartAsync(grpc);
        var port = collector.Endpoint.Port;
        await collector.DisposeAsync();
        var told = new ConcurrentQueue<Exception>();
        var queue = new SinkQueue(new OtlpSink(Options(collector.Endpoint, grpc), TimeProvider.System), new(4096, QueuePolicy.Block), (_, e) => told.Enqueue(e), new InstantTimerClock());
        Post(queue, 1, 3000);
        await ServiceHarness.Until(() => !told.IsEmpty);
        await using var refusing = await Collector.StartAsync(grpc, port, status);
        await ServiceHarness.Until(() => refusing.LogRecords.Any());
        await queue.DisposeAsync();

        // One request of many was refused, and none of the others waits or is lost.
        Assert.True(told.TryDequeue(out var first));
        Assert.IsNotType<RefusedException>(first);
        var refusal = Assert.IsType<RefusedException>(Assert.Single(told));
        Assert.Contains(grpc ? "gRPC status 3" : "HTTP 500", refusal.Message, StringComparison.Ordinal);
        Assert.InRange(queue.Counts.Dropped, 1, 2999);
        Assert.Equal(3000, queue.Counts.Dropped + queue.Counts.Written);
        Assert.Equal(queue.Counts.Written, refusing.LogRecords.Count());
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task records_that_the_collector_rejects_are_counted(bool grpc)
    {
        await using var collector = await Collector.StartAsync(grpc);
        collector.Rejected = 1;
        string? told = null;
        var queue = Queue(collector, (_, e) => told = e.Message);
        Post(queue, 1, 1);
        await queue.DisposeAsync();
        Assert.Equal(1, queue.Counts.Dropped);
        Assert.Contains("rejected records", told, StringComparison.Ordinal);
    }

    [Fact]
    public async Task a_collector_that_is_not_there_costs_bounded_memory_and_every_loss_is_counted()
    {
        var collector = await Collector.StartAsync();
        var endpoint = collector.Endpoint;
        await collector.DisposeAsync();
        var sink = new OtlpSink(Options(endpoint), TimeProvider.System);
        var taken = 0;
        Assert.Throws<IOException>(() =>
        {
            for (; taken < 100_000; taken++)
            {
                sink.Write(SampleRecords.Allowed(VmEventReason.Cpuid), SampleRecords.Web);
            }
        });
        Assert.InRange(taken, 100, 5000);
        sink.Dispose();
        Assert.Equal(taken, sink.Lost);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task metrics_arrive_too(bool grpc)
    {
        await using var collector = await Collector.StartAsync(grpc);
        var options = Options(collector.Endpoint, grpc) with { Metrics = true };
        using (var metrics = new ServiceMetrics("1.2.3", () => [new SinkCounts("otlp", 5, 2, 0, 0, 0)], options))
        {
            metrics.Add(new DomainMetrics(metrics.DomainMeterName, "web", () => null));
        }

        // They go at the interval, and a last time when the service ends.
        var request = Assert.Single(collector.Requests);
        Assert.Equal(grpc ? "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export" : "/v1/metrics", request.Path);
        Assert.Equal("secret", request.Key);
        var resource = Assert.Single(request.Message.Messages(1));
        Assert.Equal("introspect", resource.Messages(1).Single().Attributes(1)["service.name"]);
        var names = resource.Messages(2).SelectMany(scope => scope.Messages(2)).Select(metric => metric.Text(1)).ToList();
        Assert.Contains("introspect.sink.dropped", names);
        Assert.Contains("introspect.build_info", names);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(127)]
    [InlineData(128)]
    [InlineData(16383)]
    [InlineData(16384)]
    [InlineData(3000000)]
    public void the_size_of_a_field_is_what_it_takes(int length)
    {
        var buffer = new ProtoBuffer();
        buffer.Bytes(2, new byte[length]);
        Assert.Equal(buffer.Written.Length, ProtoBuffer.SizeOf(length));
    }

    [Theory]
    [InlineData("", 0)]
    [InlineData("0A020805", 5)]
    [InlineData("0A0C1207746F6F206F6C6408AC02", 300)]
    [InlineData("0A05", 0)]
    [InlineData("FFFFFFFFFFFFFFFFFFFFFF", 0)]
    [InlineData("15010000001901000000000000000A020801", 1)]
    public void an_answer_is_read_whatever_it_is(string hex, long rejected) =>
        Assert.Equal(rejected, OtlpAnswer.Rejected(Convert.FromHexString(hex)));

    private static OtlpOptions Options(Uri endpoint, bool grpc = false) => new(
        endpoint, grpc ? OtlpProtocol.Grpc : OtlpProtocol.Http, "x-key=secret", TimeSpan.FromSeconds(30), Logs: true, Metrics: false, TimeSpan.FromHours(1));

    private static SinkQueue Queue(Collector collector, Action<string, Exception>? failed = null) =>
        new(new OtlpSink(Options(collector.Endpoint, collector.IsGrpc), TimeProvider.System), new(4096), failed ?? ((_, e) => Assert.Fail(e.Message)));

    private static void Post(SinkQueue queue, int from, int count)
    {
        for (var i = from; i < from + count; i++)
        {
            var posted = queue.PostAsync(SampleRecords.Allowed(VmEventReason.Cpuid, (ulong)i), SampleRecords.Web, CancellationToken.None).AsTask();
            Assert.True(posted.IsCompletedSuccessfully);
        }
    }
}
