using System.CommandLine;

namespace Introspect.Daemon.Cli.Documentation;

/// <summary>The commands by which the program describes itself to shells and to man.</summary>
internal static class DocumentationCommands
{
    /// <summary>Adds them to the program's commands, which they describe.</summary>
    public static void AddTo(RootCommand root)
    {
        root.Add(CreateCompletion(root));
        root.Add(CreateMan(root));
    }

    private static Command CreateCompletion(RootCommand root)
    {
        var shell = new Argument<string>("SHELL") { Description = "bash, zsh or fish", CompletionSources = { ShellCompletion.Shells.ToArray() } };
        var command = new Command("completion", "Print the script that completes command lines in a shell") { shell };
        command.SetAction(result =>
        {
            var name = result.GetRequiredValue(shell);
            if (!ShellCompletion.Shells.Contains(name))
            {
                throw UserError.Usage($"shell '{name}' is unknown; write {string.Join(", ", ShellCompletion.Shells)}");
            }

            result.InvocationConfiguration.Output.Write(ShellCompletion.For(name, root));
        });
        return command;
    }

    private static Command CreateMan(RootCommand root)
    {
        var folder = new Argument<string>("DIR") { Description = "Where the pages are written" };
        var command = new Command("man", "Write the manual pages, for packages") { folder };
        command.Hidden = true;
        command.SetAction(result =>
        {
            var path = result.GetRequiredValue(folder);
            try
            {
                Directory.CreateDirectory(path);
                var nodes = CommandTree.Walk(root).ToList();
                foreach (var node in nodes)
                {
                    File.WriteAllText(Path.Combine(path, ManPage.FileName(node)), ManPage.Of(node, nodes));
                }
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                throw UserError.Failure($"manual pages in '{path}': {e.Message}; name a directory that can be written", e);
            }
        });
        return command;
    }
}
