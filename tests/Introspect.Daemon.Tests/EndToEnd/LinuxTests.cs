using System.Text.RegularExpressions;

namespace Introspect.Daemon.Tests.EndToEnd;

/// <summary>Kernels that others built: unpacked, loaded, and started at their PVH entry.</summary>
public sealed class LinuxTests
{
    [LinuxFact]
    public async Task Every_kernel_comes_as_far_as_64_bit_code_at_its_own_addresses()
    {
        var kernels = Directory.GetFiles(LinuxFactAttribute.Folder!, "vmlinuz*");
        Assert.NotEmpty(kernels);
        foreach (var kernel in kernels)
        {
            var map = Path.Combine(LinuxFactAttribute.Folder!, Path.GetFileName(kernel).Replace("vmlinuz", "System.map", StringComparison.Ordinal));
            string[] symbols = IsWhole(map) ? ["--symbols", map] : [];
            string[] words = ["trace", "--kernel", kernel, "--memory", "256", "--cmdline", "nokaslr", "--cr", "--msr", "efer", "--count", "10", .. symbols];
            var (exitCode, output, error) = await DocumentedCommand.RunAsync(words, static _ => false, new TaskCompletionSource().Task);

            Assert.True(exitCode == 0, $"{kernel}: {error}");
            Assert.Contains("+PAE", output, StringComparison.Ordinal);
            Assert.Contains("+LME", output, StringComparison.Ordinal);
            Assert.Contains("+PG", output, StringComparison.Ordinal);
            // The one that maps the kernel where it was linked, and what it does there.
            Assert.Matches(new Regex(symbols.Length == 0 ? "at 0xffffffff8[0-9a-f]+" : @"at 0xffffffff8[0-9a-f]+ \w+"), output);
        }
    }

    // What a kernel's package has under that name may only say where the real one is.
    private static bool IsWhole(string map) => File.Exists(map) && new FileInfo(map).Length > 1 << 16;

    /// <summary>Needs the folder of kernels that INTROSPECT_LINUX names.</summary>
    private sealed class LinuxFactAttribute : FactAttribute
    {
        public LinuxFactAttribute() => Skip = Folder is null ? "INTROSPECT_LINUX names no folder of kernels" : null;

        public static string? Folder => Environment.GetEnvironmentVariable("INTROSPECT_LINUX");
    }
}
