using System.Diagnostics;
using System.Text.RegularExpressions;
using Introspect.Daemon.Cli;
using Introspect.Daemon.Hypervisors;

namespace Introspect.Daemon.Tests.Guests;

/// <summary>A folder with a socket of its own, and the command line before it. The host is started by the first command that needs one.</summary>
internal sealed partial class LabBench : IDisposable
{
    private int? _host;

    public string Folder { get; } = Directory.CreateTempSubdirectory("introspect-lab-").FullName;

    public string Socket => PathOf("lab.sock");

    /// <summary>The host that a command started.</summary>
    public Process? Host => _host is { } id ? Process.GetProcessById(id) : null;

    public string PathOf(string name) => Path.Combine(Folder, name);

    public string Write(string name, string text)
    {
        File.WriteAllText(PathOf(name), text);
        return PathOf(name);
    }

    /// <summary>Runs a command in this process.</summary>
    public (int ExitCode, string Output, string Error) Run(params string[] words) => Run(null, words);

    /// <summary>Runs a command in this process, with somebody who types.</summary>
    public (int ExitCode, string Output, string Error) Run(byte[]? typed, params string[] words)
    {
        using var output = new MemoryStream();
        using var text = new StringWriter { NewLine = "\n" };
        using var error = new StringWriter { NewLine = "\n" };
        int exitCode;
        using (var commands = new Commands(new HypervisorFactory(), output, isTerminal: false, _ => null, error, typed is null ? null : () => new MemoryStream(typed)))
        {
            exitCode = CommandLine.InvokeAsync(words.Contains("--connect") ? words : [.. words, "--socket", Socket], commands, text, error, CancellationToken.None).GetAwaiter().GetResult();
        }

        var shown = System.Text.Encoding.UTF8.GetString(output.ToArray()) + text;
        if (Started().Match(shown) is { Success: true } started)
        {
            _host = int.Parse(started.Groups[1].Value, System.Globalization.CultureInfo.InvariantCulture);
        }

        return (exitCode, shown, error.ToString());
    }

    /// <summary>Runs a command that works.</summary>
    public string Works(params string[] words)
    {
        var (exitCode, output, error) = Run(words);
        Assert.True(exitCode == 0, $"{string.Join(' ', words)}: exit code {exitCode}\n{error}\n{output}");
        return output;
    }

    public void Dispose()
    {
        if (_host is { } id)
        {
            try
            {
                using var host = Process.GetProcessById(id);
                host.Kill();
                host.WaitForExit();
            }
            catch (Exception e) when (e is ArgumentException or InvalidOperationException)
            {
                // It ended by itself.
            }
        }

        Directory.Delete(Folder, recursive: true);
    }

    [GeneratedRegex(@"started 'introspect lab serve' \(process (\d+)\)")]
    private static partial Regex Started();
}
