using System.Text;
using System.Text.RegularExpressions;
using Introspect.Daemon.Cli;
using Introspect.Daemon.Hypervisors;

namespace Introspect.Daemon.Tests;

/// <summary>The command lines of a document, as a reader's shell would run them.</summary>
internal static partial class DocumentedCommand
{
    /// <summary>The lines of a document's shell blocks that begin with <c>introspect</c>, without their comments.</summary>
    public static IReadOnlyList<string> In(params string[] document)
    {
        var lines = ShellBlock().Matches(File.ReadAllText(Repository.PathOf(document)))
            .SelectMany(block => block.Groups[1].Value.Split('\n', StringSplitOptions.RemoveEmptyEntries));
        return [.. lines.Where(line => line.StartsWith("introspect ", StringComparison.Ordinal)).Select(line => line.Split(" #")[0].TrimEnd())];
    }

    /// <summary>The words of a command line behind the program's name.</summary>
    public static string[] Words(string command) => [.. Word().Matches(command).Skip(1).Select(word => word.Groups[1].Success ? word.Groups[1].Value : word.Value)];

    /// <summary>Runs a command line in this process, on real hypervisors.</summary>
    /// <param name="words">Its words.</param>
    /// <param name="enough">Ends it, the way Ctrl-C does, when it is true of the output.</param>
    /// <param name="done">Ends it when this is done.</param>
    /// <param name="isTerminal">Somebody looks at it on a terminal.</param>
    /// <param name="variable">The environment.</param>
    public static async Task<(int ExitCode, string Output, string Error)> RunAsync(
        string[] words, Func<string, bool> enough, Task done, bool isTerminal = false, Func<string, string?>? variable = null)
    {
        using var stop = new CancellationTokenSource();
        _ = done.ContinueWith(_ => stop.Cancel(), CancellationToken.None, TaskContinuationOptions.OnlyOnRanToCompletion, TaskScheduler.Default);
        using var output = new Watched(text =>
        {
            if (enough(text))
            {
                stop.Cancel();
            }
        });
        using var text = new StringWriter { NewLine = "\n" };
        using var error = new StringWriter { NewLine = "\n" };
        using var commands = new Commands(new HypervisorFactory(), output, isTerminal, variable ?? (_ => null), error);
        var exitCode = await CommandLine.InvokeAsync(words, commands, text, error, stop.Token);
        return (exitCode, output.Text + text, error.ToString());
    }

    [GeneratedRegex("^```sh\n(.*?)^```", RegexOptions.Multiline | RegexOptions.Singleline)]
    private static partial Regex ShellBlock();

    [GeneratedRegex(@"'([^']*)'|\S+")]
    private static partial Regex Word();

    // A terminal that somebody looks at.
    private sealed class Watched(Action<string> look) : MemoryStream
    {
        public string Text => Encoding.UTF8.GetString(ToArray());

        public override void Write(ReadOnlySpan<byte> buffer)
        {
            base.Write(buffer);
            look(Text);
        }

        public override void Write(byte[] buffer, int offset, int count)
        {
            base.Write(buffer, offset, count);
            look(Text);
        }
    }
}
