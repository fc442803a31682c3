using System.Text.Json;
using System.Xml.Linq;

namespace Introspect.Daemon.Tests.RuleTools;

/// <summary><c>introspect rules</c>, as who types it sees it.</summary>
public sealed class RuleToolTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("introspect-rules-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public async Task a_right_file_is_told_in_a_line()
    {
        var file = Write("a.yaml", "rules: [ { rule: a, on: cpuid }, { rule: b, on: cpuid, enabled: false } ]");
        Assert.Equal((0, "1 file: right; 2 rules, 1 in force\n", ""), await Run("rules", "check", file));
    }

    [Fact]
    public async Task every_mistake_is_a_line_with_a_caret_and_a_suggestion()
    {
        var file = Write("a.yaml", "rules:\n  - rule: a\n    on: cpiud\n  - rule: b\n    on: write_ctrlreg\n    when: register == CR4 and cleared(CR4.SMPE)\n");
        var (exitCode, output, _) = await Run("rules", "check", file);
        Assert.Equal(1, exitCode);
        Assert.StartsWith($"{file}:3:9: error: 'cpiud' is no event", output, StringComparison.Ordinal);
        Assert.Contains("; did you mean 'cpuid'?\n      on: cpiud\n          ^^^^^\n", output, StringComparison.Ordinal);
        Assert.Contains($"{file}:6:", output, StringComparison.Ordinal);
        Assert.EndsWith("1 file: 2 errors, 0 warnings\n", output, StringComparison.Ordinal);

        (exitCode, output, _) = await Run("rules", "check", "--json", file);
        Assert.Equal(1, exitCode);
        var findings = output.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(line => JsonDocument.Parse(line).RootElement).ToList();
        Assert.Equal(2, findings.Count);
        Assert.Equal(("rule_finding", "error", file, 3, 9, 14, "cpuid"), (
            findings[0].GetProperty("type").GetString(), findings[0].GetProperty("severity").GetString(), findings[0].GetProperty("file").GetString(),
            findings[0].GetProperty("line").GetInt32(), findings[0].GetProperty("column").GetInt32(), findings[0].GetProperty("end_column").GetInt32(), findings[0].GetProperty("suggestion").GetString()));
    }

    [Fact]
    public async Task a_rule_that_no_event_can_match_is_a_warning_and_no_failure()
    {
        var file = Write("a.yaml", "rules:\n  - rule: dead\n    on: { mem_access: { pages: 7 } }\n    when: gfn == 8\n  - rule: live\n    on: cpuid\n");
        Assert.Equal(
            (0, $"""
            {file}:3:11: warning: rule 'dead' can match no event: its condition is about none of the pages that are named here
                  on: {"{ mem_access: { pages: 7 } }"}
                        ^^^^^^^^^^
            1 file: 0 errors, 1 warning

            """.ReplaceLineEndings("\n"), ""),
            await Run("rules", "check", file));
        var (exitCode, output, _) = await Run("rules", "check", "--json", file);
        Assert.Equal(0, exitCode);
        var finding = JsonDocument.Parse(output).RootElement;
        Assert.Equal(("warning", file, 3), (finding.GetProperty("severity").GetString(), finding.GetProperty("file").GetString(), finding.GetProperty("line").GetInt32()));
        Assert.Contains("     sees: nothing: no event can match\n", (await Run("rules", "explain", file)).Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task the_rules_that_come_with_the_program_have_no_warning()
    {
        var (exitCode, output, _) = await Run("rules", "check", Repository.PathOf("deploy", "rules"));
        Assert.Equal(0, exitCode);
        Assert.StartsWith("4 files: right; ", output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task what_is_not_there_is_the_callers_mistake()
    {
        var (exitCode, _, error) = await Run("rules", "check", Path.Combine(_folder, "none.yaml"));
        Assert.Equal(2, exitCode);
        Assert.Contains("there is no such file or folder", error, StringComparison.Ordinal);
        Assert.Equal(2, (await Run("rules", "test", _folder)).ExitCode);
        Assert.Equal(2, (await Run("rules", "check")).ExitCode);
    }

    [Fact]
    public async Task an_explanation_tells_masks_order_and_effects()
    {
        var file = Write("a.yaml", """
            match: first
            rules:
              - rule: smep
                desc: SMEP was cleared
                on: write_ctrlreg
                when: >
                  register == CR4
                  and cleared(CR4.SMEP)
                do: [deny, pause]
                rate: { alerts: 5/m, events: 100/s, cool_down: 30s }
              - { rule: lstar, on: mov_to_msr, when: msr == LSTAR and new != old, mode: observe, do: deny, after: 3 }
              - { rule: text, on: mem_access, when: gfn in 0x10..0x1f and access contains w, fail: closed }
              - { rule: never, on: cpuid, enabled: false }
            """);
        var (exitCode, output, _) = await Run("rules", "explain", file);
        Assert.Equal(0, exitCode);
        Assert.Equal(
            """
            3 of 4 rules are in force, from 1 file

            Asked of the hypervisor:
              single steps
              writes of CR4 that change SMEP (mask 0x100000), sync, held back until it is decided
              writes of MSR lstar (0xc0000082) that change it, sync
              instructions that the emulator lacks
              pages 0x10..0x1f with the rights rx, sync

            Asked in this order, until one matches:
              1. smep (warning): SMEP was cleared
                 sees: writes of CR4 that change SMEP (mask 0x100000), sync, held back until it is decided
                 when: register == CR4 and cleared(CR4.SMEP)
                 does: deny, pause, alert
                       write_ctrlreg: the write does not happen, and the guest goes on behind it
                       write_ctrlreg: the domain stands still until an operator lets it go
                 alerts: at most 5/m, 5 at once
                 above 100/s events they are switched off for 30s
              2. lstar (warning)
                 sees: writes of MSR lstar (0xc0000082) that change it, sync
                 when: msr == LSTAR and new != old
                 does: only observes (deny, alert)
                       mov_to_msr: the write does not happen, and the guest goes on behind it
                 begins after 3 matches of each vCPU
                 alerts: at most 10/s, 50 at once
              3. text (warning)
                 sees: single steps; instructions that the emulator lacks; pages 0x10..0x1f with the rights rx, sync
                 when: gfn in 0x10..0x1f and access contains w
                 does: alert
                 fails closed: an event that it cannot be asked about is denied
                 alerts: at most 10/s, 50 at once
              -. never: not enabled

            """.ReplaceLineEndings("\n"),
            output);
    }

    [Fact]
    public async Task tests_fail_with_the_place_and_what_came_instead()
    {
        Write("rules.yaml", "rules: [ { rule: smep, on: write_ctrlreg, when: register == CR4 and cleared(CR4.SMEP), do: deny } ]");
        var file = Write("rules.test.yaml", """
            rules: [rules.yaml]
            tests:
              - test: right
                events:
                  - write_ctrlreg: { register: cr4, old: CR4.SMEP, new: 0 }
                    expect: { verdict: deny, alerts: [smep] }
              - test: wrong
                events:
                  - cpuid: { leaf: 1 }
                    expect: { verdict: deny }
                  - write_ctrlreg: { register: cr4, old: CR4.SMEP, new: 0 }
            """);
        var report = Path.Combine(_folder, "report.xml");
        var (exitCode, output, _) = await Run("rules", "test", "--junit", report, _folder);
        Assert.Equal(1, exitCode);
        Assert.Equal(
            $"""
            ok      {file}: right
            FAILED  {file}: wrong
                      {file}:9:9: event 1: the verdict is pass, not deny (the rules do not ask for such an event)
                      {file}:11:9: event 2: the verdict is deny, not pass
                      {file}:11:9: event 2: the alerts are [smep], not []
            2 tests, 1 failed

            """.ReplaceLineEndings("\n"),
            output);
        var suite = XDocument.Load(report).Root!.Element("testsuite")!;
        Assert.Equal(("2", "1"), (suite.Attribute("tests")!.Value, suite.Attribute("failures")!.Value));
        Assert.Equal(["right", "wrong"], suite.Elements("testcase").Select(test => test.Attribute("name")!.Value));
        Assert.Contains("event 2: the verdict is deny", suite.Elements("testcase").Last().Element("failure")!.Value, StringComparison.Ordinal);
    }

    [Fact]
    public async Task a_test_of_rules_that_are_wrong_fails()
    {
        Write("rules.yaml", "rules: [ { rule: a, on: cpu } ]");
        var file = Write("rules.test.yaml", "rules: [rules.yaml]\ntests: [ { test: t, events: [ { cpuid: { laef: 1 } } ] } ]");
        var (exitCode, output, _) = await Run("rules", "test", file);
        Assert.Equal(1, exitCode);
        Assert.Contains("'laef' is not known of cpuid", output, StringComparison.Ordinal);

        Write("rules.test.yaml", "rules: [rules.yaml]\ntests: [ { test: t, events: [ { cpuid: { leaf: 1 } } ] } ]");
        (exitCode, output, _) = await Run("rules", "test", file);
        Assert.Equal(1, exitCode);
        Assert.Contains("'cpu' is no event", output, StringComparison.Ordinal);
        Assert.EndsWith("1 tests, 1 failed\n", output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task the_examples_in_the_manual_are_right()
    {
        var blocks = File.ReadAllText(Repository.PathOf("docs", "rules.md")).Split("```yaml\n").Skip(1).Select(block => block.Split("```")[0]).ToList();
        var starting = Repository.PathOf("deploy", "rules");
        var rules = blocks.Where(block => block.Contains("- rule:", StringComparison.Ordinal)).ToList();
        Assert.Equal(2, rules.Count);
        for (var i = 0; i < rules.Count; i++)
        {
            var (exitCode, output, _) = await Run("rules", "check", starting, Write($"{i}.yaml", rules[i]));
            Assert.True(exitCode == 0 && output.StartsWith("5 files: right; ", StringComparison.Ordinal), output);
        }

        // The explanation of the first rule is what the program says of it.
        var (_, explained, _) = await Run("rules", "explain", Path.Combine(_folder, "0.yaml"));
        var shown = File.ReadAllText(Repository.PathOf("docs", "rules.md")).Split("`introspect rules explain` shows it:\n\n```\n")[1].Split("```")[0];
        Assert.Contains(shown, explained, StringComparison.Ordinal);

        File.Copy(Path.Combine(starting, "10-protections.yaml"), Path.Combine(_folder, "10-protections.yaml"));
        var test = Write("manual.test.yaml", Assert.Single(blocks, block => block.Contains("events:\n      - write", StringComparison.Ordinal)));
        var (tested, results, _) = await Run("rules", "test", test);
        Assert.True(tested == 0, results);
    }

    [Fact]
    public async Task the_example_of_a_capture_in_the_manual_is_right()
    {
        var block = Assert.Single(File.ReadAllText(Repository.PathOf("docs", "rules.md")).Split("```yaml\n"), block => block.Contains("capture: boot.ivc", StringComparison.Ordinal)).Split("```")[0];
        var (exitCode, _, error) = await Run("record", "--demo", "--cr", "cr4", "--output", Path.Combine(_folder, "boot.ivc"));
        Assert.Equal((0, ""), (exitCode, error));
        var (tested, results, _) = await Run("rules", "test", Write("manual.test.yaml", block.Replace("deploy/rules", Repository.PathOf("deploy", "rules"), StringComparison.Ordinal)));
        Assert.True(tested == 0, results);
    }

    [Fact]
    public async Task the_shipped_tests_are_right_of_the_demo_guest_as_it_is_now()
    {
        var rules = Repository.PathOf("deploy", "rules");
        Directory.CreateDirectory(Path.Combine(_folder, "tests"));
        File.Copy(Path.Combine(rules, "tests", "demo-lists.yaml"), Path.Combine(_folder, "tests", "demo-lists.yaml"));
        var test = Write("demo.test.yaml", (await File.ReadAllTextAsync(Path.Combine(rules, "demo.test.yaml"))).Replace("rules: [.,", $"rules: ['{rules}',", StringComparison.Ordinal));
        var (exitCode, _, error) = await Run("record", "--demo", "--output", Path.Combine(_folder, "tests", "demo.ivc"));
        Assert.Equal((0, ""), (exitCode, error));
        var (tested, results, _) = await Run("rules", "test", test);
        Assert.True(tested == 0, results);
        Assert.EndsWith("2 tests, 0 failed\n", results, StringComparison.Ordinal);
    }

    private static async Task<(int ExitCode, string Output, string Error)> Run(params string[] words) =>
        await DocumentedCommand.RunAsync(words, _ => false, Task.Delay(Timeout.Infinite));

    private string Write(string name, string text)
    {
        var path = Path.Combine(_folder, name);
        File.WriteAllText(path, text);
        return path;
    }
}
