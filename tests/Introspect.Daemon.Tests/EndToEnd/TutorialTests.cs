using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using System.Text.RegularExpressions;

namespace Introspect.Daemon.Tests.EndToEnd;

/// <summary>The tutorial's lines are run as they stand, by a shell, from the root of the tree.</summary>
[Collection(Alone)]
public sealed partial class TutorialTests : IDisposable
{
    private const string Alone = "tutorial";
    private const string Prometheus = "## In Prometheus";
    private const string EndOfBlock = "==== end of block";

    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(15);

    // In the tree, as the reader's folder is: what the tree says about projects holds there, too. Short, since sockets are in it.
    private readonly string _folder = $"artifacts/t{Guid.NewGuid().ToString("N")[..8]}";
    private readonly string _home = Directory.CreateTempSubdirectory("introspect-tutorial-").FullName;

    private string FullPath => Repository.PathOf(_folder.Split('/'));

    public void Dispose()
    {
        Directory.Delete(_home, recursive: true);
        if (Directory.Exists(FullPath))
        {
            Directory.Delete(FullPath, recursive: true);
        }
    }

    [NeedsToolFact("curl")]
    public void A_newcomer_gets_from_a_clone_to_a_rule_and_a_plugin_on_a_guest()
    {
        var sections = File.ReadAllText(Repository.PathOf("docs", "tutorial.md")).Split("\n#");
        Assert.Single(sections, section => section.Contains(Prometheus, StringComparison.Ordinal));
        var tutorial = string.Join("\n#", sections.Where(section => Repository.HasTool("prometheus") || !section.Contains(Prometheus, StringComparison.Ordinal)));
        var blocks = Block().Matches(tutorial).Select(match => (Kind: match.Groups[1].Value, Text: match.Groups[2].Value)).ToList();
        Assert.True(blocks.Count(block => block.Kind == "sh") > 8);
        var script = "set -euo pipefail\ntrap 'kill -9 $(jobs -p) 2> /dev/null || true' EXIT\n" + string.Concat(
            blocks.Where(block => block.Kind == "sh").Select(block => $"{Localised(block.Text)}echo '{EndOfBlock}'\n"));
        var (exitCode, output) = Run(script);
        Assert.True(exitCode == 0, output);

        var told = output.Split(EndOfBlock);
        var ran = -1;
        foreach (var (kind, text) in blocks)
        {
            if (kind == "sh")
            {
                ran++;
                continue;
            }

            var came = told[ran].Split('\n').Select(Normalised).ToList();
            Assert.All(
                text.Split('\n', StringSplitOptions.RemoveEmptyEntries),
                line => Assert.True(came.Exists(one => one.Contains(Normalised(line), StringComparison.Ordinal)), $"'{line}' is shown, and this came:\n{told[ran]}"));
        }

        Assert.False(Directory.Exists(FullPath), "the tutorial tidies up");
    }

    private string Localised(string text) => Folder().Replace(text, _folder);

    // Numbers differ from run to run, and columns with them.
    private static string Normalised(string line) => Spaces().Replace(Number().Replace(line, "#"), " ").Trim();

    private (int ExitCode, string Output) Run(string script)
    {
        Directory.CreateDirectory(Repository.PathOf("artifacts"));
        var (port, prometheus) = (FreePort(), FreePort());
        var file = Path.Combine(_home, "script");
        File.WriteAllText(file, script.Replace("127.0.0.1:9660", $"127.0.0.1:{port}", StringComparison.Ordinal).Replace("127.0.0.1:9090", $"127.0.0.1:{prometheus}", StringComparison.Ordinal));
        var start = new ProcessStartInfo("/bin/sh", ["-c", "exec bash \"$0\" 2>&1", file])
        {
            WorkingDirectory = Repository.Root,
            RedirectStandardOutput = true,
            RedirectStandardInput = true,
        };

        // Templates are installed for this run alone, and nothing of its builds outlives it.
        (string Name, string Value)[] environment =
        [
            ("INTROSPECT_METRICS__LISTEN", $"127.0.0.1:{port}"), ("DOTNET_CLI_HOME", _home), ("DOTNET_NOLOGO", "1"), ("DOTNET_SKIP_FIRST_TIME_EXPERIENCE", "1"),
            ("DOTNET_GENERATE_ASPNET_CERTIFICATE", "0"), ("UseSharedCompilation", "false"), ("MSBUILDDISABLENODEREUSE", "1"), ("NO_COLOR", "1"),
        ];
        foreach (var (name, value) in environment)
        {
            start.Environment[name] = value;
        }

        using var process = Process.Start(start)!;
        process.StandardInput.Close();
        var output = process.StandardOutput.ReadToEndAsync();
        if (!process.WaitForExit(Patience))
        {
            process.Kill(entireProcessTree: true);
            return (-1, "it does not end\n" + output.GetAwaiter().GetResult());
        }

        return (process.ExitCode, output.GetAwaiter().GetResult());
    }

    private static int FreePort()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        return ((IPEndPoint)listener.LocalEndpoint).Port;
    }

    [GeneratedRegex("^```(sh|text)\n(.*?)^```", RegexOptions.Multiline | RegexOptions.Singleline)]
    private static partial Regex Block();

    [GeneratedRegex(@"\btutorial\b")]
    private static partial Regex Folder();

    [GeneratedRegex("0x[0-9a-f]+|[0-9][0-9.]*")]
    private static partial Regex Number();

    [GeneratedRegex(@"\s+")]
    private static partial Regex Spaces();

    /// <summary>It builds what other tests build, too.</summary>
    [CollectionDefinition(Alone, DisableParallelization = true)]
    public sealed class TutorialCollection;
}
