using System.Collections.Concurrent;
using System.IO.Pipes;
using System.Text;
using Introspect.Rules.Names;
using Introspect.Rules.Plugins;
using Introspect.Rules.Plugins.Isolation;

namespace Introspect.Rules.Tests.Plugins;

/// <summary>What a plugin's process writes is taken, whatever it is and whoever reads it.</summary>
public sealed class PluginOutputTests
{
    private readonly ConcurrentQueue<string> _told = new();

    [Fact]
    public void Each_line_is_told_and_so_is_the_last_that_has_no_end()
    {
        Write("one\r\n\n", "tw", "o \e[31m\nth", "ree");
        Assert.Equal(["output: one", "output: two \\x1b[31m", "output: three"], _told);
    }

    [Fact]
    public void Of_a_line_without_end_only_the_beginning_is_kept()
    {
        Write(new string('x', 1_000_000), "\nnext\n");
        Assert.Equal([$"output: {new string('x', PrintableText.LongestLine)}…", "output: next"], _told);
    }

    [Fact]
    public void Who_writes_much_does_not_wait_for_a_log_that_takes_nothing()
    {
        using var open = new ManualResetEventSlim();
        using var log = new PluginLog((_, text) =>
        {
            open.Wait();
            _told.Enqueue(text);
        });
        using var writer = new AnonymousPipeServerStream(PipeDirection.Out);
        var output = new PluginOutput(Reader(writer), "test", log);
        var lines = Encoding.ASCII.GetBytes(string.Concat(Enumerable.Repeat("a line of no great length\n", 1000)));
        for (var i = 0; i < 400; i++)
        {
            writer.Write(lines);
        }

        output.Dispose();
        Assert.Empty(_told);
        open.Set();
    }

    [Fact]
    public void The_end_of_the_process_ends_it_though_somebody_else_holds_the_pipe_and_writes_on()
    {
        using var log = new PluginLog((_, text) => _told.Enqueue(text));
        using var writer = new AnonymousPipeServerStream(PipeDirection.Out);
        var output = new PluginOutput(Reader(writer), "test", log);
        using var begun = new ManualResetEventSlim();
        var other = Task.Factory.StartNew(
            () =>
            {
                while (true)
                {
                    writer.Write("on and on\n"u8);
                    begun.Set();
                }
            },
            CancellationToken.None,
            TaskCreationOptions.LongRunning,
            TaskScheduler.Default);
        begun.Wait();
        output.Dispose();

        // Nobody reads what it writes.
        Assert.IsAssignableFrom<IOException>(Record.Exception(() => other.Wait())?.InnerException);
    }

    private static AnonymousPipeClientStream Reader(AnonymousPipeServerStream writer)
    {
        // Takes the descriptor over: the writer must not close it a second time.
        var handle = writer.ClientSafePipeHandle;
        var copy = new Microsoft.Win32.SafeHandles.SafePipeHandle(handle.DangerousGetHandle(), ownsHandle: true);
        handle.SetHandleAsInvalid();
        return new(PipeDirection.In, copy);
    }

    private void Write(params string[] parts)
    {
        using var log = new PluginLog((_, text) => _told.Enqueue(text));
        using var writer = new AnonymousPipeServerStream(PipeDirection.Out);
        var output = new PluginOutput(Reader(writer), "test", log);
        foreach (var part in parts)
        {
            writer.Write(Encoding.UTF8.GetBytes(part));
        }

        writer.Dispose();
        output.Dispose();
    }
}
