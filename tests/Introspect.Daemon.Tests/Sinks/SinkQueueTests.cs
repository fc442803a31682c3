using System.Buffers;
using Introspect.Daemon.Output;
using Introspect.Daemon.Sinks;
using Introspect.Daemon.Tests.Fakes;
using Introspect.Daemon.Tests.Service;
using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;
using Introspect.Rules.Pump;

namespace Introspect.Daemon.Tests.Sinks;

public sealed class SinkQueueTests
{
    private static readonly DomainInfo Domain = new(new(1), "guest", Guid.Empty, CpuVendor.Vmx, 1, new(1), 1, DomainState.Running, 0);

    [Fact]
    public async Task a_slow_sink_loses_its_own_records_and_blocks_nobody()
    {
        var sink = new CountingSink();
        var queue = new SinkQueue(sink, new(16), (_, _) => { });
        sink.Hold();
        for (var i = 0; i < 100; i++)
        {
            Assert.True(Post(queue).AsTask().IsCompletedSuccessfully);
        }

        // 16 wait; one more may be in the sink's hands.
        var dropped = queue.Counts.Dropped;
        Assert.InRange(dropped, 83, 84);
        sink.Release();
        await queue.DisposeAsync();
        Assert.Equal(100 - dropped, queue.Counts.Written);
        Assert.Equal(100 - dropped, sink.Writes);
        Assert.True(sink.IsDisposed);
    }

    [Fact]
    public async Task a_sink_whose_policy_is_to_wait_loses_nothing_and_who_posts_waits()
    {
        var sink = new CountingSink();
        var queue = new SinkQueue(sink, new(16, QueuePolicy.Block), (_, _) => { });
        await HoldOne(sink, queue);
        var posted = Task.Run(async () =>
        {
            for (var i = 1; i < 1000; i++)
            {
                await Post(queue);
            }
        });
        await ServiceHarness.Until(() => queue.Counts.Blocked == 1);
        Assert.False(posted.IsCompleted);
        Assert.Equal(16, queue.Counts.Waiting);
        sink.Release();
        await posted;
        await queue.DisposeAsync();
        Assert.Equal((1000, 1000, 0), (queue.Counts.Written, sink.Writes, queue.Counts.Dropped));
    }

    [Fact]
    public async Task a_wait_for_room_ends_when_the_service_gives_up_and_the_record_counts_as_lost()
    {
        var sink = new CountingSink();
        var queue = new SinkQueue(sink, new(16, QueuePolicy.Block), (_, _) => { });
        await HoldOne(sink, queue);
        for (var i = 0; i < 16; i++)
        {
            await Post(queue);
        }

        using var giveUp = new CancellationTokenSource();
        var waits = queue.PostAsync(new EventRecord(), Domain, giveUp.Token).AsTask();
        await giveUp.CancelAsync();
        await waits;
        Assert.Equal(1, queue.Counts.Dropped);
        sink.Release();
        await queue.DisposeAsync();
    }

    [Fact]
    public async Task who_gives_up_for_the_sake_of_another_sink_loses_nothing_of_one_that_works()
    {
        var sink = new CountingSink();
        var queue = new SinkQueue(sink, new(16, QueuePolicy.Block), (_, _) => { }, new InstantTimerClock());
        var gaveUp = new CancellationToken(canceled: true);
        for (var i = 0; i < 1000; i++)
        {
            await queue.PostAsync(new EventRecord(), Domain, gaveUp);
        }

        await queue.DisposeAsync();
        Assert.Equal((1000, 0), (queue.Counts.Written, queue.Counts.Dropped));
    }

    [Fact]
    public async Task who_gives_up_waits_a_moment_once_for_a_sink_that_stands_still()
    {
        var sink = new CountingSink();
        var clock = new InstantTimerClock { TimersFire = true };
        var queue = new SinkQueue(sink, new(16, QueuePolicy.Block), (_, _) => { }, clock);
        await HoldOne(sink, queue);
        for (var i = 0; i < 16 + 50; i++)
        {
            await queue.PostAsync(new EventRecord(), Domain, new CancellationToken(canceled: true));
        }

        Assert.Equal((50, 1), (queue.Counts.Dropped, clock.Timers));
        sink.Release();
        await queue.DisposeAsync();
        Assert.Equal((17, 50), (queue.Counts.Written, queue.Counts.Dropped));
    }

    [Fact]
    public async Task who_gives_up_does_not_wait_for_long_for_all_that_is_left()
    {
        var sink = new CountingSink();
        var clock = new InstantTimerClock();
        var queue = new SinkQueue(sink, new(16, QueuePolicy.Block), (_, _) => { }, clock);
        await HoldOne(sink, queue);
        for (var i = 0; i < 16; i++)
        {
            await Post(queue);
        }

        // The first may still wait when its time is over for the second.
        var waits = queue.PostAsync(new EventRecord(), Domain, new CancellationToken(canceled: true)).AsTask();
        await ServiceHarness.Until(() => clock.Timers == 1);
        clock.Advance(TimeSpan.FromSeconds(1));
        await queue.PostAsync(new EventRecord(), Domain, new CancellationToken(canceled: true));
        Assert.Equal((false, 1), (waits.IsCompleted, queue.Counts.Dropped));
        sink.Release();
        await waits;
        await queue.DisposeAsync();
        Assert.Equal((18, 1), (queue.Counts.Written, queue.Counts.Dropped));
    }

    [Fact]
    public async Task a_stop_gives_up_a_sink_that_waits_for_its_receiver_once_for_all_that_is_queued()
    {
        var sink = new CountingSink { Fail = new IOException("nobody listens") };
        var queue = new SinkQueue(sink, new(1024, QueuePolicy.Block, StopPatience: TimeSpan.FromMilliseconds(50)), (_, _) => { });
        for (var i = 0; i < 1000; i++)
        {
            await Post(queue);
        }

        // A try a record, with a rest before the next, would take minutes.
        var stopped = queue.DisposeAsync().AsTask();
        await ServiceHarness.Until(() => stopped.IsCompleted);
        Assert.Equal((0, 1000, 0), (queue.Counts.Written, queue.Counts.Dropped, queue.Counts.Waiting));
        Assert.True(sink.IsDisposed);
    }

    [Fact]
    public async Task a_stop_leaves_a_write_behind_that_does_not_return()
    {
        var sink = new CountingSink();
        var queue = new SinkQueue(sink, new(16, StopPatience: TimeSpan.Zero), (_, _) => { });
        await HoldOne(sink, queue);
        await Post(queue);
        await queue.DisposeAsync();
        Assert.False(sink.IsDisposed);
        Assert.Equal((0, 2), (queue.Counts.Written, queue.Counts.Dropped));
        sink.Release();
    }

    [Fact]
    public async Task a_sink_whose_policy_is_to_sample_keeps_one_in_so_many_while_more_than_half_waits()
    {
        var sink = new CountingSink();
        var queue = new SinkQueue(sink, new(100, QueuePolicy.Sample, SampleEvery: 10), (_, _) => { });
        sink.Hold();
        for (var i = 0; i < 250; i++)
        {
            Assert.True(Post(queue).AsTask().IsCompletedSuccessfully);
        }

        // 51 or 52 fill half of the queue, and of the others one in ten is kept.
        var counts = queue.Counts;
        Assert.InRange(counts.SampledOut, 177, 180);
        Assert.Equal(0, counts.Dropped);
        sink.Release();
        await queue.DisposeAsync();
        Assert.Equal(250 - counts.SampledOut, queue.Counts.Written);
    }

    [Fact]
    public async Task a_sink_that_fails_is_told_of_once_counts_what_it_lost_and_goes_on()
    {
        var told = 0;
        var sink = new CountingSink { Fail = new IOException("disk full") };
        var queue = new SinkQueue(sink, new(64), (name, e) =>
        {
            Assert.Equal(("counting", "disk full"), (name, e.Message));
            Interlocked.Increment(ref told);
        });
        for (var i = 0; i < 10; i++)
        {
            await Post(queue);
        }

        await ServiceHarness.Until(() => queue.Counts.Dropped == 10);
        Assert.Equal(1, told);
        sink.Fail = null;
        await Post(queue);
        await ServiceHarness.Until(() => queue.Counts.Written == 1);
        await queue.DisposeAsync();
        Assert.Equal((10, 1), (queue.Counts.Dropped, queue.Counts.Written));
    }

    [Fact]
    public async Task a_full_disk_loses_nothing_of_a_sink_whose_policy_is_to_wait()
    {
        using var disk = new SmallDisk(room: 70_000);
        var queue = new SinkQueue(new JsonSink(() => disk, null), new(16, QueuePolicy.Block), (_, _) => disk.Failures++);
        var posted = Task.Run(async () =>
        {
            for (var i = 1ul; i <= 500; i++)
            {
                await Post(queue, i);
            }
        });
        await ServiceHarness.Until(() => queue.Counts.Blocked > 0 && disk.Failures == 1);
        Assert.False(posted.IsCompleted);
        disk.Room = long.MaxValue;
        await posted;
        await queue.DisposeAsync();
        Assert.Equal(Enumerable.Range(1, 500), disk.Text.Split('\n', StringSplitOptions.RemoveEmptyEntries)
            .Select(line => System.Text.Json.JsonDocument.Parse(line).RootElement.GetProperty("sequence").GetInt32()));
        Assert.Equal(1, disk.Failures);
    }

    [Fact]
    public async Task who_puts_the_file_aside_makes_room_for_a_sink_that_waits_on_a_full_disk()
    {
        using var full = new SmallDisk(room: 0);
        using var empty = new SmallDisk(room: long.MaxValue);
        var disks = new Queue<SmallDisk>([full, empty]);
        var queue = new SinkQueue(new JsonSink(disks.Dequeue, null), new(16, QueuePolicy.Block), (_, _) => full.Failures++);
        await Post(queue, 1);
        await ServiceHarness.Until(() => full.Failures == 1);
        Assert.Equal((0, 0, 1), (queue.Counts.Written, queue.Counts.Dropped, queue.Counts.Waiting));
        queue.Reopen();
        await ServiceHarness.Until(() => queue.Counts.Written == 1);
        Assert.Equal(0, queue.Counts.Waiting);
        await queue.DisposeAsync();
        Assert.Contains("\"sequence\":1,", empty.Text, StringComparison.Ordinal);
        Assert.Equal("", full.Text);
    }

    [Fact]
    public async Task what_a_sink_took_and_could_not_write_to_the_end_is_lost_and_not_written()
    {
        using var full = new SmallDisk(room: 0);
        var queue = new SinkQueue(new TextSink(full, new(Palette.None, symbols: null)), new(64), (_, _) => full.Failures++);
        for (var i = 1ul; i <= 10; i++)
        {
            await Post(queue, i);
        }

        await ServiceHarness.Until(() => queue.Counts.Waiting == 10 && full.Failures > 0);
        Assert.Equal((0, 0), (queue.Counts.Written, queue.Counts.Dropped));
        await queue.DisposeAsync();
        Assert.Equal((0, 10, 0), (queue.Counts.Written, queue.Counts.Dropped, queue.Counts.Waiting));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void a_device_that_is_full_is_told_as_full_though_it_cannot_be_cut_either(bool rotates)
    {
        using var lines = new LineBuffer(() => rotates ? new RotatingFile("/dev/full", new(1 << 20, 0)) : JsonSink.OpenFile("/dev/full"));
        lines.Begin().Write("first\n"u8);
        lines.End();
        var failure = Assert.Throws<IOException>(lines.Flush);
        Assert.Contains("No space left on device", failure.Message, StringComparison.Ordinal);
        Assert.Equal(1, lines.Held);
    }

    [Soak.NeedsSmallDiskFact]
    public void a_file_keeps_nothing_of_a_write_that_its_disk_could_not_take()
    {
        using var disk = new Soak.SmallDisk(Path.Combine(Path.GetTempPath(), $"introspect-full-{Guid.NewGuid():N}"), kibibytes: 64);
        var path = Path.Combine(disk.Folder, "events.ndjson");
        using var lines = new LineBuffer(() => JsonSink.OpenFile(path));
        lines.Begin().Write("first\n"u8);
        lines.End();
        lines.Flush();
        lines.Begin().Write(new byte[70_000]);
        lines.End();
        Assert.Throws<IOException>(lines.Flush);
        Assert.Equal((6, 1), (new FileInfo(path).Length, lines.Held));
        Assert.Throws<IOException>(lines.Reopen);
        Assert.Equal(6, new FileInfo(path).Length);
    }

    [Fact]
    public async Task json_files_are_appended_and_opened_anew_after_a_rotation()
    {
        var folder = Directory.CreateTempSubdirectory("introspect-sink-").FullName;
        var path = Path.Combine(folder, "events.ndjson");
        try
        {
            var queue = new SinkQueue(new JsonSink(() => JsonSink.OpenFile(path), null), new(64), (_, e) => Assert.Fail(e.Message));
            await Post(queue, 1);
            await ServiceHarness.Until(() => File.ReadAllText(path).Contains("\"sequence\":1,", StringComparison.Ordinal));
            File.Move(path, path + ".1");
            queue.Reopen();
            await Post(queue, 2);
            await queue.DisposeAsync();
            Assert.Contains("\"sequence\":1,", await File.ReadAllTextAsync(path + ".1"), StringComparison.Ordinal);
            Assert.Contains("\"sequence\":2,", await File.ReadAllTextAsync(path), StringComparison.Ordinal);
            Assert.Equal(UnixFileMode.None, File.GetUnixFileMode(path) & (UnixFileMode.OtherRead | UnixFileMode.OtherWrite));
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    // From here on the queue alone takes records.
    private static async Task HoldOne(CountingSink sink, SinkQueue queue)
    {
        sink.Hold();
        await Post(queue);
        await ServiceHarness.Until(() => queue.Counts.Waiting == 0);
    }

    private static ValueTask Post(SinkQueue queue, ulong sequence = 0) => queue.PostAsync(
        new EventRecord { Sequence = sequence, Event = SampleEvents.Of(VmEventReason.Cpuid), Time = DateTime.UnixEpoch, Domain = new(1) }, Domain, CancellationToken.None);

    /// <summary>A file on a disk that is full: what does not fit as a whole is refused.</summary>
    private sealed class SmallDisk(long room) : MemoryStream
    {
        public long Room { get; set; } = room;

        public int Failures { get; set; }

        public string Text => System.Text.Encoding.UTF8.GetString(ToArray());

        public override void Write(ReadOnlySpan<byte> buffer)
        {
            if (Length + buffer.Length > Room)
            {
                throw new IOException("no space left on device");
            }

            base.Write(buffer);
        }
    }
}
