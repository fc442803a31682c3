using Introspect.Rules.Capture;
using Introspect.Rules.Language;
using Introspect.Rules.Testing;
using Introspect.Rules.Tests.Capture;
using Introspect.Rules.Tests.Files;
using Introspect.Rules.Tests.Mocks;

namespace Introspect.Rules.Tests.Testing;

/// <summary>Tests whose events are in a capture: CPUID of leaves 1 to 20, each with the leaf's number as the event's.</summary>
public sealed class CaptureTestTests : IDisposable
{
    private const string Rules = """
        rules:
          - { rule: high, on: cpuid, when: leaf >= 11, do: { set: { rax: 0 } }, rate: off }
          - { rule: third, on: cpuid, when: "leaf in (3, 6, 9)", do: count }
          - { rule: named, on: cpuid, when: "leaf == 5 and rip in sym(work)" }
          - { rule: memory, on: cpuid, when: "leaf == 7 and u8[rip] == 0x90" }
          - { rule: lstar, on: mov_to_msr, when: msr == LSTAR }
        """;

    private readonly string _folder = Directory.CreateTempSubdirectory("introspect-tests-").FullName;

    public CaptureTestTests()
    {
        using var stream = File.Create(Path.Combine(_folder, "leaves.ivc"));
        using var writer = new CaptureWriter(stream, Captures.Header());
        Assert.True(writer.TryWriteSymbol(Requests.Rip, "work", 2));
        for (var leaf = 1u; leaf <= 20; leaf++)
        {
            Assert.True(writer.TryWrite(Captures.Record(leaf, Requests.Cpuid(leaf))));
        }

        writer.Complete(Captures.End());
    }

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Theory]
    [InlineData("[ { rule: high, matches: 10 }, third, named ]")]
    [InlineData("[ { rule: high, matches: 10, events: 11..20, verdict: allow+registers }, { rule: third, matches: 2..3 }, { rule: named, events: 5 } ]")]
    [InlineData("[ { rule: high, matches: 4, events: ..14 }, { rule: high, matches: 6, events: 15.. }, { rule: third, matches: 1.. }, { rule: named, verdict: pass }, { rule: memory, matches: 0 } ]")]
    [InlineData("anything")]
    public void what_comes_is_what_is_expected(string expect) => Assert.Empty(Run(expect.Replace(": ..", ": 0..", StringComparison.Ordinal)));

    [Theory]
    [InlineData("[ high, third ]", "8:14: event 5: rule named matches, which is not expected")]
    [InlineData("[ { rule: high, matches: 9 }, third, named ]", "9:23: rule high matches 10 times, not 9 times")]
    [InlineData("[ { rule: high, matches: 1..2 }, third, named ]", "9:23: rule high matches 10 times, not 1 to 2 times")]
    [InlineData("[ high, { rule: third, matches: 4.. }, named ]", "rule third matches 3 times, not 4 times or more")]
    [InlineData("[ { rule: high, events: 12.. }, third, named ]", "8:14: event 11: rule high matches, which is not expected")]
    [InlineData("[ high, third, { rule: named, events: 6..9, matches: 1 }, named ]", "rule named matches never in events 6 to 9, not once")]
    [InlineData("[ high, third, { rule: named, verdict: deny } ]", "8:14: event 5: rule named matches, and the verdict is pass, not deny")]
    [InlineData("[ high, third, named, { rule: memory } ]", "rule memory matches never, not once or more")]
    [InlineData("[ high, third, named, lstra ]", "there is no rule 'lstra' in force; did you mean 'lstar'?")]
    public void what_is_not_is_told_with_its_place(string expect, string failure) =>
        Assert.Contains(failure, Assert.Single(Run(expect)), StringComparison.Ordinal);

    [Fact]
    public void a_rule_that_could_not_match_is_told_why()
    {
        var failure = Assert.Single(Run("[ high, third, named, { rule: memory, matches: 1 } ]", Rules + "\n  - { rule: cr0, on: write_ctrlreg, when: register == CR0 and cleared(CR0.WP) }"));
        Assert.Contains("rule memory matches never, not once; the rules want what was not recorded: writes of CR0", failure, StringComparison.Ordinal);
    }

    [Fact]
    public void without_expectations_nothing_may_match_and_of_many_surprises_the_first_are_told()
    {
        var failures = Run("nothing");
        Assert.Equal(11, failures.Count);
        Assert.EndsWith("event 3: rule third matches, which is not expected", failures[0], StringComparison.Ordinal);
        Assert.EndsWith("4 more like these", failures[10], StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("capture: none.ivc", "there is no capture", 8, 14)]
    [InlineData("capture: a.test.yaml", "no capture", 8, 14)]
    [InlineData("capture: []", "a list stands here where the file of a capture must be", 8, 14)]
    [InlineData("capture: leaves.ivc\n    events: []", "the test has a capture, which has its own events", 9, 5)]
    [InlineData("capture: leaves.ivc\n    memory: { 0x1000: 90 }", "its own memory", 9, 5)]
    [InlineData("capture: leaves.ivc\n    expect: [ { rule: a, count: 1 } ]", "'count' is not known of what a capture is expected to give", 9, 26)]
    [InlineData("capture: leaves.ivc\n    expect: [ { matches: 1 } ]", "the rule that is expected to match is missing", 9, 15)]
    [InlineData("capture: leaves.ivc\n    expect: [ { rule: a, matches: many } ]", "'many' is no number of matches", 9, 35)]
    [InlineData("capture: leaves.ivc\n    expect: [ { rule: a, events: 9..3 } ]", "'9..3' is no number of an event", 9, 34)]
    [InlineData("events: [ { cpuid: { leaf: 1 } } ]\n    expect: nothing", "is for captures", 9, 13)]
    public void a_mistake_is_told_where_it_stands(string test, string why, int line, int column)
    {
        var diagnostics = new DiagnosticBag();
        var path = Path.Combine(_folder, "a.test.yaml");
        var text = Head + "    " + test + "\n";
        File.WriteAllText(path, text);
        RuleTestFile.Read(new(path, text), diagnostics);
        var mistake = Assert.Single(diagnostics.All);
        Assert.Contains(why, mistake.Message, StringComparison.Ordinal);
        Assert.Equal((line, column), mistake.Span.Text.PositionOf(mistake.Span.Start));
    }

    [Fact]
    public void a_capture_that_is_damaged_or_cut_off_is_no_success()
    {
        var path = Path.Combine(_folder, "leaves.ivc");
        var whole = File.ReadAllBytes(path);
        var damaged = (byte[])whole.Clone();
        damaged[^5] ^= 1;
        File.WriteAllBytes(path, damaged);
        Assert.Contains("8:14: capture", Assert.Single(Run("anything")), StringComparison.Ordinal);
        File.WriteAllBytes(path, whole[..^5]);
        Assert.Contains("was cut off", Assert.Single(Run("anything")), StringComparison.Ordinal);
    }

    private const string Head = """
        # One.
        # Two.
        # Three.
        # Four.
        rules: [rules.yaml]
        tests:
          - test: t

        """;

    private List<string> Run(string expect, string rules = Rules)
    {
        var diagnostics = new DiagnosticBag();
        var file = RuleTestFile.Read(new(Path.Combine(_folder, "a.test.yaml"), Head + "    capture: leaves.ivc\n    expect: " + expect + "\n"), diagnostics);
        Assert.Empty(diagnostics.All);
        return [.. Assert.Single(RuleTestRunner.Run(file, RuleTexts.Load(rules))).Failures];
    }
}
