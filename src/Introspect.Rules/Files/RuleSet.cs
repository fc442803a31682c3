using System.Security.Cryptography;
using System.Text;
using Introspect.Rules.Language;

namespace Introspect.Rules.Files;

/// <summary>The rules of some files, compiled and found right. The same set serves any number of domains.</summary>
public sealed class RuleSet
{
    internal RuleSet(IReadOnlyList<Rule> rules, ExpressionScope scope, RuleMatching matching, IReadOnlyList<SourceText> files)
    {
        Rules = rules;
        Scope = scope;
        Matching = matching;
        Files = [.. files.Select(file => file.Name)];
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        foreach (var file in files)
        {
            hash.AppendData(Encoding.UTF8.GetBytes($"{file.Name}\0{file.Slice(0, file.Length)}\0"));
        }

        Fingerprint = Convert.ToHexStringLower(hash.GetHashAndReset());
    }

    /// <summary>The same for sets of the same files with the same texts.</summary>
    public string Fingerprint { get; }

    /// <summary>Which of the rules that match an event count.</summary>
    public RuleMatching Matching { get; }

    /// <summary>The files, in the order in which they were read.</summary>
    public IReadOnlyList<string> Files { get; }

    /// <summary>Names of the rules that are in force, in the order in which they are asked.</summary>
    public IEnumerable<string> Names => Enabled.Select(rule => rule.Name);

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
