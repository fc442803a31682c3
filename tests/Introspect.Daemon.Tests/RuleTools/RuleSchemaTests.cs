using System.Text.Json;
using System.Text.Json.Nodes;
using Introspect.Daemon.Tests.Output;
using Introspect.Rules.Files;
using Introspect.Rules.Language;
using Introspect.Rules.Testing;

namespace Introspect.Daemon.Tests.RuleTools;

/// <summary>The schema of rule files says of a file what the loader says of it, as far as a schema can.</summary>
public sealed class RuleSchemaTests
{
    private readonly SchemaChecker _schema = new(File.ReadAllText(Repository.PathOf("docs", "rules.schema.json")));

    private readonly SchemaChecker _tests = new(File.ReadAllText(Repository.PathOf("docs", "rules-test.schema.json")));

    public static TheoryData<string> Shipped =>
        [.. Directory.EnumerateFiles(Repository.PathOf("deploy", "rules"), "*.yaml").Select(file => Path.GetFileName(file) ?? "").Where(name => !name.EndsWith(".test.yaml", StringComparison.Ordinal)).Order()];

    [Theory]
    [MemberData(nameof(Shipped))]
    public void the_starting_rules_are_within_the_schema(string file) =>
        Assert.Empty(_schema.Check(ToJson(File.ReadAllText(Repository.PathOf("deploy", "rules", file)))));

    [Theory]
    [InlineData("match: first\nlists: { a: [0x10..0x1f, LSTAR], b: [] }\nmacros: { m: cpl == 0 }\nrules: []")]
    [InlineData("rules: [ { rule: a, on: [ cpuid, { mem_access: { addresses: [0x1000..0x1fff, 0x3000+0x1000], pages: 5, access: rw, page_table_walks: false, optional: true } } ], when: true } ]")]
    [InlineData("rules: [ { rule: a, on: { software_breakpoint: { at: [0x1000, 4096] } }, do: [ { set: { rax: 0, RBX: rcx } }, { inject: { vector: 13, error_code: 0 } }, { step: 4 }, { view: 1 }, pause, { tag: [x] } ] } ]")]
    [InlineData("rules: [ { rule: a, on: descriptor_access, do: { emulate: { discard_writes: true } }, rate: { alerts: 5/m, burst: 3, events: 100/10s, cool_down: 5s }, after: 3, fail: open, mode: observe, enabled: false, tags: x, priority: info, exceptions: [ { name: e, when: cpl == 3 } ], desc: d, output: o } ]")]
    [InlineData("rules: [ { rule: a, on: { mem_access: { linear: [0x1000..0x1fff, 0x2000 + 0x10, 4096], refresh: 30s } } }, { rule: b, on: { mem_access: { linear: 0x1000 } } } ]")]
    [InlineData("rules: [ { rule: a, on: cpuid, rate: 'off', after: 60s }, { rule: b, on: cpuid, rate: 10/s } ]")]
    [InlineData("rules: [ { rule: a, on: { guest_request: { sync: yes, userspace: off } }, enabled: on, exceptions: { name: e, when: cpl == 3 } } ]")]
    public void what_the_loader_takes_the_schema_takes(string text)
    {
        Assert.Empty(Mistakes(text));
        Assert.Empty(_schema.Check(ToJson(text)));
    }

    [Theory]
    [InlineData("rule: []")]
    [InlineData("match: some")]
    [InlineData("rules: [ { on: cpuid } ]")]
    [InlineData("rules: [ { rule: 'a b', on: cpuid } ]")]
    [InlineData("rules: [ { rule: a, on: cpu } ]")]
    [InlineData("rules: [ { rule: a, desc: on nothing } ]")]
    [InlineData("rules: [ { rule: a, on: { cpuid: { sync: true } } } ]")]
    [InlineData("rules: [ { rule: a, on: { mem_access: { linear: here } } } ]")]
    [InlineData("rules: [ { rule: a, on: { mem_access: { linear: sym() } } } ]")]
    [InlineData("rules: [ { rule: a, on: cpuid, do: dney } ]")]
    [InlineData("rules: [ { rule: a, on: cpuid, do: { step: 0 } } ]")]
    [InlineData("rules: [ { rule: a, on: cpuid, do: { set: { xmm0: 0 } } } ]")]
    [InlineData("rules: [ { rule: a, on: cpuid, priority: high } ]")]
    [InlineData("rules: [ { rule: a, on: cpuid, rate: fast } ]")]
    [InlineData("rules: [ { rule: a, on: cpuid, condition: x } ]")]
    [InlineData("rules: [ { rule: a, on: cpuid, exceptions: [ { when: true } ] } ]")]
    public void what_the_schema_refuses_the_loader_refuses(string text)
    {
        Assert.NotEmpty(Mistakes(text));
        Assert.NotEmpty(_schema.Check(ToJson(text)));
    }

    [Fact]
    public void a_list_of_an_earlier_file_can_be_appended_to() =>
        Assert.Empty(_schema.Check(ToJson("lists: { a: { append: [1, LSTAR] } }")));

    [Fact]
    public void every_key_of_a_rule_is_in_the_schema()
    {
        using var schema = JsonDocument.Parse(File.ReadAllText(Repository.PathOf("docs", "rules.schema.json")));
        var keys = schema.RootElement.GetProperty("$defs").GetProperty("rule").GetProperty("properties").EnumerateObject().Select(p => p.Name);
        Assert.Equal(RuleReader.Keys.Order(), keys.Order());
        var manual = File.ReadAllText(Repository.PathOf("docs", "rules.md"));
        Assert.All(RuleReader.Keys, key => Assert.Contains($"| `{key}` |", manual, StringComparison.Ordinal));
        Assert.All(OnReader.KnownNames, name => Assert.Contains($"`{name}`", manual, StringComparison.Ordinal));
        Assert.All(Enum.GetValues<VerdictKind>(), kind => Assert.Contains($"| `{RuleValues.NameOf(kind)}", manual, StringComparison.Ordinal));
    }

    private static IReadOnlyList<RuleDiagnostic> Mistakes(string text)
    {
        var diagnostics = new DiagnosticBag();
        RuleFileLoader.Load([new SourceText("a.yaml", text)], diagnostics);
        return [.. diagnostics.All.Where(d => d.Severity == DiagnosticSeverity.Error)];
    }

    public static TheoryData<string> ShippedTests => [.. Directory.EnumerateFiles(Repository.PathOf("deploy", "rules"), "*.test.yaml").Select(file => Path.GetFileName(file) ?? "").Order()];

    [Theory]
    [MemberData(nameof(ShippedTests))]
    public void the_shipped_tests_are_within_the_schema_of_tests(string file) =>
        Assert.Empty(_tests.Check(ToJson(File.ReadAllText(Repository.PathOf("deploy", "rules", file)))));

    [Theory]
    [InlineData("{ test: t, events: [ { cpuid: { leaf: 1 }, vcpu: 0, sync: true, wait: 5s, registers: { rip: 0x1000 }, expect: anything }, { guest_request: null } ] }")]
    [InlineData("{ test: t, memory: { 0x1000: 90 c3 }, events: [ { write_ctrlreg: { register: CR4, old: CR4.PAE | 1 }, expect: { verdict: deny, alerts: [ a, { rule: b, message: m } ] } } ] }")]
    [InlineData("{ test: t, capture: CAPTURE, expect: [ a, { rule: a, matches: 1.., events: 0x10..20, verdict: pass } ] }")]
    [InlineData("{ test: t, capture: CAPTURE, expect: nothing }")]
    [InlineData("{ test: t, capture: CAPTURE }")]
    public void what_the_reader_of_tests_takes_the_schema_takes(string test)
    {
        Assert.Empty(TestMistakes(test));
        Assert.Empty(_tests.Check(ToJson(TestText(test))));
    }

    [Theory]
    [InlineData("{ events: [] }")]
    [InlineData("{ test: t }")]
    [InlineData("{ test: t, events: [ { cpuid: { laef: 1 } } ] }")]
    [InlineData("{ test: t, events: [ { write_ctrlreg: { register: cr5 } } ] }")]
    [InlineData("{ test: t, events: [ { cpuid: {}, expect: { verdcit: deny } } ] }")]
    [InlineData("{ test: t, events: [ { cpuid: {} } ], expect: nothing }")]
    [InlineData("{ test: t, capture: CAPTURE, events: [] }")]
    [InlineData("{ test: t, capture: CAPTURE, expect: [ { matches: 1 } ] }")]
    [InlineData("{ test: t, capture: CAPTURE, expect: [ { rule: a, matches: many } ] }")]
    [InlineData("{ test: t, capture: CAPTURE, expect: [ { rule: a, count: 1 } ] }")]
    public void what_the_schema_of_tests_refuses_their_reader_refuses(string test)
    {
        Assert.NotEmpty(TestMistakes(test));
        Assert.NotEmpty(_tests.Check(ToJson(TestText(test))));
    }

    private static string TestText(string test) =>
        "rules: [a.yaml]\ntests:\n  - " + test.Replace("CAPTURE", Repository.PathOf("deploy", "rules", "tests", "demo.ivc"), StringComparison.Ordinal) + "\n";

    private static IReadOnlyList<RuleDiagnostic> TestMistakes(string test)
    {
        var diagnostics = new DiagnosticBag();
        RuleTestFile.Read(new SourceText("a.test.yaml", TestText(test)), diagnostics);
        return diagnostics.All;
    }

    // As editors read YAML: plain numbers, truths and nothing have types of their own.
    private static string ToJson(string yaml)
    {
        var diagnostics = new DiagnosticBag();
        var root = YamlTreeReader.Read(new("a.yaml", yaml), diagnostics);
        Assert.Empty(diagnostics.All);
        return Convert(root!)?.ToJsonString() ?? "null";
    }

    private static JsonNode? Convert(RuleNode node) => node switch
    {
        MappingNode mapping => new JsonObject(mapping.Entries.Select(entry => KeyValuePair.Create(entry.Key.Text, Convert(entry.Value)))),
        SequenceNode sequence => new JsonArray([.. sequence.Items.Select(Convert)]),
        ScalarNode { IsPlain: true, IsEmpty: true } => null,
        ScalarNode { IsPlain: true, Text: "true" or "false" } scalar => JsonValue.Create(scalar.Text == "true"),
        ScalarNode { IsPlain: true } scalar when RuleValues.TryNumber(scalar.Text, out var number) && !scalar.Text.Contains('_', StringComparison.Ordinal) && number <= long.MaxValue => JsonValue.Create((long)number),
        ScalarNode scalar => JsonValue.Create(scalar.Text),
        _ => null,
    };
}
