using System.CommandLine;
using Introspect.Daemon.Symbols;

namespace Introspect.Daemon.Cli;

/// <summary>What <c>introspect rules check</c> is asked for.</summary>
/// <param name="Paths">Files and folders, in the order in which they are read.</param>
/// <param name="Json">NDJSON, one object a finding.</param>
internal sealed record RulesCheckRequest(IReadOnlyList<string> Paths, bool Json)
{
    /// <summary>Symbols of the guests that the rules are for; null: none are known.</summary>
    public SymbolSpec? Symbols { get; init; }
}

/// <summary>What <c>introspect rules test</c> is asked for.</summary>
/// <param name="Paths">Test files, and folders of them.</param>
/// <param name="JUnitFile">Where a report goes; null: nowhere.</param>
internal sealed record RulesTestRequest(IReadOnlyList<string> Paths, string? JUnitFile);

/// <summary>The commands about rule files, none of which needs a guest.</summary>
internal static class RulesCommands
{
    /// <summary><c>introspect rules</c>.</summary>
    public static Command Create(ICommands commands) => new("rules", "Check, explain and test files of rules (docs/rules.md)")
    {
        CreateCheck(commands.CheckRules),
        CreateExplain(commands.ExplainRules),
        CreateTest(commands.TestRules),
    };

    private static Command CreateCheck(Func<RulesCheckRequest, int> check)
    {
        var paths = Paths("Rule files and folders of them; a later one overrides an earlier one");
        var json = new Option<bool>("--json") { Description = "NDJSON, one object a finding" };
        var command = new Command("check", "Tell every mistake in rule files; fails when there is one") { paths, json };
        var symbols = new Option<string?>("--symbols") { Description = "Symbols that the rules know: a System.map or an ELF image", HelpName = "FILE" };
        command.Add(symbols);
        command.SetAction(result => check(new(result.GetRequiredValue(paths), result.GetValue(json))
        {
            Symbols = result.GetValue(symbols) is { } file ? new(file, 0) : null,
        }));
        return command;
    }

    private static Command CreateExplain(Func<IReadOnlyList<string>, int> explain)
    {
        var paths = Paths("Rule files and folders of them; a later one overrides an earlier one");
        var command = new Command("explain", "Tell what rules ask of the hypervisor, in which order they are asked, and what they do") { paths };
        command.SetAction(result => explain(result.GetRequiredValue(paths)));
        return command;
    }

    private static Command CreateTest(Func<RulesTestRequest, int> test)
    {
        var paths = Paths("Files of tests (NAME.test.yaml), and folders of them");
        var junit = new Option<string>("--junit") { Description = "Write a JUnit report to this file", HelpName = "FILE" };
        var command = new Command("test", "Give events to rules and compare verdicts and alerts; fails when one is not as expected") { paths, junit };
        command.SetAction(result => test(new(result.GetRequiredValue(paths), result.GetValue(junit))));
        return command;
    }

    private static Argument<string[]> Paths(string description) => new("FILE") { Description = description, Arity = ArgumentArity.OneOrMore };
}
