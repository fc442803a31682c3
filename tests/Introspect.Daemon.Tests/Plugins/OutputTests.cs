using System.Diagnostics;
using System.Globalization;
using Introspect.Daemon.Plugins;
using Introspect.Daemon.Service;
using Introspect.Daemon.Tests.Service;
using Introspect.Rules.Plugins;
using Introspect.Rules.Plugins.Isolation;
using Introspect.Rules.Pump;
using Introspect.Rules.Tests.Mocks;
using Microsoft.Extensions.Logging;
using static Introspect.Daemon.Tests.Plugins.PluginBench;

namespace Introspect.Daemon.Tests.Plugins;

/// <summary>What a plugin says, in whatever way, is told with its name, bounded, and with nothing in it that a terminal obeys.</summary>
[Collection(PluginCollection.Name)]
public sealed class OutputTests
{
    [Fact]
    public async Task What_the_process_writes_to_its_output_is_told_line_by_line()
    {
        using var bench = new PluginBench("print", PluginIsolation.Process);
        bench.Exchange(TriggeringCr4Write);
        await ServiceHarness.Until(() => bench.Log.Count() >= 2);
        Assert.Equal("output: red \\x1b[31m text\\xe2\\x80\\xae", bench.Log.First());
        Assert.Equal($"output: {new string('x', 4096)}…", bench.Log.ElementAt(1));

        // The last one has no end until the process has.
        bench.Plugin.Dispose();
        await ServiceHarness.Until(() => bench.Log.Last() == "output: without an end");
    }

    [Fact]
    public async Task A_process_that_writes_much_answers_and_what_is_left_out_is_counted()
    {
        using var bench = new PluginBench("print_much", PluginIsolation.Process);
        bench.Exchange(TriggeringCr4Write);
        Assert.Equal((1, 0), (bench.Statistics.Calls, bench.Statistics.Failures));
        await ServiceHarness.Until(() => Told(bench) + LeftOut(bench) >= 100_000);
        Assert.Equal(100_000, Told(bench) + LeftOut(bench));
        Assert.NotEqual(0, LeftOut(bench));

        static long Told(PluginBench bench) => bench.Log.Count(line => line == $"output: {new string('y', 99)}");
        static long LeftOut(PluginBench bench) => bench.Log.Where(line => line.Contains("were left out", StringComparison.Ordinal)).Sum(line => long.Parse(line.Split(' ')[0], CultureInfo.InvariantCulture));
    }

    [Fact]
    public async Task The_end_of_a_process_is_noticed_though_another_holds_its_output()
    {
        using var bench = new PluginBench("crash_with_child", PluginIsolation.Process);
        bench.Exchange(TriggeringCr4Write);
        await bench.Restarted(1);
        await ServiceHarness.Until(() => bench.Log.Any(line => line.StartsWith("output: ", StringComparison.Ordinal) && line.Contains("as it was told", StringComparison.Ordinal)));
    }

    [Theory]
    [InlineData("Process")]
    [InlineData("None")]
    public async Task What_a_plugin_logs_and_throws_is_shown_as_it_is(string isolation)
    {
        const string Shown = "red \\x1b[31m text next";
        using var bench = new PluginBench("steer", Enum.Parse<PluginIsolation>(isolation));
        bench.Exchange(TriggeringCr4Write);
        Assert.EndsWith(Shown, Assert.Single(bench.Rig.Diagnostics.Of(PumpDiagnosticKind.HandlerFailed)).Message, StringComparison.Ordinal);
        await ServiceHarness.Until(() => bench.Log.Any());
        Assert.Equal(Shown, Assert.Single(bench.Log));
    }

    [Fact]
    public void An_exception_in_the_log_looks_like_no_line_of_the_log()
    {
        var logger = new ExceptionLogger();
        new PumpLog(() => "web", logger).Report(new(PumpDiagnosticKind.HandlerFailed, "it threw", "test", null, new InvalidDataException("red \e[31m\n2026-01-01T00:00:00 INF all is well"), 1));
        var lines = logger.Exception!.ToString().Split('\n');
        Assert.Contains("  2026-01-01T00:00:00 INF all is well", lines);
        Assert.All(lines, line => Assert.StartsWith("  ", line, StringComparison.Ordinal));
        Assert.All(lines, line => Assert.DoesNotContain('\e', line));
    }

    [Fact]
    public void A_process_that_crashes_while_it_loads_the_plugin_is_said_to_and_not_said_to_be_started_anew()
    {
        using var plugins = new PluginSet(PluginSet.ThisProgram);
        var mistake = Assert.Single(plugins.Prove(EntryOf("crash_loading", PluginIsolation.Process)));
        Assert.Equal("the process of plugin test was ended by signal 6 while it loaded the plugin", mistake.What);
        var untold = plugins.TakeUntold();
        Assert.Contains("plugin test: output: last words", untold);
        Assert.All(untold, line => Assert.Contains(" output: ", line, StringComparison.Ordinal));
        Assert.Empty(plugins.TakeUntold());
    }

    [Fact]
    public async Task A_process_that_crashes_while_it_makes_a_handler_is_said_to_be_started_anew_when_it_is()
    {
        var log = new System.Collections.Concurrent.ConcurrentQueue<string>();
        using (var plugin = PluginInstance.Start(EntryOf("crash_creating", PluginIsolation.Process), PluginSet.ThisProgram, (_, line) => log.Enqueue(line)))
        {
            var first = ((IsolatedPlugin)plugin).ProcessId;
            var failure = Assert.Throws<PluginException>(() => plugin.CreateHandler(new MockDomain().GetInfo()));
            Assert.Equal("the process of plugin test was ended by signal 6 while it made a handler", failure.Message);
            await ServiceHarness.Until(() => plugin.Counts.Restarts == 1);
            await ServiceHarness.Until(() => log.Contains($"its process runs again as {((IsolatedPlugin)plugin).ProcessId}"));
            Assert.Contains($"its process {first} was ended by signal 6", log);
        }

        Assert.DoesNotContain(log, line => line.Contains("fail policy", StringComparison.Ordinal));
    }

    [Fact]
    public async Task Processes_that_end_leave_no_thread_and_no_descriptor()
    {
        // What the first one leaves in the runtime does not count.
        await Fail();
        StartAndKill();
        var pipes = Pipes();
        for (var i = 0; i < 10; i++)
        {
            await Fail();
        }

        for (var i = 0; i < 50; i++)
        {
            StartAndKill();
        }

        await ServiceHarness.Until(() => Pipes() <= pipes);
        await ServiceHarness.Until(() => Threads() == 0);

        // One that says something and ends before it is ever heard of.
        static async Task Fail()
        {
            var log = new System.Collections.Concurrent.ConcurrentQueue<string>();
            var failure = Assert.Throws<PluginException>(() => PluginInstance.Start(EntryOf("pass", PluginIsolation.Process), new("/bin/sh", ["-c", "echo why >&2; exit 3"]), (_, line) => log.Enqueue(line)));
            Assert.Equal("the process of plugin test ended with exit code 3 before it could load the plugin", failure.Message);
            await ServiceHarness.Until(() => log.SequenceEqual(["output: why"]));
        }

        static void StartAndKill()
        {
            using var plugin = PluginInstance.Start(EntryOf("pass", PluginIsolation.Process), PluginSet.ThisProgram, (_, _) => { });
            Process.GetProcessById(((IsolatedPlugin)plugin).ProcessId!.Value).Kill();
        }

        static int Pipes() => Directory.GetFiles("/proc/self/fd").Count(IsPipe);

        static bool IsPipe(string path)
        {
            try
            {
                return File.ResolveLinkTarget(path, returnFinalTarget: false)?.Name.StartsWith("pipe:", StringComparison.Ordinal) == true;
            }
            catch (IOException)
            {
                // Closed meanwhile.
                return false;
            }
        }

        static int Threads() => Directory.GetDirectories("/proc/self/task").Count(path => NameOf(path) is "output of test" or "plugin test");

        static string NameOf(string path)
        {
            try
            {
                return File.ReadAllText(Path.Combine(path, "comm")).TrimEnd();
            }
            catch (IOException)
            {
                return "";
            }
        }
    }

    private sealed class ExceptionLogger : ILogger
    {
        public Exception? Exception { get; private set; }

        public IDisposable? BeginScope<TState>(TState state)
            where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => true;

        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter) => Exception = exception;
    }
}
