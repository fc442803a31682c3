using System.Diagnostics;
using System.Runtime.InteropServices;

namespace Introspect.Hypervisor.Tests.Building;

/// <summary>A test that needs a program of the system; it is reported as skipped where that is missing.</summary>
internal sealed class FactWithToolAttribute : FactAttribute
{
    public FactWithToolAttribute(string tool) => Skip = ExternalTool.SkipReason(tool);
}

/// <summary>The same for a test with cases.</summary>
internal sealed class TheoryWithToolsAttribute : TheoryAttribute
{
    public TheoryWithToolsAttribute(params string[] tools) =>
        Skip = tools.Select(ExternalTool.SkipReason).FirstOrDefault(r => r is not null);
}

/// <summary>Programs of the system that tests run.</summary>
internal static class ExternalTool
{
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(2);

    public static string? SkipReason(string tool) =>
        Find(tool) is null ? $"{tool} is not installed"
        : tool == CGuestBuilder.Compiler && RuntimeInformation.OSArchitecture != Architecture.X64 ? $"{tool} here is not for x86-64"
        : null;

    public static string? Find(string tool) =>
        (Environment.GetEnvironmentVariable("PATH") ?? string.Empty)
            .Split(Path.PathSeparator)
            .Select(d => Path.Combine(d, tool))
            .FirstOrDefault(File.Exists);

    /// <summary>Runs a program to its end; one that does not end is killed, and that fails the test.</summary>
    public static (int ExitCode, string Output) Run(string tool, IEnumerable<string> arguments)
    {
        ProcessStartInfo start = new(Find(tool) ?? throw new FileNotFoundException(tool), arguments)
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        using Process process = Process.Start(start)!;
        Task<string> error = process.StandardError.ReadToEndAsync();
        Task<string> output = process.StandardOutput.ReadToEndAsync();
        if (!process.WaitForExit(Patience))
        {
            process.Kill(true);
            Assert.Fail($"{tool} did not end within {Patience}");
        }

        return (process.ExitCode, output.Result + error.Result);
    }
}

/// <summary>Runs a PVH image on QEMU's emulation: no hypercalls there, but an independent CPU.</summary>
internal static class Qemu
{
    public const string Tool = "qemu-system-x86_64";

    /// <summary>Exit code when the guest wrote 0x10 to the exit port.</summary>
    public const int Done = (0x10 << 1) | 1;

    public static (int ExitCode, string Console) Boot(byte[] image) => Boot(image, null, out _);

    /// <summary>The same, logging the registers before each instruction in some ranges (QEMU's -dfilter).</summary>
    public static (int ExitCode, string Console) Boot(byte[] image, string? traced, out string trace)
    {
        DirectoryInfo directory = Directory.CreateTempSubdirectory("introspect-qemu-");
        try
        {
            string kernel = Path.Combine(directory.FullName, "guest.elf");
            string console = Path.Combine(directory.FullName, "console");
            string log = Path.Combine(directory.FullName, "log");
            string[] tracing = traced is null ? [] : ["-singlestep", "-d", "cpu,nochain", "-dfilter", traced, "-D", log];
            File.WriteAllBytes(kernel, image);
            (int exitCode, string messages) = ExternalTool.Run(
                Tool,
                [
                    "-accel", "tcg", "-cpu", "max", "-m", "64", "-nodefaults", "-no-reboot", "-display", "none",
                    "-device", "isa-debug-exit,iobase=0xf4,iosize=4", "-debugcon", $"file:{console}", "-kernel", kernel, .. tracing,
                ]);
            trace = traced is null ? string.Empty : File.ReadAllText(log);
            return (exitCode, (File.Exists(console) ? File.ReadAllText(console) : string.Empty) + messages);
        }
        finally
        {
            directory.Delete(true);
        }
    }
}
