using Introspect.Rules.Files;
using Introspect.Rules.Language;

namespace Introspect.Rules.Tests.Files;

/// <summary>A rule that no event can match is told of, with its name, its place and why; one that can be matched never is.</summary>
public sealed class DeadRuleTests
{
    private const string Exclude = "the parts of its condition exclude each other";
    private const string Pages = "its condition is about none of the pages that are named here";
    private const string Kinds = "'access' has none of the kinds of access that its condition is about";
    private const string NoPages = "no guest has the pages that it is about";
    private const string False = "its condition is false whatever the event";

    [Theory]
    [InlineData("on: write_ctrlreg, when: register == CR4 and register == CR0", Exclude)]
    [InlineData("on: write_ctrlreg, when: set(CR4.SMEP) and cleared(CR4.SMEP)", Exclude)]
    [InlineData("on: write_ctrlreg, when: changed(CR4.SMEP) and old == new", Exclude)]
    [InlineData("on: mov_to_msr, when: msr == LSTAR and msr in 0x174..0x176", Exclude)]
    [InlineData("on: [cpuid, mov_to_msr], when: reason == interrupt", Exclude)]
    [InlineData("on: cpuid, when: vcpu == 1 and vcpu == 2 or vcpu < 0", Exclude)]
    [InlineData("on: cpuid, when: 1 == 2", False)]
    [InlineData("on: cpuid, when: false", False)]
    [InlineData("on: { mem_access: { pages: 0x10..0x1f } }, when: gfn == 0x20", Pages)]
    [InlineData("on: { mem_access: { addresses: 0x1000..0x1fff } }, when: gpa in 0x2000..0x2fff", Pages)]
    [InlineData("on: { mem_access: { pages: 1, access: rx } }, when: access == w", Kinds)]
    [InlineData("on: [ { mem_access: { pages: 1, access: r } }, cpuid ], when: access contains x", Kinds)]
    [InlineData("on: { mem_access: { pages: 0x10000000000 } }", NoPages)]
    [InlineData("on: { mem_access: { access: w } }, when: gfn >= 0x10000000000", NoPages)]
    [InlineData("on: { mem_access: { linear: 0xffffffff81000000 } }, when: gfn >= 0x10000000000", NoPages)]
    [InlineData("on: { mem_access: { written: true } }, when: gfn >= 0x10000000000", NoPages)]
    [InlineData("on: cpuid, when: false or vcpu == 1 and vcpu == 2, enabled: false", Exclude)]
    public void a_rule_that_no_event_can_match_is_a_warning(string keys, string why)
    {
        var only = Assert.Single(RuleTexts.Mistakes($"rules:\n  - {{ rule: dead, {keys} }}"));
        Assert.Equal(DiagnosticSeverity.Warning, only.Severity);
        Assert.StartsWith($"rule 'dead' can match no event: {why}", only.Message, StringComparison.Ordinal);
        Assert.Equal(2, only.Span.Text.PositionOf(only.Span.Start).Line);
        Assert.Contains("     sees: nothing: no event can match\n", RuleExplanation.Of(RuleTexts.Load($"rules: [ {{ rule: dead, {keys.Replace(", enabled: false", "", StringComparison.Ordinal)} }} ]")), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("on: write_ctrlreg, when: register == CR4 or register == CR0")]
    [InlineData("on: write_ctrlreg, when: register == CR4 and set(CR4.SMEP) and cleared(CR4.SMAP)")]
    [InlineData("on: write_ctrlreg, when: changed(CR4.SMEP | CR4.SMAP) and old & CR4.SMEP == new & CR4.SMEP")]
    [InlineData("on: [write_ctrlreg, cpuid], when: leaf == 1")]
    [InlineData("on: [ { mem_access: { pages: 1, access: x } }, cpuid ], when: known(leaf) or access == w")]
    [InlineData("on: { mem_access: { pages: 1 } }, when: access contains w and access contains x")]
    [InlineData("on: { mem_access: { pages: 0x10..0x1f } }, when: gpa == 0x10123")]
    [InlineData("on: { mem_access: { written: true } }, when: gfn in 0x10..0x1f")]
    [InlineData("on: { mem_access: { written: true } }, when: gfn >= 0x10")]
    [InlineData("on: { mem_access: { linear: 0xffffffff81000000, access: w } }, when: gla != 0xffffffff81000008")]
    [InlineData("on: { mem_access: { linear: 0xffffffff81000000, pages: 5 } }, when: gfn == 6")]
    [InlineData("on: { software_breakpoint: { at: 0x1000 } }, when: rip == 0xffffffff81000000")]
    [InlineData("on: cpuid, when: vcpu == 300 and domain == 77 and domain_name == \"x\"")]
    [InlineData("on: cpuid, when: 'u64[rsp] == 1 and u64[rsp] == 2'")]
    [InlineData("on: cpuid, when: true, exceptions: [ { name: e, when: vcpu == 1 }, { name: f, when: false } ]")]
    [InlineData("on: cpuid, when: false, enabled: false")]
    [InlineData("on: cpuid")]
    public void a_rule_that_may_be_matched_is_right(string keys) =>
        Assert.Empty(RuleTexts.Mistakes($"rules: [ {{ rule: live, {keys} }} ]"));

    [Theory]
    [InlineData("lists: { mine: [] }", "gfn in $mine")]
    [InlineData("lists: { mine: [], both: [$mine] }", "gfn in $both and gfn != 3")]
    [InlineData("lists: { mine: [], both: [7, $mine] }", "gfn in $both and gfn == 8")]
    [InlineData("lists: { mine: [] }\nmacros: { watched: gfn in $mine }", "watched and gfn < 100")]
    [InlineData("macros: { lab: false }", "lab and gfn == 3")]
    [InlineData("macros: { lab: true, field: not lab }", "field and gfn == 3")]
    public void a_rule_that_waits_for_who_fills_it_in_is_right(string before, string when)
    {
        Assert.Empty(RuleTexts.Mistakes($"{before}\nrules: [ {{ rule: waiting, on: mem_access, when: {when} }} ]"));
        Assert.Empty(RuleTexts.Mistakes($"{before}\nrules: [ {{ rule: a, on: {{ mem_access: {{ pages: 1 }} }}, exceptions: [ {{ name: e, when: {when} }} ] }} ]"));
        Assert.Empty(RuleTexts.Mistakes("rules: [ { rule: a, on: { mem_access: { pages: [] } } } ]"));
    }

    [Theory]
    [InlineData("on: cpuid, when: rip == &start")]
    [InlineData("on: cpuid, when: rip in sym(start) and vcpu == 1 and vcpu == 2")]
    [InlineData("on: { mem_access: { linear: sym(start) } }")]
    public void of_a_rule_whose_symbols_are_not_known_only_that_is_told(string keys) =>
        Assert.Contains("no symbols of the guest are known here", Assert.Single(RuleTexts.Mistakes($"rules: [ {{ rule: a, {keys} }} ]")).Message, StringComparison.Ordinal);

    [Theory]
    [InlineData("register == CR4", "register == CR0", "write_ctrlreg")]
    [InlineData("set(CR4.SMEP)", "cleared(CR4.SMEP)", "write_ctrlreg")]
    [InlineData("vcpu == 1", "vcpu == 2", "cpuid")]
    public void a_condition_that_excludes_the_one_it_is_appended_to_is_a_warning_there(string first, string second, string on)
    {
        var rule = $"rules:\n  - rule: a\n    on: {on}\n    when: {first}\n";
        var only = Assert.Single(RuleTexts.Mistakes(rule, $"rules:\n  - rule: a\n    override: append\n    when: {second}\n"));
        Assert.Equal("2.yaml:4:11: warning: rule 'a' can match no event: this condition and those before it, in 1.yaml:4:11, exclude each other", only.ToString());
        Assert.Empty(RuleTexts.Mistakes(rule, $"rules:\n  - rule: a\n    override: append\n    when: {first}\n"));
    }

    [Fact]
    public void conditions_that_are_appended_leave_what_each_alone_leaves()
    {
        // One kind each is said of the access, and it may be of both.
        var set = RuleTexts.Load(
            "rules: [ { rule: a, on: { mem_access: { pages: 1 } }, when: access contains w } ]",
            "rules: [ { rule: a, override: append, when: access contains x } ]");
        Assert.DoesNotContain("no event can match", RuleExplanation.Of(set), StringComparison.Ordinal);
    }

    [Fact]
    public void every_dead_rule_is_a_line_and_a_dead_exception_is_one()
    {
        var mistakes = RuleTexts.Mistakes("""
            rules:
              - rule: a
                on: cpuid
                when: vcpu == 1 and vcpu == 2
              - rule: b
                on: { mem_access: { pages: 7 } }
                when: gfn == 8
              - rule: c
                on: cpuid
                exceptions: [ { name: e, when: vcpu == 1 and vcpu == 2 } ]
            """);
        Assert.Equal(
            [
                $"1.yaml:4:11: warning: rule 'a' can match no event: {Exclude}",
                $"1.yaml:6:11: warning: rule 'b' can match no event: {Pages}",
                "1.yaml:10:36: warning: exception 'e' of rule 'c' is never true: its parts exclude each other",
            ],
            mistakes.Select(mistake => mistake.ToString()));
    }

    [Fact]
    public void the_starting_rules_have_no_warning_as_they_come_and_filled_in()
    {
        var folder = Repository.PathOf("deploy", "rules");
        var filled = Path.Combine(folder, "tests", "demo-lists.yaml");
        foreach (var paths in new string[][] { [folder], [folder, filled] })
        {
            var diagnostics = new DiagnosticBag();
            Assert.NotEmpty(RuleFileLoader.Load(paths, diagnostics).Rules);
            Assert.Empty(diagnostics.All);
        }
    }
}
