using System.Globalization;
using Introspect.Hypervisor;
using Introspect.Rules.Files;
using Introspect.Rules.Language;

namespace Introspect.Rules.Testing;

/// <summary>One test of a file.</summary>
internal sealed record RuleTest(string Name, SourceSpan Place, IRuleTestEvents Events)
{
    /// <summary>Guest-physical memory that there is.</summary>
    public IReadOnlyList<(ulong Address, byte[] Bytes)> Memory { get; init; } = [];
}

/// <summary>A test file: the rules, the domain that they are on, and the tests.</summary>
internal sealed class RuleTestFile
{
    private readonly SourceText _text;
    private readonly RuleValues _values;
    private readonly List<RuleTest> _tests = [];
    private readonly List<string> _rules = [];

    private RuleTestFile(SourceText text, DiagnosticBag diagnostics) => (_text, _values) = (text, new(diagnostics));

    /// <summary>The rule files and folders, relative to the test file resolved.</summary>
    public IReadOnlyList<string> Rules => _rules;

    /// <summary>The tests.</summary>
    public IReadOnlyList<RuleTest> Tests => _tests;

    /// <summary>The domain.</summary>
    public DomainInfo Domain { get; private set; } = new(new(1), "test", Guid.Empty, CpuVendor.Vmx, 1, new(0xfffff), 1UL << 32, DomainState.Running, 0);

    /// <summary>The name of the file.</summary>
    public string Name => _text.Name;

    /// <summary>Reads a file; every mistake is told.</summary>
    public static RuleTestFile Read(SourceText text, DiagnosticBag diagnostics)
    {
        var file = new RuleTestFile(text, diagnostics);
        if (YamlTreeReader.Read(text, diagnostics) is { } root && file._values.TryMapping(root, "'rules:' and 'tests:'", out var mapping))
        {
            file.ReadRoot(mapping);
        }
        else if (!diagnostics.HasErrors)
        {
            diagnostics.Error(text.Span(0, 0), "there is no test in the file; write 'rules:' and 'tests:'");
        }

        return file;
    }

    private void ReadRoot(MappingNode root)
    {
        _values.RefuseOthers(root, "in a test file", "rules", "domain", "tests");
        foreach (var path in root["rules"] is { } rules ? _values.Scalars(rules, "a rule file") : [])
        {
            _rules.Add(Path.Combine(Path.GetDirectoryName(_text.Name) ?? "", path.Text));
        }

        if (_rules.Count == 0)
        {
            _values.Error(root.Span, "the test names no rules; write 'rules: [FILE]', relative to the test file");
        }

        if (root["domain"] is { } domain && _values.TryMapping(domain, "'name', 'id', 'vcpus' and 'vendor'", out var about))
        {
            ReadDomain(about);
        }

        foreach (var item in root["tests"] is { } tests ? RuleValues.Items(tests) : [])
        {
            if (_values.TryMapping(item, "a test ('- test: NAME')", out var test))
            {
                ReadTest(test);
            }
        }

        if (root["tests"] is null)
        {
            _values.Error(root.Span, "there is no test; write 'tests:' and below it '- test: NAME'");
        }
    }

    private void ReadDomain(MappingNode about)
    {
        _values.RefuseOthers(about, "of the domain", "name", "id", "vcpus", "vendor");
        if (about["name"] is { } name && _values.TryScalar(name, "the domain's name", out var text))
        {
            Domain = Domain with { Name = text.Text };
        }

        if (about["id"] is { } id && _values.TryNumber(id, "domain's number", 0, DomainId.FirstReserved - 1, out var number))
        {
            Domain = Domain with { Id = new((ushort)number) };
        }

        if (about["vcpus"] is { } vcpus && _values.TryNumber(vcpus, "number of vCPUs", 1, 512, out var count))
        {
            Domain = Domain with { VcpuCount = (int)count };
        }

        if (about["vendor"] is { } vendor)
        {
            Domain = Domain with { Vendor = _values.Choice(vendor, CpuVendor.Vmx) };
        }
    }

    private void ReadTest(MappingNode node)
    {
        _values.RefuseOthers(node, "of a test", "test", "memory", "events", "capture", "expect");
        // A test without a name is looked at all the same, so that its other mistakes are told at once.
        var (name, place) = ReadTestName(node);
        if (name.Length > 0 && _tests.Exists(test => test.Name == name))
        {
            _values.Error(place, $"test '{name}' is there already; give each its own name");
        }

        if (node["capture"] is { } capture)
        {
            // A capture brings its domain, its memory and its events along.
            foreach (var other in node.Entries.Where(entry => entry.Key.Text is "events" or "memory"))
            {
                _values.Error(other.Key.Span, $"the test has a capture, which has its own {other.Key.Text}; remove one of the two");
            }

            _tests.Add(new(name, place, new CaptureTestReader(_values, Path.GetDirectoryName(_text.Name) ?? "").Read(capture, node["expect"])));
            return;
        }

        if (node["expect"] is { } expect)
        {
            _values.Error(expect.Span, "'expect' of a whole test is for captures; write it below each event, or name a 'capture'");
        }

        var events = new List<RuleTestEvent>();
        foreach (var item in node["events"] is { } list ? RuleValues.Items(list) : [])
        {
            if (_values.TryMapping(item, "an event", out var mapping) && new EventReader(_values).TryRead(mapping, out var request))
            {
                if (request.VcpuId >= (uint)Domain.VcpuCount)
                {
                    _values.Error(mapping["vcpu"]!.Span, string.Create(CultureInfo.InvariantCulture, $"the domain has {Domain.VcpuCount} vCPUs; write 'vcpus:' in 'domain:'"));
                }

                events.Add(new(request, mapping["wait"] is { } wait ? _values.Duration(wait, TimeSpan.Zero) : TimeSpan.Zero, ReadExpectation(mapping["expect"]), mapping.Span));
            }
        }

        if (node["events"] is null)
        {
            _values.Error(place, $"{(name.Length > 0 ? $"test '{name}'" : "the test")} has no event; write 'events:' or 'capture: FILE'");
        }

        _tests.Add(new(name, place, new WrittenEvents(events)) { Memory = node["memory"] is { } memory ? ReadMemory(memory) : [] });
    }

    private (string Name, SourceSpan Place) ReadTestName(MappingNode test)
    {
        if (test["test"] is { } node && _values.TryScalar(node, "the test's name", out var name))
        {
            return (name.Text, name.Span);
        }

        _values.Error(test.Span, "a test without a name; write 'test: what it is about' first");
        return ("", test.Span);
    }

    private List<(ulong Address, byte[] Bytes)> ReadMemory(RuleNode node)
    {
        var memory = new List<(ulong Address, byte[] Bytes)>();
        foreach (var (key, value) in _values.TryMapping(node, "addresses with their bytes ('0x1000: 90 c3')", out var mapping) ? mapping.Entries : [])
        {
            var hex = (value as ScalarNode)?.Text.Replace(" ", "", StringComparison.Ordinal) ?? "?";
            if (!RuleValues.TryNumber(key.Text, out var address))
            {
                _values.Error(key.Span, $"{RuleValues.Shown(key)} is no guest-physical address; write 0x1000");
            }
            else if (hex.Length == 0 || hex.Length % 2 != 0 || !hex.All(char.IsAsciiHexDigit))
            {
                _values.Error(value.Span, $"{RuleValues.Shown(value)} are no bytes; write two hexadecimal digits for each, as in '90 c3'");
            }
            else
            {
                memory.Add((address, Convert.FromHexString(hex)));
            }
        }

        return memory;
    }

    // What is not said must not happen: a test without expectations would pass whatever the rules do.
    private RuleTestExpectation? ReadExpectation(RuleNode? node)
    {
        switch (node)
        {
            case null or ScalarNode { Text: "nothing" }:
                return new("pass", []);
            case ScalarNode { Text: "anything" }:
                return null;
        }

        if (!_values.TryMapping(node, "'verdict' and 'alerts', 'nothing' or 'anything'", out var mapping))
        {
            return null;
        }

        _values.RefuseOthers(mapping, "of expect", "verdict", "alerts");
        var verdict = mapping["verdict"] is { } said && _values.TryScalar(said, "a verdict", out var text) ? text.Text : null;
        if (mapping["alerts"] is not { } alertNode)
        {
            return new(verdict ?? "pass", verdict is null ? [] : null);
        }

        var alerts = new List<ExpectedAlert>();
        foreach (var item in RuleValues.Items(alertNode))
        {
            if (item is MappingNode alert)
            {
                _values.RefuseOthers(alert, "of an alert", "rule", "message");
                if (alert["rule"] is { } rule && _values.TryScalar(rule, "the name of a rule", out var ruleName))
                {
                    alerts.Add(new(ruleName.Text, (alert["message"] as ScalarNode)?.Text));
                }
                else
                {
                    _values.Error(alert.Span, "the rule of the alert is missing; write 'rule: NAME'");
                }
            }
            else if (_values.TryScalar(item, "the name of a rule", out var name))
            {
                alerts.Add(new(name.Text, null));
            }
        }

        return new(verdict, alerts);
    }
}
