using System.CommandLine;
using System.Text;

namespace Introspect.Daemon.Cli.Documentation;

/// <summary>
/// Completion for shells, as scripts that need nothing but the shell: which words lead to which command, which words may
/// follow there, and what the value of an option is.
/// </summary>
internal static class ShellCompletion
{
    /// <summary>The shells that there is a script for.</summary>
    public static IReadOnlyList<string> Shells { get; } = ["bash", "zsh", "fish"];

    /// <summary>The script for a shell.</summary>
    public static string For(string shell, Command root)
    {
        var nodes = CommandTree.Walk(root).ToList();
        return shell switch
        {
            "bash" => Bash(nodes),
            "zsh" => Zsh(nodes),
            _ => Fish(nodes),
        };
    }

    private static string Bash(List<DocumentedNode> nodes)
    {
        var script = new StringBuilder("# bash completion of introspect; made by 'introspect completion bash'\n_introspect() {\n");
        script.Append("    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} path='' i\n    COMPREPLY=()\n");
        script.Append("    for ((i = 1; i < COMP_CWORD; i++)); do\n        case \"$path ${COMP_WORDS[i]}\" in\n            ");
        script.Append(Pattern(Paths(nodes))).Append(") path=\"$path ${COMP_WORDS[i]}\" ;;\n        esac\n    done\n");
        script.Append("    case \"$path $prev\" in\n");
        foreach (var (choices, keys) in Values(nodes))
        {
            script.Append("        ").Append(Pattern(keys)).Append(") mapfile -t COMPREPLY < <(compgen -W ").Append(Quote(choices)).Append(" -- \"$cur\"); return ;;\n");
        }

        AppendCase(script, Files(nodes), "compopt -o filenames 2> /dev/null; mapfile -t COMPREPLY < <(compgen -f -- \"$cur\"); return ;;");
        AppendCase(script, Opaque(nodes), "return ;;");
        script.Append("    esac\n    case \"$path\" in\n");
        foreach (var node in nodes)
        {
            var words = node.Subcommands.Select(c => c.Name).Concat(node.Arguments.SelectMany(CommandTree.Choices)).Concat(node.Options.SelectMany(CommandTree.Names));
            script.Append("        ").Append(Quote(node.Key)).Append(") mapfile -t COMPREPLY < <(compgen -W ").Append(Quote(string.Join(' ', words))).Append(" -- \"$cur\")");
            script.Append(TakesFile(node) ? "; compopt -o filenames 2> /dev/null; mapfile -t -O \"${#COMPREPLY[@]}\" COMPREPLY < <(compgen -f -- \"$cur\") ;;\n" : " ;;\n");
        }

        return script.Append("    esac\n}\ncomplete -F _introspect introspect\n").ToString();
    }

    private static string Zsh(List<DocumentedNode> nodes)
    {
        var script = new StringBuilder("#compdef introspect\n# zsh completion of introspect; made by 'introspect completion zsh'\n_introspect() {\n");
        script.Append("    local at='' i\n    local -a list\n    for ((i = 2; i < CURRENT; i++)); do\n        case \"$at ${words[i]}\" in\n            (");
        script.Append(Pattern(Paths(nodes))).Append(") at=\"$at ${words[i]}\" ;;\n        esac\n    done\n");
        script.Append("    case \"$at ${words[CURRENT-1]}\" in\n");
        foreach (var (choices, keys) in Values(nodes))
        {
            script.Append("        (").Append(Pattern(keys)).Append(") compadd -- ").Append(choices).Append("; return ;;\n");
        }

        AppendCase(script, Files(nodes), "_files; return ;;", "(");
        AppendCase(script, Opaque(nodes), "return ;;", "(");
        script.Append("    esac\n    case \"$at\" in\n");
        foreach (var node in nodes)
        {
            script.Append("        (").Append(Quote(node.Key)).Append(")\n");
            Describe("command", node.Subcommands.Select(c => (c.Name, c.Description)));
            Describe("value", node.Arguments.SelectMany(CommandTree.Choices).Select(c => (c, (string?)"")));
            Describe("option", node.Options.SelectMany(o => CommandTree.Names(o).Select(n => (n, o.Description))));
            script.Append(TakesFile(node) ? "            _files\n            ;;\n" : "            ;;\n");
        }

        script.Append("    esac\n}\nif [ \"$funcstack[1]\" = \"_introspect\" ]; then\n    _introspect \"$@\"\nelse\n    compdef _introspect introspect\nfi\n");
        return script.ToString();

        void Describe(string what, IEnumerable<(string Name, string? About)> items)
        {
            var list = items.Select(i => Quote($"{i.Name.Replace(":", "\\:", StringComparison.Ordinal)}:{i.About}")).ToList();
            if (list.Count != 0)
            {
                script.Append("            list=(").Append(string.Join(' ', list)).Append($")\n            _describe {(what == "option" ? "-o " : "")}{what} list\n");
            }
        }
    }

    private static string Fish(List<DocumentedNode> nodes)
    {
        var script = new StringBuilder("# fish completion of introspect; made by 'introspect completion fish'\nfunction __introspect_at\n    set -l at ''\n");
        script.Append("    for word in (commandline -opc)[2..]\n        switch \"$at $word\"\n            case ").Append(string.Join(' ', Paths(nodes).Select(QuoteFish)));
        script.Append("\n                set at \"$at $word\"\n        end\n    end\n    test \"$at\" = \"$argv[1]\"\nend\ncomplete -c introspect -f\n");
        foreach (var node in nodes)
        {
            var begin = $"complete -c introspect -n {QuoteFish($"__introspect_at \"{node.Key}\"")}";
            foreach (var command in node.Subcommands)
            {
                script.Append($"{begin} -a {command.Name} -d {QuoteFish(command.Description ?? "")}\n");
            }

            foreach (var choice in node.Arguments.SelectMany(CommandTree.Choices))
            {
                script.Append($"{begin} -a {choice}\n");
            }

            if (TakesFile(node))
            {
                script.Append($"{begin} -F\n");
            }

            foreach (var option in node.Options)
            {
                var names = string.Concat(CommandTree.Names(option).Select(n => n.StartsWith("--", StringComparison.Ordinal) ? $" -l {n[2..]}" : $" -s {QuoteFish(n[1..])}"));
                var choices = CommandTree.Choices(option);
                var value = !CommandTree.TakesValue(option) ? ""
                    : CommandTree.IsFile(CommandTree.ValueName(option)) ? " -r -F"
                    : CommandTree.IsValueOptional(option) ? ""
                    : choices.Count != 0 ? $" -x -a {QuoteFish(string.Join(' ', choices))}"
                    : " -x";
                script.Append($"{begin}{names}{value} -d {QuoteFish(option.Description ?? "")}\n");
            }
        }

        return script.ToString();
    }

    // 'PATH WORD' for each command below the program.
    private static IEnumerable<string> Paths(List<DocumentedNode> nodes) => nodes.Where(n => n.Path.Count != 0).Select(n => n.Key);

    private static IEnumerable<(DocumentedNode Node, Option Option)> Valued(List<DocumentedNode> nodes) =>
        nodes.SelectMany(n => n.Options.Where(CommandTree.TakesValue).Select(o => (n, o)));

    private static IEnumerable<string> Keys(IEnumerable<(DocumentedNode Node, Option Option)> options) =>
        options.SelectMany(p => CommandTree.Names(p.Option).Select(name => $"{p.Node.Key} {name}"));

    private static IEnumerable<(string Choices, IReadOnlyList<string> Keys)> Values(List<DocumentedNode> nodes) =>
        Valued(nodes).Where(p => CommandTree.Choices(p.Option).Count != 0).GroupBy(p => string.Join(' ', CommandTree.Choices(p.Option)))
            .Select(g => (g.Key, (IReadOnlyList<string>)[.. Keys(g)]));

    private static List<string> Files(List<DocumentedNode> nodes) =>
        [.. Keys(Valued(nodes).Where(p => CommandTree.Choices(p.Option).Count == 0 && CommandTree.IsFile(CommandTree.ValueName(p.Option))))];

    // A value that nothing is known of: no word is better than a wrong one. Behind an option that may stand alone, others follow.
    private static List<string> Opaque(List<DocumentedNode> nodes) =>
        [.. Keys(Valued(nodes).Where(p => CommandTree.Choices(p.Option).Count == 0 && !CommandTree.IsFile(CommandTree.ValueName(p.Option)) && !CommandTree.IsValueOptional(p.Option)))];

    private static bool TakesFile(DocumentedNode node) => node.Arguments.Any(a => CommandTree.IsFile(a.Name));

    private static void AppendCase(StringBuilder script, List<string> keys, string action, string open = "")
    {
        if (keys.Count != 0)
        {
            script.Append("        ").Append(open).Append(Pattern(keys)).Append(") ").Append(action).Append('\n');
        }
    }

    private static string Pattern(IEnumerable<string> keys) => string.Join('|', keys.Select(Quote));

    private static string Quote(string text) => $"'{text.Replace("'", "'\\''", StringComparison.Ordinal)}'";

    private static string QuoteFish(string text) => $"'{text.Replace("\\", "\\\\", StringComparison.Ordinal).Replace("'", "\\'", StringComparison.Ordinal)}'";
}
