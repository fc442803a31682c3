using System.Diagnostics;
using System.Text;

namespace Introspect.Daemon.Tests.EndToEnd;

/// <summary>The real program as a process of its own.</summary>
internal sealed class IntrospectProcess : IDisposable
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);

    private readonly Process _process;
    private readonly StringBuilder _output = new();
    private readonly StringBuilder _error = new();

    private IntrospectProcess(params string[] arguments)
    {
        var start = new ProcessStartInfo("dotnet", [Program, .. arguments])
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            RedirectStandardInput = true,
        };
        _process = Process.Start(start)!;
        _process.StandardInput.Close();
        _process.OutputDataReceived += (_, line) => Append(_output, line.Data);
        _process.ErrorDataReceived += (_, line) => Append(_error, line.Data);
        _process.BeginOutputReadLine();
        _process.BeginErrorReadLine();
    }

    public static string Program => Path.Combine(AppContext.BaseDirectory, "introspect.dll");

    public int Id => _process.Id;

    public string Output => Text(_output);

    public string Error => Text(_error);

    public static IntrospectProcess Start(params string[] arguments) => new(arguments);

    /// <summary>Runs the program to its end.</summary>
    public static (int ExitCode, string Output, string Error) Run(params string[] arguments)
    {
        using var process = new IntrospectProcess(arguments);
        var code = process.WaitForExit();
        return (code, process.Output, process.Error);
    }

    public int WaitForExit()
    {
        if (!_process.WaitForExit(Patience))
        {
            _process.Kill();
            Assert.Fail($"the program did not end; it wrote:\n{Output}\n{Error}");
        }

        _process.WaitForExit(); // for the last of its output
        return _process.ExitCode;
    }

    public void WaitForOutput(string text) =>
        Assert.True(
            SpinWait.SpinUntil(() => Output.Contains(text, StringComparison.Ordinal) || _process.HasExited, Patience) && Output.Contains(text, StringComparison.Ordinal),
            $"'{text}' was not written; it wrote:\n{Output}\n{Error}");

    /// <summary>SIGKILL.</summary>
    public void Kill() => _process.Kill();

    /// <summary>SIGTERM.</summary>
    public void Terminate() => Repository.Run("kill", ["-TERM", $"{Id}"]);

    public void Dispose()
    {
        if (!_process.HasExited)
        {
            _process.Kill();
            _process.WaitForExit();
        }

        _process.Dispose();
    }

    private static void Append(StringBuilder text, string? line)
    {
        if (line is not null)
        {
            lock (text)
            {
                text.AppendLine(line);
            }
        }
    }

    private static string Text(StringBuilder text)
    {
        lock (text)
        {
            return text.ToString();
        }
    }
}
