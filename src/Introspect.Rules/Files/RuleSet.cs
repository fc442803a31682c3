using Introspect.Rules.Language;

namespace Introspect.Rules.Files;

/// <summary>The rules of some files, compiled and found right. The same set serves any number of domains.</summary>
public sealed class RuleSet
{
    private readonly string[] _texts;

    internal RuleSet(IReadOnlyList<Rule> rules, ExpressionScope scope, RuleMatching matching, IReadOnlyList<SourceText> files)
    {
        Rules = rules;
        Scope = scope;
        Matching = matching;
        Files = [.. files.Select(file => file.Name)];
        _texts = [.. files.Select(file => file.Slice(0, file.Length).ToString())];
    }

    /// <summary>Which of the rules that match an event count.</summary>
    public RuleMatching Matching { get; }

    /// <summary>The files, in the order in which they were read.</summary>
    public IReadOnlyList<string> Files { get; }

    /// <summary>The symbols that the rules were read with; null where none were known.</summary>
    public ISymbolResolver? Symbols => Scope.Symbols;

    /// <summary>Names of the rules that are in force, in the order in which they are asked.</summary>
    public IEnumerable<string> Names => Enabled.Select(rule => rule.Name);

    /// <summary>Whether another set is of the same files with the same texts.</summary>
    public bool HasTextsOf(RuleSet other) => Files.SequenceEqual(other.Files) && _texts.AsSpan().SequenceEqual(other._texts);

    /// <summary>Every rule, those that are switched off among them, in the order of the files.</summary>
    internal IReadOnlyList<Rule> Rules { get; }

    /// <summary>The rules that are asked.</summary>
    internal IEnumerable<Rule> Enabled => Rules.Where(rule => rule.Definition.IsEnabled);

    /// <summary>Lists and macros.</summary>
    internal ExpressionScope Scope { get; }

    /// <summary>The rules for one domain: what they say of the domain and of symbols is decided.</summary>
    internal IReadOnlyList<Rule> For(RuleDomain domain, ISymbolResolver? symbols, DiagnosticBag diagnostics)
    {
        var scope = Scope.For(domain, symbols);
        return [.. Enabled.Select(rule => RuleCompiler.Compile(rule.Definition, scope, diagnostics)).OfType<Rule>()];
    }
}
