using Introspect.Rules.Files;

namespace Introspect.Rules.Testing;

/// <summary>The events of a test, written in the file or captured from a guest, with what must come of them.</summary>
internal interface IRuleTestEvents
{
    /// <summary>Gives the events to the rules, in the order in which they happen.</summary>
    /// <returns>What was not as expected, each one line with its place; nothing when all was.</returns>
    IEnumerable<string> Run(RuleTestFile file, RuleSet rules, RuleTest test);
}
