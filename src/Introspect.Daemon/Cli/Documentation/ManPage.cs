using System.Text;

namespace Introspect.Daemon.Cli.Documentation;

/// <summary>Manual pages, one a command, in the man macros of roff.</summary>
internal static class ManPage
{
    private const string Program = "introspect";

    /// <summary>The page's file: <c>introspect-lab-serve.1</c>.</summary>
    public static string FileName(DocumentedNode node) => $"{Name(node)}.1";

    /// <summary>The page.</summary>
    /// <param name="node">The command.</param>
    /// <param name="all">All commands, for the pages to refer to.</param>
    public static string Of(DocumentedNode node, IReadOnlyList<DocumentedNode> all)
    {
        var page = new StringBuilder();
        page.Append($".TH {Escape(Name(node).ToUpperInvariant())} 1 \"\" \"{Program} {ProgramInfo.Version}\" \"{Program}\"\n");
        Section(page, "NAME");
        page.Append($"{Escape(Name(node))} \\- {Escape(Sentence(node.Command.Description))}\n");
        Section(page, "SYNOPSIS");
        Synopsis(page, node);
        Section(page, "DESCRIPTION");
        Line(page, (node.Command.Description ?? "").TrimEnd('.') + ".");
        if (node.Subcommands.Any())
        {
            Section(page, "COMMANDS");
            foreach (var command in all.Where(n => n.Path.Count == node.Path.Count + 1 && n.Path.Take(node.Path.Count).SequenceEqual(node.Path)))
            {
                Item(page, $"\\fB{Escape(Name(command))}\\fR(1)", command.Command.Description);
            }
        }

        if (node.Arguments.Any())
        {
            Section(page, "ARGUMENTS");
            foreach (var argument in node.Arguments)
            {
                Item(page, $"\\fI{Escape(argument.Name)}\\fR", argument.Description);
            }
        }

        Section(page, "OPTIONS");
        foreach (var option in node.Options)
        {
            var value = !CommandTree.TakesValue(option) ? "" : CommandTree.IsValueOptional(option) ? $" [\\fI{Escape(CommandTree.ValueName(option))}\\fR]" : $" \\fI{Escape(CommandTree.ValueName(option))}\\fR";
            Item(page, string.Join(", ", CommandTree.Names(option).Select(name => $"\\fB{Escape(name)}\\fR")) + value, option.Description);
        }

        Examples(page, node);
        Section(page, "EXIT STATUS");
        Item(page, "0", "It was done.");
        Item(page, "1", "It could not be done; one line on stderr says why.");
        Item(page, "2", "The command line or the configuration is wrong; each mistake is a line on stderr.");
        if (node.Path is [] or ["run"])
        {
            Section(page, "FILES");
            Item(page, "\\fI/etc/introspect/introspect.yaml\\fR", "The configuration of the service.");
            Item(page, "\\fI/usr/share/doc/introspect\\fR", "The manual.");
        }

        Section(page, "SEE ALSO");
        page.Append(".nh\n.ad l\n");
        page.Append(string.Join(" ,\n", all.Where(n => n != node && IsNear(n, node)).Select(n => $".BR {Escape(Name(n))} (1)")));
        return page.Append('\n').ToString();
    }

    /// <summary>Text that roff takes as it is: no line of it is a request, no character a command.</summary>
    public static string Escape(string? text)
    {
        var escaped = new StringBuilder();
        foreach (var rune in (text ?? "").EnumerateRunes())
        {
            _ = rune.Value switch
            {
                '\\' => escaped.Append("\\e"),
                '-' => escaped.Append("\\-"),
                '\'' => escaped.Append("\\(aq"),
                '`' => escaped.Append("\\(ga"),
                '^' => escaped.Append("\\(ha"),
                '~' => escaped.Append("\\(ti"),
                '"' => escaped.Append("\\(dq"),
                '\n' => escaped.Append(' '),
                < 0x80 => escaped.Append(rune.ToString()),
                _ => escaped.Append(System.Globalization.CultureInfo.InvariantCulture, $"\\[u{rune.Value:X4}]"),
            };
        }

        return escaped.ToString();
    }

    private static string Name(DocumentedNode node) => string.Join('-', node.Path.Prepend(Program));

    // A command's own commands, its parent and its siblings.
    private static bool IsNear(DocumentedNode other, DocumentedNode node) =>
        (other.Path.Count == node.Path.Count + 1 && other.Path.Take(node.Path.Count).SequenceEqual(node.Path))
        || (node.Path.Count > 0 && other.Path.SequenceEqual(node.Path.Take(node.Path.Count - 1)))
        || (other.Path.Count == node.Path.Count && other.Path.SkipLast(1).SequenceEqual(node.Path.SkipLast(1)));

    private static void Synopsis(StringBuilder page, DocumentedNode node)
    {
        page.Append($"\\fB{Escape(string.Join(' ', node.Path.Prepend(Program)))}\\fR");
        foreach (var argument in node.Arguments)
        {
            page.Append(argument.Arity.MinimumNumberOfValues == 0 ? $" [\\fI{Escape(argument.Name)}\\fR]" : $" \\fI{Escape(argument.Name)}\\fR");
        }

        foreach (var option in node.Options.Where(o => o.Required))
        {
            page.Append($" \\fB{Escape(option.Name)}\\fR \\fI{Escape(CommandTree.ValueName(option))}\\fR");
        }

        page.Append(node.Subcommands.Any() ? " \\fICOMMAND\\fR [\\fIOPTION\\fR]...\n" : " [\\fIOPTION\\fR]...\n");
    }

    private static void Examples(StringBuilder page, DocumentedNode node)
    {
        var examples = Manual.Examples(node.Path);
        if (examples.Count == 0)
        {
            return;
        }

        Section(page, "EXAMPLES");
        page.Append(".EX\n");
        foreach (var example in examples)
        {
            page.Append(Escape(example)).Append('\n');
        }

        page.Append(".EE\n");
    }

    private static void Section(StringBuilder page, string title) => page.Append(".SH ").Append(title).Append('\n');

    private static void Item(StringBuilder page, string tag, string? text)
    {
        page.Append(".TP\n").Append(tag).Append('\n');
        Line(page, text);
    }

    private static void Line(StringBuilder page, string? text)
    {
        var line = Escape(text);
        page.Append(line.StartsWith('.') ? "\\&" : "").Append(line.Length == 0 ? "\\&" : line).Append('\n');
    }

    // The first line of a page is a phrase: indexes of manual pages are made of them.
    private static string Sentence(string? text)
    {
        var phrase = (text ?? "").Split(". ")[0].TrimEnd('.');
        return phrase.Length == 0 ? phrase : char.ToLowerInvariant(phrase[0]) + phrase[1..];
    }
}
