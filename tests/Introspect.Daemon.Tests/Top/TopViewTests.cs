using Introspect.Daemon.Control;
using Introspect.Daemon.Top;
using Spectre.Console;

namespace Introspect.Daemon.Tests.Top;

/// <summary>The table of <c>introspect top</c>.</summary>
public sealed class TopViewTests
{
    [Fact]
    public void rates_are_what_happened_between_two_looks()
    {
        var text = Render(
            Look(10, Domain(1, "web", events: 1000, paused: 1, calls: 1000, seconds: 0.5)),
            Look(12, Domain(1, "web", events: 1600, paused: 1.5, calls: 1600, seconds: 0.503)));
        Assert.Matches(@"(?m)^ *1 web +300 +25\.0% +0\.0% +0 +cpuid *$", text);
        Assert.Matches(@"(?m)^rules +web +300 +5\.0 +7 +0 +0 *$", text);
    }

    [Fact]
    public void a_pump_that_was_replaced_counts_from_nothing()
    {
        var text = Render(Look(10, Domain(1, "web", events: 1000)), Look(11, Domain(1, "web", events: 50)));
        Assert.Matches(@"(?m)^ *1 web +50 ", text);
    }

    [Fact]
    public void everything_fits_into_80_columns_and_nothing_reaches_the_terminal_that_a_name_says()
    {
        var name = "a[red]very\u001b[2J long name of a domain\n with everything in it";
        var now = Look(
            11,
            Domain(65535, name, events: 123_456_789, calls: 123_456_789, seconds: 3.5, handler: name, disabled: true, reason: "a_reason_with_a_very_long_name"),
            Domain(2, "busy") with { Trouble = "another monitor has it" })
            with
        {
            Sinks = [new(name, 1, 100_000_000, 3, 4, 5)],
            ReloadSuccessful = false,
            Troubles = ["domain busy: another monitor has it, or a dead one had, as far as anybody can tell: 'introspect recover busy'"],
        };
        var text = Render(Look(10), now);
        Assert.All(text.Split('\n'), line => Assert.True(line.Length <= 80, $"{line.Length} columns: {line}"));
        Assert.DoesNotContain('\e', text);
        Assert.Contains("a[red]very?[2J", text, StringComparison.Ordinal);
        Assert.Contains("(off)", text, StringComparison.Ordinal);
        Assert.Matches(@"(?m)^ *2 busy +- +- +- +- +not watched *$", text);
        Assert.Contains("another monitor has it, or a dead one had, as far as", text, StringComparison.Ordinal);
        Assert.Contains("'introspect recover busy'", text, StringComparison.Ordinal);
        Assert.Contains("the last reload failed", text, StringComparison.Ordinal);
        Assert.Contains("123M", text, StringComparison.Ordinal);
    }

    [Fact]
    public void the_slowest_handlers_are_shown_those_out_of_service_first()
    {
        var domains = Enumerable.Range(1, 20).Select(i => Domain(i, $"d{i}", calls: 100, seconds: i, handler: $"h{i}", disabled: i == 3)).ToArray();
        var text = Render(Look(10), Look(11, domains));
        var shown = System.Text.RegularExpressions.Regex.Matches(text, @"(?m)^h(\d+) ").Select(m => m.Groups[1].Value);
        Assert.Equal(["3", "20", "19", "18", "17", "16", "15", "14"], shown);
    }

    private static ServiceStatus Look(double time, params DomainStatus[] domains) => new()
    {
        Version = "1.2.3",
        Time = time,
        Summary = $"watching {domains.Length} of {domains.Length} domains",
        Troubles = [],
        ReloadSuccessful = true,
        Domains = domains,
        Sinks = [],
    };

    private static DomainStatus Domain(
        int id, string name, long events = 0, double paused = 0, long calls = 0, double seconds = 0, string handler = "rules", bool disabled = false, string reason = "cpuid") => new()
        {
            Id = id,
            Name = name,
            Uuid = Guid.Empty,
            Policy = "*",
            Events = new Dictionary<string, long> { [reason] = events },
            PausedSeconds = paused,
            Handlers = [new(handler, calls, 7, seconds, 0, 0, disabled)],
        };

    private static string Render(ServiceStatus before, ServiceStatus now)
    {
        using var writer = new StringWriter { NewLine = "\n" };
        var console = AnsiConsole.Create(new AnsiConsoleSettings { Ansi = AnsiSupport.No, ColorSystem = ColorSystemSupport.NoColors, Out = new AnsiConsoleOutput(writer) });
        console.Profile.Width = TopView.Columns;
        console.Write(TopView.Of(before, now));
        return writer.ToString();
    }
}
