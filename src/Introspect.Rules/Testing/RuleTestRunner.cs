using Introspect.Rules.Files;

namespace Introspect.Rules.Testing;

/// <summary>How a test went.</summary>
/// <param name="File">Its file.</param>
/// <param name="Name">Its name.</param>
/// <param name="Failures">What was not as expected, each one line with its place; empty when all was.</param>
internal sealed record RuleTestResult(string File, string Name, IReadOnlyList<string> Failures);

/// <summary>Gives events to rules without a guest and compares what comes of them.</summary>
internal static class RuleTestRunner
{
    /// <summary>Runs the tests of a file.</summary>
    public static IEnumerable<RuleTestResult> Run(RuleTestFile file, RuleSet rules) =>
        file.Tests.Select(test => new RuleTestResult(file.Name, test.Name, [.. test.Events.Run(file, rules, test)]));
}
