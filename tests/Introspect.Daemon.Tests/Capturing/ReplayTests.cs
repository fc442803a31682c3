using System.Text.Json;
using System.Text.RegularExpressions;
using Introspect.Daemon.Tests.Cli;
using Introspect.Daemon.Tests.Output;
using Introspect.Hypervisor.Abi;
using Introspect.Rules.Capture;

namespace Introspect.Daemon.Tests.Capturing;

/// <summary>What becomes of a capture of the demo guest.</summary>
public sealed partial class ReplayTests(DemoCapture demo) : IClassFixture<DemoCapture>
{
    [Fact]
    public async Task A_replay_prints_what_the_trace_printed()
    {
        var (exitCode, output, error) = await DemoCapture.RunAsync("replay", demo.Path, "--json", "--registers");
        Assert.Equal((0, ""), (exitCode, error));
        var (traced, replayed) = (demo.Traced.Split('\n'), output.Split('\n'));

        // Events byte for byte, with their times; console and summary have no time of their own in a record.
        Assert.Equal(traced.Select(Comparable), replayed.Select(Comparable));
        Assert.True(traced.Count(IsEvent) > 100);

        static bool IsEvent(string line) => line.Contains("\"type\":\"event\"", StringComparison.Ordinal);
        static string Comparable(string line) => IsEvent(line) ? line : Time().Replace(line, "");
    }

    [Fact]
    public async Task The_same_capture_gives_the_same_lines_twice()
    {
        string[] words = ["replay", demo.Path, "--json", "--handler", "protect-cr4"];
        var (first, second) = (await DemoCapture.RunAsync(words), await DemoCapture.RunAsync(words));
        Assert.Equal((0, ""), (first.ExitCode, first.Error));
        Assert.Equal(first.Output, second.Output);
    }

    [Fact]
    public async Task Handlers_decide_as_they_did_on_the_guest()
    {
        var (_, output, _) = await DemoCapture.RunAsync("replay", demo.Path, "--json", "--handler", "protect-cr4");
        var denied = Denied(output);
        Assert.NotEmpty(denied);
        Assert.Equal(Denied(demo.Traced), denied);
        Assert.Contains("\"changed_verdicts\":", output, StringComparison.Ordinal);

        static List<string> Denied(string lines) =>
            [.. Events(lines).Where(e => e.GetProperty("verdict").GetString() == "deny").Select(e => $"{e.GetProperty("sequence")} {e.GetProperty("rule")} {e.GetProperty("rip")}")];
    }

    [Fact]
    public async Task Lines_for_people_are_those_of_a_trace()
    {
        var (exitCode, output, error) = await DemoCapture.RunAsync("replay", demo.Path);
        Assert.Equal((0, ""), (exitCode, error));
        Assert.Contains("console | introspect demo guest: done\n", output, StringComparison.Ordinal);
        Assert.Matches(@"write_ctrlreg +CR4 0x3000a0 -> 0x2000a0 -SMEP +at 0x[0-9a-f]+ clear_smep\+0x[0-9a-f]+  \[deny by protect-cr4\]\n", output);
        Assert.Contains("ended by poweroff\n", output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Filters_cut_out_a_part()
    {
        var all = Events(demo.Traced);
        var (exitCode, output, _) = await DemoCapture.RunAsync("replay", demo.Path, "--json", "--vcpu", "0", "--until", "1h");
        Assert.Equal((0, all.Count), (exitCode, Events(output).Count));
        (_, output, _) = await DemoCapture.RunAsync("replay", demo.Path, "--json", "--from", "1h");
        Assert.Empty(Events(output));
        (_, output, _) = await DemoCapture.RunAsync("replay", demo.Path, "--json", "--vcpu", "1");
        Assert.Empty(Events(output));
    }

    [Fact]
    public async Task A_capture_tells_what_is_in_it()
    {
        var (exitCode, output, error) = await DemoCapture.RunAsync("capture", "info", demo.Path, "--json");
        Assert.Equal((0, ""), (exitCode, error));
        Assert.Empty(new SchemaChecker(await File.ReadAllTextAsync(Repository.PathOf("docs", "events.schema.json"))).Check(output));
        var info = JsonDocument.Parse(output).RootElement;
        Assert.Equal((Events(demo.Traced).Count, "poweroff", true), (info.GetProperty("events").GetInt32(), info.GetProperty("end").GetString(), info.GetProperty("intact").GetBoolean()));
        Assert.Equal(demo.File.Length, info.GetProperty("bytes").GetInt64());
        Assert.Equal(26, info.GetProperty("by_reason").GetProperty("write_ctrlreg").GetInt32());
        Assert.True(info.GetProperty("memory_bytes_taken").GetInt64() > 1000);

        (exitCode, output, _) = await DemoCapture.RunAsync("capture", "info", demo.Path);
        Assert.Equal(0, exitCode);
        Assert.Contains("checksums   right in all blocks\n", output, StringComparison.Ordinal);
        Assert.Contains("memory      rip+16, rsp+64: ", output, StringComparison.Ordinal);
    }

    [Fact]
    public void Memory_at_an_event_is_the_guests_own()
    {
        using var capture = CaptureReader.Open(new MemoryStream(demo.File));
        var code = new byte[2];
        var found = 0;
        while (capture.Read() is var item && item != CaptureItem.None)
        {
            if (item == CaptureItem.Event && capture.Event.Reason == VmEventReason.Cpuid)
            {
                var r = capture.Event.Event.Registers;
                var space = Introspect.Hypervisor.AddressSpace.FromControlRegisters(r.Cr0, r.Cr3, r.Cr4, r.MsrEfer);
                capture.Memory.ReadVirtual(in space, new(r.Rip), code);
                Assert.Equal([0x0f, 0xa2], code);
                found++;
            }
        }

        Assert.Equal(12, found);
    }

    [Fact]
    public async Task A_capture_that_was_cut_off_is_shown_up_to_there_and_that_is_told()
    {
        var cut = demo.With(file => file[..^20]);
        var (exitCode, output, error) = await DemoCapture.RunAsync("replay", cut, "--json");
        Assert.Equal(0, exitCode);
        CommandLineTests.AssertOneLine(error);
        Assert.Contains("was cut off", error, StringComparison.Ordinal);
        Assert.Contains("\"end\":\"incomplete\"", output, StringComparison.Ordinal);
        (exitCode, output, _) = await DemoCapture.RunAsync("capture", "info", cut);
        Assert.Equal(0, exitCode);
        Assert.Matches("checksums   right in all whole blocks; [0-9]+ bytes behind them, from offset 0x[0-9a-f]+ on, were cut off\n", output);
    }

    [Fact]
    public async Task A_flipped_bit_is_one_line_with_its_offset()
    {
        var damaged = demo.With(file =>
        {
            file[^20] ^= 4;
            return file;
        });
        foreach (var words in new[] { new[] { "replay", damaged }, ["replay", damaged, "--json"], ["capture", "info", damaged] })
        {
            var (exitCode, _, error) = await DemoCapture.RunAsync(words);
            Assert.Equal(1, exitCode);
            CommandLineTests.AssertOneLine(error);
            Assert.Matches($"capture '{Regex.Escape(damaged)}': block [0-9]+ at offset 0x[0-9a-f]+ is damaged", error);
        }
    }

    [Theory]
    [InlineData("missing", "there is no such file")]
    [InlineData(".", "directory")]
    public async Task A_file_that_is_not_there_is_one_line(string path, string says)
    {
        var (exitCode, _, error) = await DemoCapture.RunAsync("replay", path == "." ? Path.GetTempPath() : demo.Path + path);
        Assert.Equal(1, exitCode);
        CommandLineTests.AssertOneLine(error);
        Assert.Contains(says, error, StringComparison.OrdinalIgnoreCase);
    }

    [Fact]
    public async Task Another_file_is_no_capture()
    {
        var (exitCode, _, error) = await DemoCapture.RunAsync("replay", demo.With(_ => "{}\n"u8.ToArray()));
        Assert.Equal(1, exitCode);
        CommandLineTests.AssertOneLine(error);
        Assert.Contains("no capture", error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_handler_that_is_not_there_is_a_mistake_in_the_command()
    {
        var (exitCode, _, error) = await DemoCapture.RunAsync("replay", demo.Path, "--handler", "protect-cr5");
        Assert.Equal(2, exitCode);
        CommandLineTests.AssertOneLine(error);
        Assert.Contains("protect-cr4", error, StringComparison.Ordinal);
    }

    private static List<JsonElement> Events(string lines) =>
        [.. lines.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(line => JsonDocument.Parse(line).RootElement).Where(o => o.GetProperty("type").GetString() == "event")];

    [GeneratedRegex("\"time\":\"[^\"]*\",")]
    private static partial Regex Time();
}
