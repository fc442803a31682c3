using Introspect.Rules.Language;
using Introspect.Rules.Names;

namespace Introspect.Rules.Files;

/// <summary>
/// Puts what files say into one set: a later file adds rules, replaces lists, macros and rules by name, or changes single
/// keys of a rule with <c>override</c>.
/// </summary>
internal sealed class RuleSetBuilder
{
    private static readonly string[] FileKeys = ["match", "lists", "macros", "rules"];
    private static readonly string[] AppendableKeys = ["when", "exceptions", "tags"];

    private readonly RuleValues _values;
    private readonly RuleReader _reader;
    private readonly List<Draft> _rules = [];
    private readonly Dictionary<string, (ScalarNode Name, IReadOnlyList<SourceFragment> Items)> _lists = new(StringComparer.Ordinal);
    private readonly Dictionary<string, (ScalarNode Name, SourceFragment Body)> _macros = new(StringComparer.Ordinal);
    private readonly List<SourceText> _files = [];
    private RuleMatching _matching;

    private readonly ISymbolResolver? _symbols;

    public RuleSetBuilder(DiagnosticBag diagnostics, ISymbolResolver? symbols = null)
    {
        _symbols = symbols;
        _values = new(diagnostics);
        _reader = new(_values);
    }

    /// <summary>Adds what a file says; every mistake in it is told.</summary>
    public void Add(SourceText file)
    {
        _files.Add(file);
        var root = YamlTreeReader.Read(file, _values.Diagnostics);
        if (root is null)
        {
            return;
        }

        if (root is not MappingNode mapping)
        {
            _values.Error(root.Span, "a rule file begins with keys; write 'rules:' and the rules below it, each with a dash");
            return;
        }

        _values.RefuseOthers(mapping, "in a rule file", FileKeys);
        foreach (var (key, value) in mapping.Entries)
        {
            switch (key.Text)
            {
                case "match":
                    _matching = _values.Choice(value, RuleMatching.All);
                    break;
                case "lists" when value is not ScalarNode { IsEmpty: true } && _values.TryMapping(value, "names with their lists", out var lists):
                    AddLists(lists);
                    break;
                case "macros" when value is not ScalarNode { IsEmpty: true } && _values.TryMapping(value, "names with their expressions", out var macros):
                    AddMacros(macros);
                    break;
                case "rules":
                    AddRules(file, value);
                    break;
            }
        }
    }

    /// <summary>Compiles the set. Where there were errors, what can be compiled is, so that all are told.</summary>
    public RuleSet Build()
    {
        var scope = new ExpressionScope { Symbols = _symbols };
        foreach (var (name, list) in _lists)
        {
            scope.AddList(name, list.Name.Span, list.Items, _values.Diagnostics);
        }

        foreach (var (name, macro) in _macros)
        {
            scope.AddMacro(name, macro.Name.Span, macro.Body, _values.Diagnostics);
        }

        var rules = new List<Rule>();
        foreach (var draft in _rules)
        {
            var definition = _reader.Read(draft.Name, draft.Span, draft.Keys, draft.Use != DraftUse.ReadOverride);
            if (RuleCompiler.Compile(definition, scope, _values.Diagnostics) is { } rule && draft.Use == DraftUse.Rule)
            {
                rules.Add(rule);
            }
        }

        return new(rules, scope, _matching, _files);
    }

    private void AddLists(MappingNode lists)
    {
        foreach (var (name, value) in lists.Entries)
        {
            if (value is MappingNode mapping)
            {
                _values.RefuseOthers(mapping, "of a list", "append");
                if (mapping["append"] is { } more)
                {
                    var before = _lists.TryGetValue(name.Text, out var known) ? known.Items : [];
                    if (known.Name is null)
                    {
                        _values.Error(name.Span, $"there is no list '{name.Text}' to append to; write its items directly", Suggestion.Nearest(name.Text, _lists.Keys));
                    }

                    _lists[name.Text] = (name, [.. before, .. ItemsOf(more)]);
                }
                else if (mapping.Entries.Count == 0)
                {
                    _values.Error(mapping.Span, "a mapping stands here where the items of the list must be; write [], or 'append:' and what is to be added");
                }

                continue;
            }

            _lists[name.Text] = (name, ItemsOf(value));
        }
    }

    private SourceFragment[] ItemsOf(RuleNode value) =>
        [.. _values.Scalars(value, "an item of the list").Select(item => item.Fragment)];

    private void AddMacros(MappingNode macros)
    {
        foreach (var (name, value) in macros.Entries)
        {
            if (_values.TryScalar(value, "an expression", out var body))
            {
                _macros[name.Text] = (name, body.Fragment);
            }
        }
    }

    private void AddRules(SourceText file, RuleNode value)
    {
        if (value is not (SequenceNode or ScalarNode { IsEmpty: true }))
        {
            _values.Error(value.Span, "the rules are a list; begin each with '- rule: NAME'");
            return;
        }

        foreach (var item in RuleValues.Items(value))
        {
            if (!_values.TryMapping(item, "a rule ('- rule: NAME')", out var mapping))
            {
                continue;
            }

            _reader.RefuseUnknown(mapping);
            if (mapping["rule"] is not { } nameNode)
            {
                _values.Error(mapping.Span, "a rule without a name; write 'rule: NAME' first");
                AddStray(file, "", mapping.Span, mapping);
            }
            else if (_values.TryName(nameNode, "a rule", out var name))
            {
                AddRule(file, name, nameNode.Span, mapping);
            }
            else
            {
                AddStray(file, "", nameNode.Span, mapping);
            }
        }
    }

    private void AddRule(SourceText file, string name, SourceSpan span, MappingNode mapping)
    {
        var keys = KeysOf(mapping);
        var earlier = _rules.Find(rule => rule.Use == DraftUse.Rule && rule.Name == name);
        if (mapping["override"] is { } how)
        {
            if (earlier is null)
            {
                _values.Error(span, $"there is no rule '{name}' before this to override; remove 'override', or name the file of the rule first", Suggestion.Nearest(name, _rules.Where(rule => rule.Use == DraftUse.Rule).Select(rule => rule.Name)));
                AddStray(file, name, span, mapping);
                return;
            }

            // What is replaced again later is looked at all the same.
            _reader.Read(name, span, keys, isWhole: false);
            Override(earlier, mapping, keys, how);
            return;
        }

        var draft = new Draft(name, span, file, keys, DraftUse.Rule);
        if (earlier is null)
        {
            _rules.Add(draft);
            return;
        }

        if (earlier.File == file)
        {
            _values.Error(span, $"rule '{name}' is there already, in line {file.PositionOf(earlier.Span.Start).Line}; give each its own name");
            AddStray(file, name, span, mapping);
            return;
        }

        _reader.Read(earlier.Name, earlier.Span, earlier.Keys, isWhole: true);
        _rules[_rules.IndexOf(earlier)] = draft;
    }

    // What cannot be a rule is looked at as if it were one, so that its other mistakes are told at once.
    private void AddStray(SourceText file, string name, SourceSpan span, MappingNode mapping)
    {
        var how = mapping["override"];
        var draft = new Draft(name, span, file, KeysOf(mapping), how is null ? DraftUse.Read : DraftUse.ReadOverride);
        if (how is not null)
        {
            Override(draft with { Keys = [] }, mapping, draft.Keys, how);
        }

        _rules.Add(draft);
    }

    private static Dictionary<string, IReadOnlyList<RuleNode>> KeysOf(MappingNode mapping) => mapping.Entries
        .Where(entry => RuleReader.Keys.Contains(entry.Key.Text) && entry.Key.Text is not ("rule" or "override"))
        .ToDictionary(entry => entry.Key.Text, entry => (IReadOnlyList<RuleNode>)[entry.Value]);

    private void Override(Draft rule, MappingNode mapping, Dictionary<string, IReadOnlyList<RuleNode>> keys, RuleNode how)
    {
        foreach (var (key, _) in mapping.Entries)
        {
            if (!keys.TryGetValue(key.Text, out var nodes))
            {
                continue;
            }

            var way = how is MappingNode ways ? ways[key.Text] : how;
            switch ((way as ScalarNode)?.Text)
            {
                case "replace":
                    rule.Keys[key.Text] = nodes;
                    break;
                case "append" when AppendableKeys.Contains(key.Text):
                    rule.Keys[key.Text] = [.. rule.Keys.TryGetValue(key.Text, out var before) ? before : [], .. nodes];
                    break;
                case "append":
                    _values.Error(way.Span, $"nothing can be appended to '{key.Text}', only to {string.Join(", ", AppendableKeys)}; write 'replace'");
                    break;
                case null when way is null:
                    _values.Error(key.Span, $"'override' does not say what becomes of '{key.Text}'; write '{key.Text}: replace' there");
                    break;
                default:
                    _values.Error(way!.Span, $"{RuleValues.Shown(way)} is no way to override; write replace or append");
                    break;
            }
        }

        foreach (var (key, _) in (how as MappingNode)?.Entries ?? [])
        {
            if (!keys.ContainsKey(key.Text))
            {
                _values.Error(key.Span, $"'{key.Text}' is overridden and is not here; write it, or remove this", Suggestion.Nearest(key.Text, keys.Keys));
            }
        }
    }

    // What becomes of a draft: a rule, or nothing, which is read for its mistakes alone.
    private enum DraftUse
    {
        Rule,
        Read,
        ReadOverride,
    }

    // A rule before all files were read.
    private sealed record Draft(string Name, SourceSpan Span, SourceText File, Dictionary<string, IReadOnlyList<RuleNode>> Keys, DraftUse Use);
}
