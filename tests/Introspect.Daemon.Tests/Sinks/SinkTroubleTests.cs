using System.Collections.Concurrent;
using System.Net.Sockets;
using Introspect.Daemon.Configuration;
using Introspect.Daemon.Sinks;
using Introspect.Daemon.Sinks.Syslog;
using Introspect.Daemon.Tests.Fakes;
using Introspect.Daemon.Tests.Service;
using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;
using Introspect.Rules.Pump;
using Introspect.Rules.Running;
using Microsoft.Extensions.Logging;

namespace Introspect.Daemon.Tests.Sinks;

/// <summary>What is told of a sink that fails, and when.</summary>
public sealed class SinkTroubleTests
{
    private readonly InstantTimerClock _clock = new();
    private readonly List<string> _told = [];
    private readonly SinkTrouble _trouble;

    public SinkTroubleTests() => _trouble = new(e => _told.Add($"{(e is RefusedException ? "lost" : "waits")}: {e.Message}"), _clock);

    [Fact]
    public void one_cause_is_told_once_however_long_it_lasts()
    {
        for (var i = 0; i < 100; i++)
        {
            Fail("refused");
            _clock.Advance(SinkTrouble.Pause);
        }

        Assert.Equal(["waits: refused"], _told);
    }

    [Fact]
    public void another_cause_is_told_once_the_pause_is_over()
    {
        Fail("refused");
        Fail("timed out");
        _clock.Advance(SinkTrouble.Pause - TimeSpan.FromTicks(1));
        Fail("timed out");
        Assert.Equal(["waits: refused"], _told);
        _clock.Advance(TimeSpan.FromTicks(1));
        Fail("timed out");
        Fail("timed out");
        Assert.Equal(["waits: refused", "waits: timed out"], _told);
    }

    [Fact]
    public void causes_that_come_in_turns_are_told_at_the_pace_of_the_pause()
    {
        for (var i = 0; i < 40; i++)
        {
            Fail(i % 2 == 0 ? "one" : "other");
            _clock.Advance(TimeSpan.FromSeconds(1));
        }

        Assert.Equal(4, _told.Count);
    }

    [Fact]
    public void a_loss_is_told_at_once_though_something_that_waits_was_just_told()
    {
        Fail("refused");
        Lose("HTTP 500");
        Lose("HTTP 501");
        Assert.Equal(["waits: refused", "lost: HTTP 500"], _told);
    }

    [Fact]
    public void the_same_words_are_another_cause_where_the_records_are_lost()
    {
        Fail("no");
        Lose("no");
        Assert.Equal(["waits: no", "lost: no"], _told);
    }

    [Fact]
    public void two_texts_are_one_cause_where_their_lines_are()
    {
        Fail("no\nroom");
        _clock.Advance(SinkTrouble.Pause);
        Fail("no room");
        Assert.Single(_told);
    }

    [Fact]
    public void a_cause_is_told_again_after_the_sink_worked_but_not_more_often_than_the_pause_allows()
    {
        Fail("full", written: 5);
        _trouble.Delivered(5);
        _clock.Advance(SinkTrouble.Pause);
        Fail("full", written: 5);
        Assert.Single(_told);

        _trouble.Delivered(6);
        Fail("full", written: 6);
        Assert.Equal(2, _told.Count);
        _trouble.Delivered(7);
        Fail("full", written: 7);
        Assert.Equal(2, _told.Count);
        _clock.Advance(SinkTrouble.Pause);
        Fail("full", written: 7);
        Assert.Equal(3, _told.Count);
    }

    [Fact]
    public async Task the_queue_tells_a_new_cause_by_the_clock_it_is_given()
    {
        var told = new ConcurrentQueue<string>();
        var sink = new CountingSink { Fail = new IOException("nobody listens") };
        var queue = new SinkQueue(sink, new(64), (_, e) => told.Enqueue(e.Message), _clock);
        await PostAndLose(1);
        sink.Fail = new IOException("disk full");
        await PostAndLose(2);
        Assert.Equal(["nobody listens"], told);
        _clock.Advance(SinkTrouble.Pause);
        await PostAndLose(3);
        await PostAndLose(4);
        Assert.Equal(["nobody listens", "disk full"], told);
        await queue.DisposeAsync();

        async Task PostAndLose(int lost)
        {
            await Post(queue);
            await ServiceHarness.Until(() => queue.Counts.Dropped == lost);
        }
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task a_record_that_its_receiver_refuses_for_good_is_lost_whatever_the_policy_and_holds_up_nothing(bool blocks)
    {
        var sink = new CountingSink { Fail = new RefusedException("too large") { IsOfThisRecord = true } };
        Exception? told = null;
        var queue = new SinkQueue(sink, new(64, blocks ? QueuePolicy.Block : QueuePolicy.DropNewest), (_, e) => told = e);
        await Post(queue);
        await ServiceHarness.Until(() => queue.Counts.Dropped == 1);
        sink.Fail = null;
        await Post(queue);
        await queue.DisposeAsync();
        Assert.IsType<RefusedException>(told);
        Assert.Equal((1, 1), (queue.Counts.Written, queue.Counts.Dropped));
    }

    [Fact]
    public async Task a_mistake_in_a_sink_costs_the_record_and_not_the_sink()
    {
        var sink = new CountingSink { Fail = new InvalidOperationException("a mistake") };
        Exception? told = null;
        var queue = new SinkQueue(sink, new(64, QueuePolicy.Block), (_, e) => told = e);
        await Post(queue);
        await ServiceHarness.Until(() => queue.Counts.Dropped == 1);
        sink.Fail = null;
        await Post(queue);
        await queue.DisposeAsync();
        Assert.Equal("InvalidOperationException: a mistake", Assert.IsType<RefusedException>(told).Message);
        Assert.Equal((1, 1), (queue.Counts.Written, queue.Counts.Dropped));
    }

    [Fact]
    public async Task what_a_sink_lost_of_what_it_took_before_costs_no_record_that_comes_after()
    {
        var sink = new RefusingOnce();
        var queue = new SinkQueue(sink, new(64), (_, _) => { });
        await Post(queue);
        await queue.DisposeAsync();
        Assert.Equal((1, 0), (queue.Counts.Written, queue.Counts.Dropped));
    }

    [Fact]
    public void a_datagram_that_nobody_can_take_is_refused_for_good()
    {
        var path = Path.Combine(Path.GetTempPath(), $"introspect-{Guid.NewGuid():N}.sock");
        using var receiver = new Socket(AddressFamily.Unix, SocketType.Dgram, ProtocolType.Unspecified);
        var address = new UnixDomainSocketEndPoint(path);
        receiver.Bind(address);
        using var socket = new DatagramSocket(address);
        socket.Send(new byte[1000]);
        Assert.True(Assert.Throws<RefusedException>(() => socket.Send(new byte[1 << 20])).IsOfThisRecord);
        File.Delete(path);
    }

    [Theory]
    [InlineData(true, false, "Sink syslog cannot write, its records wait: ")]
    [InlineData(false, false, "Sink syslog cannot write, its records are lost and counted: ")]
    [InlineData(true, true, "Sink syslog: its receiver refuses records for good, they are lost and counted: ")]
    public async Task the_log_says_whether_records_wait_or_are_lost(bool blocks, bool refuses, string begins)
    {
        var path = Path.Combine(Path.GetTempPath(), $"introspect-{Guid.NewGuid():N}.sock");
        using var receiver = new Socket(AddressFamily.Unix, SocketType.Dgram, ProtocolType.Unspecified);
        if (refuses)
        {
            receiver.Bind(new UnixDomainSocketEndPoint(path));
        }

        var log = new Lines();
        var options = new SinkOptions(64, Text: false, JsonFile: null)
        {
            Syslog = new(SyslogAddress.Parse($"unix:{path}")!, 16, null),
            Queue = blocks ? QueuePolicy.Block : QueuePolicy.DropNewest,
        };
        await using (var sinks = new SinkSet(options, log, stopPatience: TimeSpan.Zero))
        {
            var alert = new AlertRecord { Rule = "r", Message = new string('x', refuses ? 1 << 20 : 1), Domain = SampleRecords.Web.Id };
            await sinks.Queues[0].PostAsync(alert, SampleRecords.Web, CancellationToken.None);
            await ServiceHarness.Until(() => !log.Told.IsEmpty);
        }

        Assert.StartsWith(begins, log.Told.First(), StringComparison.Ordinal);
        File.Delete(path);
    }

    private static ValueTask Post(SinkQueue queue) =>
        queue.PostAsync(SampleRecords.Allowed(VmEventReason.Cpuid), SampleRecords.Web, CancellationToken.None);

    private void Fail(string why, long written = 0) => _trouble.Tell(new IOException(why), written);

    private void Lose(string why) => _trouble.Tell(new RefusedException(why), written: 0);

    private sealed class Lines : ILogger
    {
        public ConcurrentQueue<string> Told { get; } = new();

        public IDisposable? BeginScope<TState>(TState state)
            where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => true;

        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter) =>
            Told.Enqueue(formatter(state, exception));
    }

    /// <summary>A sink whose first call finds out that an older request was refused.</summary>
    private sealed class RefusingOnce : IEventSink
    {
        private bool _refused;

        public string Name => "refusing";

        public void Write(in EventRecord record, DomainInfo domain)
        {
            if (!_refused)
            {
                _refused = true;
                throw new RefusedException("HTTP 500");
            }
        }

        public void Write(AlertRecord alert, DomainInfo domain)
        {
        }

        public void Flush()
        {
        }

        public void Reopen()
        {
        }

        public void Dispose()
        {
        }
    }
}
