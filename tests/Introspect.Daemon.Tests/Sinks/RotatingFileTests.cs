using System.Text;
using Introspect.Daemon.Output;
using Introspect.Daemon.Sinks;
using Introspect.Hypervisor.Abi;

namespace Introspect.Daemon.Tests.Sinks;

public sealed class RotatingFileTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("introspect-rotate-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public void a_full_file_is_put_aside_and_the_oldest_goes()
    {
        var path = Path.Combine(_folder, "events");
        using (var file = new RotatingFile(path, new(MaxBytes: 10, Keep: 2)))
        {
            foreach (var text in (string[])["aaaa\n", "bbbb\n", "cccc\n", "ddddddd\n", "a line that is longer than a file\n", "e\n"])
            {
                file.Write(Encoding.ASCII.GetBytes(text));
            }
        }

        Assert.Equal("e\n", File.ReadAllText(path));
        Assert.Equal("a line that is longer than a file\n", File.ReadAllText(path + ".1"));
        Assert.Equal("ddddddd\n", File.ReadAllText(path + ".2"));
        Assert.Equal(3, Directory.GetFiles(_folder).Length);
    }

    [Fact]
    public void a_file_is_appended_to_after_a_restart_and_counts_towards_the_size()
    {
        var path = Path.Combine(_folder, "events");
        File.WriteAllText(path, "12345678\n");
        using var file = new RotatingFile(path, new(MaxBytes: 12, Keep: 1));
        file.Write("ab\n"u8);
        file.Write("c\n"u8);
        Assert.Equal("c\n", File.ReadAllText(path));
        Assert.Equal("12345678\nab\n", File.ReadAllText(path + ".1"));
    }

    [Fact]
    public void without_files_to_keep_the_full_one_goes()
    {
        var path = Path.Combine(_folder, "events");
        using var file = new RotatingFile(path, new(MaxBytes: 4, Keep: 0));
        file.Write("abc\n"u8);
        file.Write("d\n"u8);
        Assert.Equal("d\n", File.ReadAllText(path));
        Assert.Single(Directory.GetFiles(_folder));
    }

    [Fact]
    public void a_write_that_fails_leaves_nothing_and_the_next_may_succeed()
    {
        // A directory in its way lets the full file not be put aside.
        var path = Path.Combine(_folder, "events");
        Directory.CreateDirectory(path + ".1");
        using var file = new RotatingFile(path, new(MaxBytes: 4, Keep: 1));
        file.Write("abc\n"u8);
        Assert.ThrowsAny<Exception>(() => file.Write("d\n"u8));
        Assert.Equal("abc\n", File.ReadAllText(path));
        Directory.Delete(path + ".1");
        file.Write("d\n"u8);
        Assert.Equal("d\n", File.ReadAllText(path));
        Assert.Equal("abc\n", File.ReadAllText(path + ".1"));
    }

    [Fact]
    public async Task a_sink_loses_no_line_and_tears_none_when_its_files_rotate()
    {
        var path = Path.Combine(_folder, "events.ndjson");
        var queue = new SinkQueue(new JsonSink(() => new RotatingFile(path, new(MaxBytes: 1 << 17, Keep: 100)), null, JsonShape.Introspect), new(4096), (_, e) => Assert.Fail(e.Message));
        for (var i = 1; i <= 2000; i++)
        {
            await queue.PostAsync(SampleRecords.Allowed(VmEventReason.Cpuid, (ulong)i), SampleRecords.Web, CancellationToken.None);
        }

        await queue.DisposeAsync();
        var files = Directory.GetFiles(_folder);
        Assert.True(files.Length > 5);
        Assert.All(files, file => Assert.InRange(new FileInfo(file).Length, 1, 1 << 17));
        var numbers = files.SelectMany(File.ReadLines).Select(line => System.Text.Json.JsonDocument.Parse(line).RootElement.GetProperty("sequence").GetInt32()).Order();
        Assert.Equal(Enumerable.Range(1, 2000), numbers);
    }
}
