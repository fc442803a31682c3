using System.CommandLine;
using System.CommandLine.Help;
using System.CommandLine.Invocation;

namespace Introspect.Daemon.Cli.Documentation;

/// <summary>
/// Help that fits a screen. Where the parser's own is longer, an option is one line, with as much of its description as
/// there is room for; the manual page has all of it.
/// </summary>
internal sealed class ScreenHelp(SynchronousCommandLineAction full) : SynchronousCommandLineAction
{
    private const int Columns = 80;
    private const int Lines = 40;

    // Where a description may end early and still be one.
    private static readonly string[] Ends = ["; ", ". ", " ("];

    /// <inheritdoc/>
    public override bool ClearsParseErrors => true;

    /// <summary>Takes the place of the parser's help on every command.</summary>
    public static void AddTo(RootCommand root)
    {
        var help = root.Options.OfType<HelpOption>().Single();
        help.Action = new ScreenHelp((SynchronousCommandLineAction)help.Action!);
    }

    /// <inheritdoc/>
    public override int Invoke(ParseResult parseResult)
    {
        var (command, configuration) = (parseResult.CommandResult.Command, parseResult.InvocationConfiguration);
        var output = configuration.Output;
        using var own = new StringWriter();
        configuration.Output = own;
        var exitCode = full.Invoke(parseResult);
        configuration.Output = output;
        // A command of commands tells of these.
        if (command.Subcommands.Count != 0 || own.ToString().Split('\n').Sum(line => Math.Max(1, (line.Length + Columns - 1) / Columns)) <= Lines)
        {
            output.Write(own);
            return exitCode;
        }

        Write(CommandTree.Walk(parseResult.RootCommandResult.Command).First(n => n.Command == command), output);
        return exitCode;
    }

    private static void Write(DocumentedNode node, TextWriter output)
    {
        var path = string.Join(' ', node.Path.Prepend("introspect"));
        output.WriteLine(Clip(node.Command.Description ?? "", Columns));
        output.WriteLine();
        output.WriteLine($"Usage: {path}{string.Concat(node.Arguments.Select(a => a.Arity.MinimumNumberOfValues == 0 ? $" [{a.Name}]" : $" {a.Name}"))} [options]");
        output.WriteLine($"All of it: man {path.Replace(' ', '-')}, or docs/cli.md");
        output.WriteLine();
        (string Name, string Description)[] rows =
        [
            .. node.Arguments.Select(argument => (argument.Name, argument.Description ?? "")),
            .. node.Options.Select(option => (Shown(option), option.Description ?? "")),
        ];
        var width = rows.Max(row => row.Name.Length);
        foreach (var (name, description) in rows)
        {
            output.WriteLine($"  {name.PadRight(width)}  {Clip(description, Columns - width - 4)}");
        }
    }

    private static string Shown(Option option)
    {
        var value = CommandTree.ValueName(option);
        return !CommandTree.TakesValue(option) ? option.Name : CommandTree.IsValueOptional(option) ? $"{option.Name} [{value}]" : $"{option.Name} {value}";
    }

    private static string Clip(string text, int room)
    {
        if (text.Length <= room)
        {
            return text;
        }

        var end = Ends.Max(mark => text.LastIndexOf(mark, room, StringComparison.Ordinal));
        return end > room / 3 ? text[..end] : text[..text.LastIndexOf(' ', room - 1)] + "…";
    }
}
