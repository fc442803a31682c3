using Introspect.Rules.Files;
using Introspect.Rules.Language;

namespace Introspect.Rules.Tests.Files;

/// <summary>Rule files that are texts of a test.</summary>
internal static class RuleTexts
{
    /// <summary>Loads texts as the files 1.yaml, 2.yaml, …, which must be right.</summary>
    public static RuleSet Load(params string[] texts)
    {
        var diagnostics = new DiagnosticBag();
        var set = RuleFileLoader.Load(Files(texts), diagnostics);
        Assert.True(!diagnostics.HasErrors, string.Join("\n", diagnostics.All.Select(d => d.Render())));
        return set;
    }

    /// <summary>Loads texts and gives what is wrong with them.</summary>
    public static IReadOnlyList<RuleDiagnostic> Mistakes(params string[] texts)
    {
        var diagnostics = new DiagnosticBag();
        RuleFileLoader.Load(Files(texts), diagnostics);
        return diagnostics.All;
    }

    /// <summary>The definition of the only rule.</summary>
    public static RuleDefinition Only(params string[] texts) => Assert.Single(Load(texts).Rules).Definition;

    private static IEnumerable<SourceText> Files(string[] texts) => texts.Select((text, i) => new SourceText($"{i + 1}.yaml", text));
}
