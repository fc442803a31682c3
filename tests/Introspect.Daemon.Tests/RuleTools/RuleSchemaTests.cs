using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using Introspect.Daemon.Tests.Output;
using Introspect.Rules.Files;
using Introspect.Rules.Language;
using Introspect.Rules.Testing;

namespace Introspect.Daemon.Tests.RuleTools;

/// <summary>The schema of rule files says of a file what the loader says of it, as far as a schema can.</summary>
public sealed partial class RuleSchemaTests
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
    [InlineData("rules: [ { rule: 4711, desc: 2026, on: cpuid, tags: [1, 2.5, true], output: 5, exceptions: [ { name: 7, when: cpl == 3 } ], do: { tag: 1055 } }, { rule: 1.5, on: cpuid, tags: 2026 } ]")]
    [InlineData("lists: { versions: [1.10, 12e3, text], one: 2.5, none: }\nmacros: { number: 5 }\nrules: [ { rule: a, on: cpuid, when: leaf == number } ]")]
    [InlineData("rules: [ { rule: a, on: descriptor_access, do: [ { step: 1_000 }, { view: '3' }, { inject: 0x_d } ], after: 1_000, rate: { alerts: 0x10/s, burst: 1_000 } } ]")]
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
    [InlineData("rules: [ { rule: null, on: cpuid } ]")]
    [InlineData("rules: [ { rule: a, on: cpuid, tags: [null] } ]")]
    [InlineData("rules: [ { rule: a, on: {} } ]")]
    [InlineData("lists: { 7: [1] }")]
    [InlineData("lists: { a: {} }")]
    [InlineData("macros: { 7: cpl == 0 }")]
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

    private static IReadOnlyList<RuleDiagnostic> TestMistakes(string test) => TestFileMistakes(TestText(test));

    private static IReadOnlyList<RuleDiagnostic> TestFileMistakes(string text)
    {
        var diagnostics = new DiagnosticBag();
        RuleTestFile.Read(new SourceText("a.test.yaml", text), diagnostics);
        return diagnostics.All;
    }

    // What can stand in a place, as text to the loader and as numbers, truths and texts to an editor.
    private static readonly string[] Scalars =
    [
        "0", "7", "'7'", "0x1f", "'0x1F'", "1_000", "-5", "1.5", "12e3", "1e10", "007", "18446744073709551615", "true", "'true'", "False", "on", "null", "''", "a", "'a b'",
        "LSTAR", "0x1000..0x1fff", "5 + 3", "3..", "60s", "5/m", "0x10/s", "5 / 10s", "90 c3", "[]", "[7]", "[1.5, a, true]", "[null]", "{}", "cpuid", "pause", "IN", "Load",
        "CR4", "w", "critical", "observe", "open", "first", "nothing",
    ];

    [Theory]
    [InlineData("match: _")]
    [InlineData("rules: _")]
    [InlineData("lists: _")]
    [InlineData("macros: _")]
    [InlineData("lists: { a: _ }")]
    [InlineData("lists: { _: 1 }")]
    [InlineData("lists: { a: 1, A: { append: _ } }", "there is no list")]
    [InlineData("macros: { a: _ }")]
    [InlineData("macros: { _: cpl == 0 }")]
    [InlineData("rules: [ { rule: _, on: cpuid } ]")]
    [InlineData("rules: [ { rule: a, on: cpuid, desc: _ } ]")]
    [InlineData("rules: [ { rule: a, on: cpuid, output: _ } ]")]
    [InlineData("rules: [ { rule: a, on: cpuid, tags: _ } ]")]
    [InlineData("rules: [ { rule: a, on: cpuid, tags: [b, _] } ]")]
    [InlineData("rules: [ { rule: a, on: cpuid, when: _ } ]")]
    [InlineData("rules: [ { rule: a, on: cpuid, exceptions: _ } ]")]
    [InlineData("rules: [ { rule: a, on: cpuid, exceptions: { name: _, when: cpl == 0 } } ]")]
    [InlineData("rules: [ { rule: a, on: cpuid, exceptions: [ { name: e, when: _ } ] } ]")]
    [InlineData("rules: [ { rule: a, on: cpuid, priority: _ } ]")]
    [InlineData("rules: [ { rule: a, on: cpuid, mode: _ } ]")]
    [InlineData("rules: [ { rule: a, on: cpuid, fail: _ } ]")]
    [InlineData("rules: [ { rule: a, on: cpuid, enabled: _ } ]")]
    [InlineData("rules: [ { rule: a, on: cpuid, after: _ } ]")]
    [InlineData("rules: [ { rule: a, on: cpuid, rate: _ } ]")]
    [InlineData("rules: [ { rule: a, on: cpuid, rate: { alerts: _ } } ]")]
    [InlineData("rules: [ { rule: a, on: cpuid, rate: { alerts: 5/m, burst: _ } } ]")]
    [InlineData("rules: [ { rule: a, on: cpuid, rate: { events: _ } } ]")]
    [InlineData("rules: [ { rule: a, on: cpuid, rate: { events: 5/s, cool_down: _ } } ]")]
    [InlineData("rules: [ { rule: a, on: _ } ]")]
    [InlineData("rules: [ { rule: a, on: { cpuid: _ } } ]")]
    [InlineData("rules: [ { rule: a, on: { cpuid: { optional: _ } } } ]")]
    [InlineData("rules: [ { rule: a, on: { vmexit: { sync: _ } } } ]")]
    [InlineData("rules: [ { rule: a, on: { mem_access: { addresses: _ } } } ]")]
    [InlineData("rules: [ { rule: a, on: { mem_access: { pages: _ } } } ]")]
    [InlineData("rules: [ { rule: a, on: { mem_access: { pages: [1, _] } } } ]")]
    [InlineData("rules: [ { rule: a, on: { mem_access: { pages: 1, linear: _ } } } ]")]
    [InlineData("rules: [ { rule: a, on: { mem_access: { linear: 0x1000, refresh: _ } } } ]")]
    [InlineData("rules: [ { rule: a, on: { mem_access: { pages: 1, access: _ } } } ]")]
    [InlineData("rules: [ { rule: a, on: { software_breakpoint: { at: _ } } } ]")]
    [InlineData("rules: [ { rule: a, on: descriptor_access, do: _ } ]")]
    [InlineData("rules: [ { rule: a, on: descriptor_access, do: [ { set: { rax: _ } } ] } ]")]
    [InlineData("rules: [ { rule: a, on: descriptor_access, do: [ { inject: _ } ] } ]")]
    [InlineData("rules: [ { rule: a, on: descriptor_access, do: [ { inject: { vector: _ } } ] } ]")]
    [InlineData("rules: [ { rule: a, on: descriptor_access, do: [ { inject: { vector: 13, error_code: _, cr2: _ } } ] } ]")]
    [InlineData("rules: [ { rule: a, on: descriptor_access, do: [ { step: _ } ] } ]")]
    [InlineData("rules: [ { rule: a, on: descriptor_access, do: [ { view: _ } ] } ]")]
    [InlineData("rules: [ { rule: a, on: descriptor_access, do: [ { tag: _ } ] } ]")]
    [InlineData("rules: [ { rule: a, on: descriptor_access, do: [ { emulate: { discard_writes: _ } } ] } ]")]
    public void whatever_the_loader_takes_in_a_place_the_schema_takes(string place, string? beside = null) =>
        AssertAgreement(_schema, place, text => [.. Mistakes(text).Where(mistake => beside is null || !mistake.Message.Contains(beside, StringComparison.Ordinal))]);

    [Theory]
    [InlineData("{ test: _, events: [] }")]
    [InlineData("{ test: t, events: _ }")]
    [InlineData("{ test: t, memory: { 0x1000: _ }, events: [] }")]
    [InlineData("{ test: t, events: { cpuid: { leaf: _ } } }")]
    [InlineData("{ test: t, events: [ { cpuid: _ } ] }")]
    [InlineData("{ test: t, events: [ { cpuid: {}, vcpu: _ } ] }")]
    [InlineData("{ test: t, events: [ { cpuid: {}, sync: _ } ] }")]
    [InlineData("{ test: t, events: [ { cpuid: {}, wait: _ } ] }")]
    [InlineData("{ test: t, events: [ { cpuid: {}, registers: { rip: _ } } ] }")]
    [InlineData("{ test: t, events: [ { cpuid: {}, expect: _ } ] }")]
    [InlineData("{ test: t, events: [ { cpuid: {}, expect: { verdict: _ } } ] }")]
    [InlineData("{ test: t, events: [ { cpuid: {}, expect: { alerts: _ } } ] }")]
    [InlineData("{ test: t, events: [ { cpuid: {}, expect: { alerts: { rule: _, message: _ } } } ] }")]
    [InlineData("{ test: t, events: [ { mov_to_msr: { msr: _ } } ] }")]
    [InlineData("{ test: t, events: [ { write_ctrlreg: { register: _ } } ] }")]
    [InlineData("{ test: t, events: [ { mem_access: { gpa: _ } } ] }")]
    [InlineData("{ test: t, events: [ { mem_access: { access: _ } } ] }")]
    [InlineData("{ test: t, events: [ { mem_access: { page_walk: _ } } ] }")]
    [InlineData("{ test: t, events: [ { io_instruction: { port: _, string: true } } ] }")]
    [InlineData("{ test: t, events: [ { io_instruction: { string: _ } } ] }")]
    [InlineData("{ test: t, events: [ { io_instruction: { direction: _ } } ] }")]
    [InlineData("{ test: t, events: [ { descriptor_access: { register: idtr, access: _ } } ] }")]
    [InlineData("{ test: t, capture: CAPTURE, expect: _ }")]
    [InlineData("{ test: t, capture: CAPTURE, expect: [ _ ] }")]
    [InlineData("{ test: t, capture: CAPTURE, expect: { rule: _ } }")]
    [InlineData("{ test: t, capture: CAPTURE, expect: { rule: a, matches: _, events: _ } }")]
    [InlineData("{ test: t, capture: CAPTURE, expect: { rule: a, verdict: _ } }")]
    public void whatever_the_reader_of_tests_takes_in_a_place_the_schema_takes(string place) =>
        AssertAgreement(_tests, TestText(place), TestFileMistakes);

    [Theory]
    [InlineData("rules: _\ntests: []")]
    [InlineData("rules: [_]\ntests: []")]
    [InlineData("rules: a\ntests: _")]
    [InlineData("rules: a\ndomain: { name: _ }\ntests: []")]
    [InlineData("rules: a\ndomain: { id: _ }\ntests: []")]
    [InlineData("rules: a\ndomain: { vcpus: _ }\ntests: []")]
    public void whatever_the_reader_takes_of_a_test_file_the_schema_takes(string place) => AssertAgreement(_tests, place, TestFileMistakes);

    private static void AssertAgreement(SchemaChecker schema, string place, Func<string, IReadOnlyList<RuleDiagnostic>> mistakes)
    {
        var texts = Scalars.Select(scalar => place.Replace(" _", " " + scalar, StringComparison.Ordinal).Replace("[_", "[" + scalar, StringComparison.Ordinal));
        var taken = texts.Where(text => mistakes(text).Count == 0).ToList();
        Assert.NotEmpty(taken);
        Assert.All(taken, text => Assert.True(schema.Check(ToJson(text)) is [], $"{text}: {string.Join("; ", schema.Check(ToJson(text)))}"));
    }

    // As editors read YAML (the core schema of YAML 1.2): plain numbers, truths and nothing have types of their own.
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
        ScalarNode { IsPlain: true, Text: "true" or "True" or "TRUE" } => JsonValue.Create(true),
        ScalarNode { IsPlain: true, Text: "false" or "False" or "FALSE" } => JsonValue.Create(false),
        ScalarNode { IsPlain: true } scalar when Number().IsMatch(scalar.Text) => NumberOf(scalar.Text),
        ScalarNode scalar => JsonValue.Create(scalar.Text),
        _ => null,
    };

    private static JsonValue NumberOf(string text)
    {
        if (text.StartsWith("0x", StringComparison.Ordinal))
        {
            return JsonValue.Create(ulong.Parse(text.AsSpan(2), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture));
        }

        return long.TryParse(text, CultureInfo.InvariantCulture, out var whole) ? JsonValue.Create(whole)
            : ulong.TryParse(text, CultureInfo.InvariantCulture, out var large) ? JsonValue.Create(large)
            : JsonValue.Create(double.Parse(text, CultureInfo.InvariantCulture));
    }

    [GeneratedRegex(@"^([-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|0x[0-9a-fA-F]+)$")]
    private static partial Regex Number();
}
