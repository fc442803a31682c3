using System.CommandLine;
using System.CommandLine.Completions;

namespace Introspect.Daemon.Cli.Documentation;

/// <summary>A command with the words that lead to it, behind the program's name.</summary>
/// <param name="Path">The words; none for the program itself.</param>
/// <param name="Command">The command.</param>
/// <param name="Options">Its options and those that it has from the commands above it, as a user may write them.</param>
internal sealed record DocumentedNode(IReadOnlyList<string> Path, Command Command, IReadOnlyList<Option> Options)
{
    /// <summary>The commands below it.</summary>
    public IEnumerable<Command> Subcommands => Command.Subcommands.Where(c => !c.Hidden);

    /// <summary>Its arguments.</summary>
    public IEnumerable<Argument> Arguments => Command.Arguments.Where(a => !a.Hidden);

    /// <summary>The path with a space before each word: how the shells' scripts name it.</summary>
    public string Key => string.Concat(Path.Select(word => " " + word));
}

/// <summary>What manual pages and shell completion are made of: the definitions that the parser uses.</summary>
internal static class CommandTree
{
    /// <summary>Every command that is shown, parents first.</summary>
    public static IEnumerable<DocumentedNode> Walk(Command root) => Walk(root, [], []);

    /// <summary>The names of an option that are in use here: <c>-h</c>, <c>--help</c>.</summary>
    public static IEnumerable<string> Names(Option option) => option.Aliases.Append(option.Name).Where(name => name.StartsWith('-')).OrderBy(name => name.Length).ThenBy(name => name, StringComparer.Ordinal);

    /// <summary>True when a value belongs to the option.</summary>
    public static bool TakesValue(Option option) => option.Arity.MaximumNumberOfValues > 0 && option.ValueType != typeof(bool);

    /// <summary>True when the option makes sense without its value.</summary>
    public static bool IsValueOptional(Option option) => option.Arity.MinimumNumberOfValues == 0;

    /// <summary>What help calls the value.</summary>
    public static string ValueName(Option option) => option.HelpName ?? "VALUE";

    /// <summary>The values that can be listed.</summary>
    public static IReadOnlyList<string> Choices(Symbol symbol) => [.. symbol.GetCompletions(CompletionContext.Empty).Select(c => c.Label)];

    /// <summary>True when a value is the name of a file.</summary>
    public static bool IsFile(string valueName) => valueName is "FILE" or "PATH" or "SOCKET" or "DIR";

    private static IEnumerable<DocumentedNode> Walk(Command command, IReadOnlyList<string> path, IReadOnlyList<Option> inherited)
    {
        var own = command.Options.Where(o => !o.Hidden);
        yield return new(path, command, [.. own.Where(o => !inherited.Contains(o)), .. inherited]);
        Option[] passedOn = [.. inherited, .. own.Where(o => o.Recursive && !inherited.Contains(o))];
        foreach (var node in command.Subcommands.Where(c => !c.Hidden).SelectMany(c => Walk(c, [.. path, c.Name], passedOn)))
        {
            yield return node;
        }
    }
}
