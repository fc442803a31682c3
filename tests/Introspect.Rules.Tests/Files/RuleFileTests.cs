using Introspect.Hypervisor.Abi;
using Introspect.Rules.Files;
using Introspect.Rules.Handlers;
using Introspect.Rules.Language;

namespace Introspect.Rules.Tests.Files;

public sealed class RuleFileTests
{
    private const string Smep = """
        rules:
          - rule: smep
            desc: SMEP was cleared
            on: write_ctrlreg
            when: register == CR4 and cleared(CR4.SMEP)
            do: deny
            output: "cleared at {rip}"
            priority: critical
            tags: [kernel, cpu]
            rate: 5/m
            after: 3
            fail: closed
        """;

    [Fact]
    public void a_rule_is_what_its_keys_say()
    {
        var rule = RuleTexts.Only(Smep);
        Assert.Equal(("smep", "SMEP was cleared", RulePriority.Critical), (rule.Name, rule.Description, rule.Priority));
        Assert.Equal([VmEventReason.WriteCtrlreg], rule.On.Select(on => on.Reason));
        Assert.Equal("register == CR4 and cleared(CR4.SMEP)", Assert.Single(rule.When).Text);
        Assert.Equal("deny, alert", rule.Verdict.ToString());
        Assert.Equal(["kernel", "cpu"], rule.Tags);
        Assert.Equal((5L, TimeSpan.FromMinutes(1), 5L), (rule.Rate.Alerts!.Value.Count, rule.Rate.Alerts.Value.Per, rule.Rate.Burst));
        Assert.Equal(new RuleStart(TimeSpan.Zero, 3), rule.After);
        Assert.Equal((FailPolicy.Closed, RuleMode.Enforce, true), (rule.Fail, rule.Mode, rule.IsEnabled));
    }

    [Fact]
    public void what_is_not_said_is_harmless()
    {
        var rule = RuleTexts.Only("rules: [ { rule: a, on: cpuid } ]");
        Assert.Equal("alert", rule.Verdict.ToString());
        Assert.Equal((RulePriority.Warning, FailPolicy.Open, RuleMode.Enforce), (rule.Priority, rule.Fail, rule.Mode));
        Assert.NotNull(rule.Rate.Alerts);
        Assert.Null(rule.Rate.Events);
    }

    [Fact]
    public void every_mistake_of_every_file_is_told_at_once_where_it_is()
    {
        var mistakes = RuleTexts.Mistakes(
            """
            match: frist
            rules:
              - rule: a
                on: write_ctlreg
                whne: true
                priority: hgih
              - rule: b
                on: cpuid
                when: laef == 1
                do: [deny]
              - on: cpuid
            """,
            """
            rule: []
            rules:
              - rule: c
                on: [cpuid, cpuid]
                enabled: maybe
              - rule: c
                on: cpuid
            """);
        Assert.Equal(
            [
                "1.yaml:1:8: error: 'frist' is none of all, first; did you mean 'first'?",
                "1.yaml:5:5: error: a rule has no 'whne'",
                "1.yaml:11:5: error: a rule without a name",
                "2.yaml:1:1: error: 'rule' is not known in a rule file",
                "2.yaml:6:11: error: rule 'c' is there already, in line 3",
                "1.yaml:4:9: error: 'write_ctlreg' is no event",
                "1.yaml:6:15: error: 'hgih' is none of emergency",
                "1.yaml:9:11: error: ",
                "1.yaml:10:10: error: 'deny' on cpuid: its results are there already",
                "2.yaml:4:17: error: 'cpuid' is there already",
                "2.yaml:5:14: error: 'maybe' is neither true nor false",
            ],
            mistakes.Select((mistake, i) => mistake.ToString()),
            (expected, actual) => actual!.StartsWith(expected!, StringComparison.Ordinal));
        Assert.Equal("when", mistakes[1].Suggestion);
        Assert.Equal("write_ctrlreg", mistakes[5].Suggestion);
        Assert.Equal("leaf", mistakes[7].Suggestion);
    }

    [Theory]
    [InlineData("rule: 'a b'", "is no name of a rule")]
    [InlineData("rule: null", "nothing is no name of a rule")]
    [InlineData("desc: no name", "a rule without a name")]
    [InlineData("rule: first", "rule 'first' is there already")]
    [InlineData("rule: late\n    override: { whne: replace, do: repalce }", "there is no rule 'late' before this")]
    [InlineData("rule: '-'\n    override: { whne: replace, do: repalce }", "is no name of a rule")]
    public void a_rule_with_a_bad_name_has_its_other_mistakes_told_in_the_same_run(string name, string why)
    {
        var mistakes = RuleTexts.Mistakes($"""
            rules:
              - rule: first
                on: cpuid
              - {name}
                on: [cpuid, cpiud]
                when: laef == 1
                do: dney
                exceptions:
                  - name: 'e e'
                    when: laef == 2
                  - when: laef ==
                  - name: none
                tags: [kernel, 'a b']
                mdoe: observe
              - rule: last
                on: cpuid
                priority: hgih
            """);
        var told = mistakes.Select(mistake => mistake.Message).ToList();
        string[] expected =
        [
            why, "a rule has no 'mdoe'", "'cpiud' is no event", "'dney' is no verdict", "'e e' is no name of an exception", "an exception without a name",
            "exception 'none' has no 'when'", "'a b' is no name of a tag", "'hgih' is none of emergency",
        ];
        Assert.All(expected, message => Assert.Contains(told, text => text.Contains(message, StringComparison.Ordinal)));
        if (name.Contains("override", StringComparison.Ordinal))
        {
            Assert.Contains(told, text => text.Contains("'whne' is overridden and is not here", StringComparison.Ordinal));
            Assert.Contains(told, text => text.Contains("'repalce' is no way to override", StringComparison.Ordinal));
        }

        // The conditions, of which each has its own mistake.
        var lines = mistakes.Where(mistake => mistake.Message.Contains("laef", StringComparison.Ordinal) || mistake.Span.Text.LineAt(mistake.Span.Text.PositionOf(mistake.Span.Start).Line).Contains("laef ==", StringComparison.Ordinal))
            .Select(mistake => mistake.Span.Text.PositionOf(mistake.Span.Start).Line).Distinct().Count();
        Assert.Equal(3, lines);
        Assert.All(mistakes, mistake => Assert.DoesNotContain("''", mistake.Message, StringComparison.Ordinal));
    }

    [Fact]
    public void what_has_a_bad_name_is_no_rule_and_nothing_else_is_told_of_it()
    {
        foreach (var text in new[] { "{ rule: 'a b', on: cpuid, when: leaf == 1, exceptions: [ { name: e, when: cpl == 3 } ] }", "{ on: cpuid }", "{ rule: a, on: cpuid }, { rule: a, on: cpuid }", "{ rule: a, override: append, tags: [x], exceptions: [ { name: e, when: cpl == 3 } ] }" })
        {
            Assert.Single(RuleTexts.Mistakes($"rules: [ {text} ]"));
        }

        var diagnostics = new DiagnosticBag();
        Assert.Equal(["b"], RuleFileLoader.Load([new SourceText("a.yaml", "rules: [ { rule: 'a b', on: cpuid }, { on: cpuid }, { rule: b, on: cpuid }, { rule: b, on: interrupt } ]")], diagnostics).Names);
    }

    [Theory]
    [InlineData("on: cpiud, when: leaf ==", 2)]
    [InlineData("on: {}, when: true", 1)]
    [InlineData("on: [ {} ], exceptions: [ { name: e, when: '(' } ]", 2)]
    public void a_rule_on_no_event_that_is_known_has_its_other_mistakes_told(string keys, int count) =>
        Assert.Equal(count, RuleTexts.Mistakes($"rules: [ {{ rule: a, {keys} }} ]").Select(mistake => mistake.Span.Start).Distinct().Count());

    [Fact]
    public void what_stands_behind_a_bad_name_of_a_macro_is_read_all_the_same() =>
        Assert.Equal(2, RuleTexts.Mistakes("macros: { 1: cpl == }").Select(mistake => mistake.Span.Start).Distinct().Count());

    [Theory]
    [InlineData("when: >-\n      leaf == 1\n      and laef == 2", 6, 11)]
    [InlineData("when: |\n      leaf == 1\n        and laef == 2", 6, 13)]
    [InlineData("when: leaf == 1\n      and laef == 2", 5, 11)]
    [InlineData("when: \"leaf == 1 \\\n      and laef == 2\"", 5, 11)]
    [InlineData("when: \"leaf == 1\\tand laef == 2\"", 4, 27)]
    [InlineData("when: 'domain_name == ''x'' and laef == 2'", 4, 37)]
    public void a_mistake_in_a_condition_is_shown_where_it_was_written(string when, int line, int column)
    {
        var mistake = Assert.Single(RuleTexts.Mistakes($"rules:\n  - rule: a\n    on: cpuid\n    {when}\n"));
        Assert.Equal("leaf", mistake.Suggestion);
        Assert.Equal((line, column), mistake.Span.Text.PositionOf(mistake.Span.Start));
        Assert.Equal("laef", mistake.Span.Characters.ToString());
    }

    [Fact]
    public void a_caret_stands_under_the_mistake()
    {
        var mistake = Assert.Single(RuleTexts.Mistakes("rules:\n  - rule: a\n    on: cpiud\n"));
        Assert.Equal("    on: cpiud\n        ^^^^^".ReplaceLineEndings("\n"), string.Join('\n', mistake.Render().Split('\n').Skip(1).Select(l => l[2..])));
    }

    [Theory]
    [InlineData("rules: [", "this is no YAML")]
    [InlineData("rules:\n\t- rule: a", "this is no YAML")]
    [InlineData("- rule: a", "a rule file begins with keys")]
    [InlineData("just text", "a rule file begins with keys")]
    [InlineData("rules: { rule: a }", "the rules are a list")]
    [InlineData("rules: [ a ]", "a value stands here where a rule")]
    [InlineData("rules: []\nrules: []", "'rules' is there already")]
    [InlineData("rules: []\n---\nrules: []", "a second document")]
    [InlineData("rules: &x []", "an anchor")]
    [InlineData("lists: { a: *x }", "an alias")]
    [InlineData("rules: [ { rule: 'a b', on: cpuid } ]", "is no name of a rule")]
    [InlineData("rules: [ { rule: a } ]", "is on no event")]
    [InlineData("rules: [ { rule: a, on: [] } ]", "is on no event")]
    [InlineData("rules: [ { rule: a, on: mov_to_msr } ]", "does not say which MSRs")]
    [InlineData("rules: [ { rule: a, on: mov_to_msr, when: msr == 0x4000 } ]", "of which the hypervisor cannot tell")]
    [InlineData("rules: [ { rule: a, on: mem_access } ]", "does not say which pages")]
    [InlineData("rules: [ { rule: a, on: { cpuid: { sync: true } } } ]", "'sync' is not known of cpuid")]
    [InlineData("rules: [ { rule: a, on: { mem_access: { pages: [5..2] } } } ]", "is no range")]
    [InlineData("rules: [ { rule: a, on: { mem_access: { pages: [1], access: q } } } ]", "is no access")]
    [InlineData("rules: [ { rule: a, on: cpuid, rate: fast } ]", "is no rate")]
    [InlineData("rules: [ { rule: a, on: cpuid, rate: { cool_down: 5s } } ]", "follows too many events")]
    [InlineData("rules: [ { rule: a, on: cpuid, after: later } ]", "is neither a time")]
    [InlineData("rules: [ { rule: a, on: cpuid, exceptions: [ { name: x } ] } ]", "has no 'when'")]
    [InlineData("rules: [ { rule: a, on: cpuid, exceptions: [ { when: true } ] } ]", "an exception without a name")]
    [InlineData("rules: [ { rule: a, on: cpuid, override: replace } ]", "there is no rule 'a' before this")]
    public void what_cannot_be_meant_is_refused(string text, string why)
    {
        var mistakes = RuleTexts.Mistakes(text);
        Assert.Contains(mistakes, mistake => mistake.Message.Contains(why, StringComparison.Ordinal) && mistake.Severity == DiagnosticSeverity.Error);
    }

    [Fact]
    public void lists_and_macros_serve_every_file_and_a_later_one_counts()
    {
        var set = RuleTexts.Load(
            "lists: { mine: [LSTAR] }\nmacros: { moved: old != new }\nrules: [ { rule: a, on: mov_to_msr, when: msr in $mine and moved } ]",
            "lists: { mine: { append: [STAR] }, other: [1] }");
        var facts = Assert.Single(set.Rules).FactsFor(VmEventReason.MovToMsr)!;
        Assert.Equal([0xc0000081UL, 0xc0000082UL], facts.Msrs.Numbers());
        Assert.Equal(ulong.MaxValue, facts.ChangedBits);

        set = RuleTexts.Load(
            "lists: { mine: [LSTAR] }\nrules: [ { rule: a, on: mov_to_msr, when: msr in $mine } ]",
            "lists: { mine: [CSTAR] }");
        Assert.Equal([0xc0000083UL], Assert.Single(set.Rules).FactsFor(VmEventReason.MovToMsr)!.Msrs.Numbers());
    }

    [Fact]
    public void a_later_file_overrides_single_keys_or_all_of_a_rule()
    {
        var rule = RuleTexts.Only(Smep, "rules: [ { rule: smep, override: { enabled: replace, tags: append, when: append }, enabled: false, tags: [mine], when: cpl == 0 } ]");
        Assert.False(rule.IsEnabled);
        Assert.Equal(["kernel", "cpu", "mine"], rule.Tags);
        Assert.Equal(2, rule.When.Count);
        Assert.Equal("deny, alert", rule.Verdict.ToString());

        rule = RuleTexts.Only(Smep, "rules: [ { rule: smep, on: cpuid } ]");
        Assert.Equal(VmEventReason.Cpuid, Assert.Single(rule.On).Reason);
        Assert.Empty(rule.When);

        var set = RuleTexts.Load("rules: [ { rule: a, on: cpuid }, { rule: b, on: cpuid } ]", "rules: [ { rule: c, on: cpuid }, { rule: a, on: interrupt }, { rule: b, override: replace, enabled: false } ]");
        Assert.Equal(["a", "c"], set.Names);
    }

    [Theory]
    [InlineData("override: { priority: append }, priority: debug", "nothing can be appended to 'priority'")]
    [InlineData("override: { tags: append }, tags: [a], priority: debug", "does not say what becomes of 'priority'")]
    [InlineData("override: { tags: append, desc: replace }, tags: [a]", "'desc' is overridden and is not here")]
    [InlineData("override: merge, tags: [a]", "is no way to override")]
    [InlineData("override: replace, priority: lowest", "is none of emergency")]
    public void an_override_that_is_unclear_is_refused(string keys, string why)
    {
        var mistakes = RuleTexts.Mistakes(Smep, $"rules: [ {{ rule: smep, {keys} }} ]");
        Assert.Contains(mistakes, mistake => mistake.Message.Contains(why, StringComparison.Ordinal) && mistake.Span.Text.Name == "2.yaml");
    }

    [Fact]
    public void a_folder_is_read_in_the_order_of_its_names_without_tests_and_hidden_files()
    {
        var folder = Directory.CreateTempSubdirectory("introspect-rules-").FullName;
        try
        {
            foreach (var (name, rule) in new[] { ("20-b.yaml", "b"), ("10-a.yml", "a"), ("30-c.test.yaml", "c"), (".40-d.yaml", "d"), ("notes.txt", "e") })
            {
                File.WriteAllText(Path.Combine(folder, name), $"rules: [ {{ rule: {rule}, on: cpuid }} ]");
            }

            var diagnostics = new DiagnosticBag();
            Assert.Equal(["a", "b"], RuleFileLoader.Load([folder], diagnostics).Names);
            Assert.Empty(diagnostics.All);
            Assert.Empty(RuleFileLoader.Load([Path.Combine(folder, "none.yaml")], diagnostics).Rules);
            Assert.Contains("there is no such file", Assert.Single(diagnostics.All).Message, StringComparison.Ordinal);
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    [Fact]
    public void a_file_nested_without_end_is_refused_and_not_followed()
    {
        var deep = string.Concat(Enumerable.Repeat("[", 2000)) + string.Concat(Enumerable.Repeat("]", 2000));
        Assert.Contains(RuleTexts.Mistakes($"rules: {deep}"), mistake => mistake.Message.Contains("nested deeper", StringComparison.Ordinal) || mistake.Message.Contains("no YAML", StringComparison.Ordinal));
    }
}
