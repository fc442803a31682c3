using System.Diagnostics;
using System.Runtime.Versioning;

[assembly: SupportedOSPlatform("linux")]

namespace Introspect.Daemon.Tests;

/// <summary>The tree that the tests were built from, and tools of the machine that they run on.</summary>
internal static class Repository
{
    public static string Root { get; } = FindRoot();

    public static string PathOf(params string[] parts) => Path.Combine([Root, .. parts]);

    public static bool HasTool(string name) =>
        (Environment.GetEnvironmentVariable("PATH") ?? "").Split(':').Any(directory => File.Exists(Path.Combine(directory, name)));

    public static (int ExitCode, string Output, string Error) Run(string file, string[] arguments, string? input = null, IDictionary<string, string>? environment = null)
    {
        var start = new ProcessStartInfo(file, arguments) { RedirectStandardOutput = true, RedirectStandardError = true, RedirectStandardInput = true };
        foreach (var (name, value) in environment ?? new Dictionary<string, string>())
        {
            start.Environment[name] = value;
        }

        using var process = Process.Start(start)!;
        var output = process.StandardOutput.ReadToEndAsync();
        var error = process.StandardError.ReadToEndAsync();
        process.StandardInput.Write(input);
        process.StandardInput.Close();
        process.WaitForExit();
        return (process.ExitCode, output.GetAwaiter().GetResult(), error.GetAwaiter().GetResult());
    }

    private static string FindRoot()
    {
        for (var at = new DirectoryInfo(AppContext.BaseDirectory); at is not null; at = at.Parent)
        {
            if (File.Exists(Path.Combine(at.FullName, "Introspect.sln")))
            {
                return at.FullName;
            }
        }

        throw new DirectoryNotFoundException("the tests run outside of the tree that they belong to");
    }
}

/// <summary>A test that needs a program of the machine; skipped, and shown as such, where that is missing.</summary>
[AttributeUsage(AttributeTargets.Method)]
internal sealed class NeedsToolFactAttribute : FactAttribute
{
    public NeedsToolFactAttribute(string tool)
    {
        if (!Repository.HasTool(tool))
        {
            Skip = $"{tool} is not installed";
        }
    }
}

/// <summary>A theory that needs a program of the machine; skipped, and shown as such, where that is missing.</summary>
[AttributeUsage(AttributeTargets.Method)]
internal sealed class NeedsToolTheoryAttribute : TheoryAttribute
{
    public NeedsToolTheoryAttribute(string tool)
    {
        if (!Repository.HasTool(tool))
        {
            Skip = $"{tool} is not installed";
        }
    }
}
