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
        var queue = new SinkQueue(sink, 16, (_, _) => { });
        sink.Hold();
        for (var i = 0; i < 100; i++)
        {
            queue.Post(new EventRecord(), Domain);
        }

        // 16 wait; one more may be in the sink's hands.
        Assert.InRange(queue.Dropped, 83, 84);
        var dropped = queue.Dropped;
        sink.Release();
        await queue.DisposeAsync();
        Assert.Equal(100 - dropped, queue.Written);
        Assert.Equal(100 - dropped, sink.Writes);
        Assert.True(sink.IsDisposed);
    }

    [Fact]
    public async Task a_sink_that_fails_is_told_of_once_counts_what_it_lost_and_goes_on()
    {
        var told = 0;
        var sink = new CountingSink { Fail = new IOException("disk full") };
        var queue = new SinkQueue(sink, 64, (name, e) =>
        {
            Assert.Equal(("counting", "disk full"), (name, e.Message));
            Interlocked.Increment(ref told);
        });
        for (var i = 0; i < 10; i++)
        {
            queue.Post(new EventRecord(), Domain);
        }

        await ServiceHarness.Until(() => queue.Dropped == 10);
        Assert.Equal(1, told);
        sink.Fail = null;
        queue.Post(new EventRecord(), Domain);
        await ServiceHarness.Until(() => queue.Written == 1);
        await queue.DisposeAsync();
        Assert.Equal((10, 1), (queue.Dropped, queue.Written));
    }

    [Fact]
    public async Task json_files_are_appended_and_opened_anew_after_a_rotation()
    {
        var folder = Directory.CreateTempSubdirectory("introspect-sink-").FullName;
        var path = Path.Combine(folder, "events.ndjson");
        try
        {
            var queue = new SinkQueue(new JsonSink(() => JsonSink.OpenFile(path), null), 64, (_, e) => Assert.Fail(e.Message));
            Post(queue, 1);
            await ServiceHarness.Until(() => File.ReadAllText(path).Contains("\"sequence\":1,", StringComparison.Ordinal));
            File.Move(path, path + ".1");
            queue.Reopen();
            Post(queue, 2);
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

    private static void Post(SinkQueue queue, ulong sequence) =>
        queue.Post(new EventRecord { Sequence = sequence, Event = SampleEvents.Of(VmEventReason.Cpuid), Time = DateTime.UnixEpoch, Domain = new(1) }, Domain);
}
