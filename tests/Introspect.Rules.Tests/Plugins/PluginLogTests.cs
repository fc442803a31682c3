using System.Collections.Concurrent;
using System.Globalization;
using Introspect.Rules.Plugins;
using Introspect.Rules.Tests.Mocks;

namespace Introspect.Rules.Tests.Plugins;

/// <summary>A plugin that says much does not fill the log, and waits for nobody.</summary>
public sealed class PluginLogTests
{
    private readonly ConcurrentQueue<string> _told = new();

    [Fact]
    public void Lines_are_told_in_order_and_as_a_terminal_may_see_them()
    {
        using (var log = new PluginLog(Tell))
        {
            log.Say(PluginLogLevel.Warning, "one\n\e[2J");
            log.Print("two \a"u8);
            log.Tell(PluginLogLevel.Error, "three");
        }

        Assert.Equal(["Warning one \\x1b[2J", "Information output: two \\x07", "Error three"], _told);
    }

    [Fact]
    public void Of_a_second_so_many_lines_are_told_and_the_others_counted()
    {
        var clock = new FiringClock();
        using (var log = new PluginLog(Tell, clock))
        {
            for (var i = 0; i < PluginLog.MostLines + 7; i++)
            {
                log.Say(PluginLogLevel.Information, "line");
            }

            // What is told about the plugin does not count.
            log.Tell(PluginLogLevel.Error, "it ended");
            clock.Advance(TimeSpan.FromSeconds(1));
            log.Print("next"u8);
        }

        Assert.Equal(
            [.. Enumerable.Repeat("Information line", PluginLog.MostLines), "Error it ended", "Warning 7 lines were left out: it may write 50 a second", "Information output: next"],
            _told);
    }

    [Fact]
    public void What_was_left_out_is_told_at_the_end_at_the_latest()
    {
        using (var log = new PluginLog(Tell, new FiringClock()))
        {
            for (var i = 0; i < PluginLog.MostLines + 3; i++)
            {
                log.Print("line"u8);
            }
        }

        Assert.Equal("Warning 3 lines were left out: it may write 50 a second", _told.Last());
    }

    [Fact]
    public void What_was_left_out_is_told_though_the_plugin_says_no_more()
    {
        var clock = new FiringClock();
        using var log = new PluginLog(Tell, clock);
        for (var i = 0; i <= PluginLog.MostLines; i++)
        {
            log.Say(PluginLogLevel.Information, "line");
        }

        clock.Advance(TimeSpan.FromSeconds(1));
        Assert.True(SpinWait.SpinUntil(() => _told.LastOrDefault() == "Warning 1 lines were left out: it may write 50 a second", TimeSpan.FromSeconds(60)));
    }

    [Fact]
    public void A_log_that_takes_nothing_keeps_nobody_waiting()
    {
        var clock = new FiringClock();
        using var open = new ManualResetEventSlim();
        using var log = new PluginLog(
            (level, text) =>
            {
                open.Wait();
                Tell(level, text);
            },
            clock);
        for (var i = 0; i < 10_000; i++)
        {
            log.Tell(PluginLogLevel.Information, "line");
            log.Say(PluginLogLevel.Information, "line");
        }

        clock.Advance(TimeSpan.FromSeconds(1));
        open.Set();
        Assert.True(SpinWait.SpinUntil(
            () =>
            {
                clock.Advance(TimeSpan.FromSeconds(1));
                return Told() + LeftOut() == 20_000;
            },
            TimeSpan.FromSeconds(60)));
        Assert.InRange(Told(), 1, 1000);

        int Told() => _told.Count(line => line == "Information line");
        int LeftOut() => _told.Where(line => line.Contains("left out", StringComparison.Ordinal)).Sum(line => int.Parse(line.Split(' ')[1], CultureInfo.InvariantCulture));
    }

    private void Tell(PluginLogLevel level, string text) => _told.Enqueue($"{level} {text}");
}
