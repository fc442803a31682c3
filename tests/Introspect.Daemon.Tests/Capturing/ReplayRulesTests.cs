using System.Text.Json;
using Introspect.Daemon.Tests.Cli;
using Introspect.Daemon.Tests.Output;

namespace Introspect.Daemon.Tests.Capturing;

/// <summary>Rules on a capture of the demo guest, by the command line.</summary>
public sealed class ReplayRulesTests(DemoCapture demo) : IClassFixture<DemoCapture>, IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("introspect-replay-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public async Task The_starting_rules_find_what_the_demo_guest_does()
    {
        string[] words = ["replay", demo.Path, "--json", "--rules", Repository.PathOf("deploy", "rules")];
        var (exitCode, output, error) = await DemoCapture.RunAsync(words);
        Assert.Equal(0, exitCode);
        Assert.All(error.Split('\n', StringSplitOptions.RemoveEmptyEntries), note => Assert.Contains("the rules want what was not recorded", note, StringComparison.Ordinal));
        var lines = Lines(output);
        Assert.Contains(lines, line => Is(line, "alert") && line.GetProperty("rule").GetString() == "smep_cleared");
        Assert.Contains(lines, line => Is(line, "alert") && line.GetProperty("rule").GetString() == "smap_cleared");
        var summary = lines[^1];
        Assert.Equal(26, summary.GetProperty("by_reason").GetProperty("write_ctrlreg").GetInt32());

        // The events that rules matched are shown, as a service records them, and the summary has them all.
        var shown = lines.Count(line => Is(line, "event"));
        Assert.InRange(shown, 2, summary.GetProperty("events").GetInt32() - 1);
        foreach (var rule in summary.GetProperty("rules").EnumerateArray())
        {
            Assert.Equal(rule.GetProperty("alerts").GetInt32(), lines.Count(line => Is(line, "alert") && line.GetProperty("rule").GetString() == rule.GetProperty("rule").GetString()));
        }

        var schema = new SchemaChecker(await File.ReadAllTextAsync(Repository.PathOf("docs", "events.schema.json")));
        Assert.All(output.Split('\n', StringSplitOptions.RemoveEmptyEntries), line => Assert.Empty(schema.Check(line)));
    }

    [Theory]
    [InlineData("--json")]
    [InlineData("--vcpu", "0")]
    public async Task The_same_capture_and_rules_give_the_same_bytes_twice(params string[] how)
    {
        string[] words = ["replay", demo.Path, .. how, "--handler", "log", "--rules", Repository.PathOf("deploy", "rules"), Write("more.yaml", """
            rules:
              - { rule: flood, on: cpuid, rate: { alerts: 3/s, burst: 2, events: 4/s, cool_down: 1ms } }
              - { rule: stack, on: vmexit, when: "u64[rsp] != 0 and rip in sym(set_protection)", output: "{rip:symbol} {u64[rsp]}" }
            """)];
        var (first, second) = (await DemoCapture.RunAsync(words), await DemoCapture.RunAsync(words));
        Assert.Equal(0, first.ExitCode);
        Assert.Contains("flood", first.Output, StringComparison.Ordinal);
        Assert.Equal(first, second);
    }

    [Fact]
    public async Task For_people_an_alert_is_a_line_behind_its_event_and_each_rule_one_at_the_end()
    {
        var rules = Write("own.yaml", """
            rules:
              - { rule: smep, on: write_ctrlreg, when: register == CR4 and cleared(CR4.SMEP), do: deny, output: "SMEP cleared in {rip:symbol}", priority: critical }
              - { rule: never, on: cpuid, when: leaf == 0x123 }
            """);
        var (exitCode, output, error) = await DemoCapture.RunAsync("replay", demo.Path, "--rules", rules);
        Assert.Equal((0, ""), (exitCode, error));
        Assert.Matches(@"write_ctrlreg +CR4 0x3000a0 -> 0x2000a0 -SMEP +at 0x[0-9a-f]+ clear_smep\+0x[0-9a-f]+  \[deny by smep\]\n[0-9:.]+  d1 v0  ALERT critical  smep: SMEP cleared in clear_smep\+0x[0-9a-f]+  \[deny\]\n", output);
        Assert.Matches(@"verdicts are other than what was answered\n  rule smep +[0-9]+ matches +[0-9]+ alerts\n  rule never +0 matches +0 alerts\n$", output);
    }

    [Fact]
    public async Task Names_of_places_in_the_capture_are_symbols_of_rules_and_other_names_are_told()
    {
        var rules = Write("symbols.yaml", """
            rules:
              - { rule: in_smep, on: write_ctrlreg, when: register == CR4 and rip in sym(clear_smep), rate: off }
              - { rule: from_file, on: write_ctrlreg, when: register == CR4 and rip >= &clear_smep and rip < &idt, rate: off }
            """);
        var (exitCode, output, error) = await DemoCapture.RunAsync("replay", demo.Path, "--json", "--rules", rules);
        Assert.Equal(0, exitCode);
        CommandLineTests.AssertOneLine(error);
        Assert.Contains("'idt' is none of the symbols that are known here", error, StringComparison.Ordinal);
        var counts = Lines(output)[^1].GetProperty("rules").EnumerateArray().Select(rule => rule.GetProperty("matches").GetInt32()).ToList();
        Assert.True(counts[0] > 0);
        Assert.Equal(0, counts[1]);

        // With the image itself every name is known.
        var image = System.IO.Path.Combine(_folder, "demo.elf");
        await File.WriteAllBytesAsync(image, Introspect.Hypervisor.Core.Building.Demo.DemoGuest.Build().Image);
        (exitCode, output, error) = await DemoCapture.RunAsync("replay", demo.Path, "--json", "--rules", rules, "--symbols", image);
        Assert.Equal((0, ""), (exitCode, error));
        Assert.Equal(counts[0], Lines(output)[^1].GetProperty("rules")[0].GetProperty("matches").GetInt32());
    }

    [Fact]
    public async Task Wrong_rules_replay_nothing()
    {
        var path = Write("wrong.yaml", "rules: [ { rule: a, on: cpuid, when: lead == 1 }, { rule: b, on: cpuld } ]");
        var (exitCode, output, error) = await DemoCapture.RunAsync("replay", demo.Path, "--rules", path);
        Assert.Equal((1, ""), (exitCode, output));
        var lines = error.Split('\n', StringSplitOptions.RemoveEmptyEntries);
        Assert.Equal(3, lines.Length);
        Assert.Contains($"{path}:1:", lines[0], StringComparison.Ordinal);
        Assert.Contains("introspect rules check", lines[2], StringComparison.Ordinal);

        (exitCode, _, error) = await DemoCapture.RunAsync("replay", demo.Path, "--rules", path + "x");
        Assert.Equal(2, exitCode);
        CommandLineTests.AssertOneLine(error);
        Assert.Contains("--rules: ", error, StringComparison.Ordinal);
    }

    private string Write(string name, string text)
    {
        var path = System.IO.Path.Combine(_folder, name);
        File.WriteAllText(path, text);
        return path;
    }

    private static bool Is(JsonElement line, string type) => line.GetProperty("type").GetString() == type;

    private static List<JsonElement> Lines(string output) =>
        [.. output.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(line => JsonDocument.Parse(line).RootElement)];
}
