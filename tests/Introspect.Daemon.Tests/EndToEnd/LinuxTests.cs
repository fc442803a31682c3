using System.Text.RegularExpressions;
using Introspect.Daemon.Tests.Guests;

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
            var map = MapOf(kernel);
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

    [LinuxFact]
    public async Task Its_routines_have_the_names_of_its_System_map()
    {
        foreach (var kernel in Directory.GetFiles(LinuxFactAttribute.Folder!, "vmlinuz*").Where(k => IsWhole(MapOf(k))))
        {
            string[] words = ["trace", "--kernel", kernel, "--memory", "256", "--cmdline", "nokaslr", "--cr", "--core", "report-unchanged", "--count", "14", "--symbols", MapOf(kernel)];
            var (exitCode, output, error) = await DocumentedCommand.RunAsync(words, static _ => false, new TaskCompletionSource().Task);

            Assert.True(exitCode == 0, $"{kernel}: {error}");
            Assert.Matches(new Regex(@"CR0 .* at 0xffffffff8[0-9a-f]+ secondary_startup_64"), output);
            Assert.Matches(new Regex(@"CR3 .* at 0xffffffff8[0-9a-f]+ native_write_cr3"), output);
            Assert.Matches(new Regex(@"CR4 .* at 0xffffffff8[0-9a-f]+ native_write_cr4\+0x"), output);
        }
    }

    [LinuxFact("gcc")]
    public async Task Every_kernel_runs_the_first_program_of_its_initramfs_and_switches_off_when_that_says_so()
    {
        var folder = Directory.CreateTempSubdirectory("introspect-linux-");
        try
        {
            var initramfs = TinyInitramfs.Build(folder.FullName);
            foreach (var kernel in Directory.GetFiles(LinuxFactAttribute.Folder!, "vmlinuz*"))
            {
                const string CommandLine = "console=hvc0 panic=-1";
                string[] words = ["trace", "--kernel", kernel, "--module", initramfs, "--memory", "256", "--cmdline", CommandLine, "--cr", "xcr0", "--duration", "9m"];
                var (exitCode, output, error) = await DocumentedCommand.RunAsync(words, static _ => false, new TaskCompletionSource().Task);

                Assert.True(exitCode == 0, $"{kernel}: {error}");
                Assert.Contains(TinyInitramfs.Greeting, output, StringComparison.Ordinal);
                Assert.Contains("ended by poweroff", output, StringComparison.Ordinal);
                Assert.DoesNotMatch(new Regex("BUG:|WARNING: CPU|Oops|not syncing|ACPI (BIOS )?Error"), output);
            }
        }
        finally
        {
            folder.Delete(true);
        }
    }

    [LinuxFact("gcc")]
    public void Every_kernel_that_is_asked_over_xenstore_runs_its_poweroff()
    {
        using var bench = new LabBench();
        var initramfs = TinyInitramfs.Build(bench.Folder, waits: true);
        foreach (var kernel in Directory.GetFiles(LinuxFactAttribute.Folder!, "vmlinuz*"))
        {
            var config = bench.Write("linux.cfg", $"name = \"linux\"\nkernel = \"{kernel}\"\nramdisk = \"{initramfs}\"\nmemory = 256\ncmdline = \"console=hvc0 panic=-1\"\non_poweroff = \"preserve\"\n");
            bench.Works("lab", "create", config);

            // It is asked while it boots, and hears it once its driver listens.
            Assert.Equal("domain 'linux' ended: poweroff\n", bench.Works("lab", "shutdown", "linux", "--wait", "--timeout", "600"));
            var console = bench.Works("lab", "console", "linux");
            Assert.Contains(TinyInitramfs.Greeting, console, StringComparison.Ordinal);
            Assert.DoesNotMatch(new Regex("BUG:|WARNING: CPU|Oops|not syncing|xenbus: .*fail"), console);
            bench.Works("lab", "destroy", "linux");
        }
    }

    private static string MapOf(string kernel) =>
        Path.Combine(LinuxFactAttribute.Folder!, Path.GetFileName(kernel).Replace("vmlinuz", "System.map", StringComparison.Ordinal));

    // What a kernel's package has under that name may only say where the real one is.
    private static bool IsWhole(string map) => File.Exists(map) && new FileInfo(map).Length > 1 << 16;

    /// <summary>Needs the folder of kernels that INTROSPECT_LINUX names, and perhaps a program.</summary>
    private sealed class LinuxFactAttribute : FactAttribute
    {
        public LinuxFactAttribute(string? tool = null) =>
            Skip = Folder is null ? "INTROSPECT_LINUX names no folder of kernels"
                : tool is not null && !Repository.HasTool(tool) ? $"{tool} is not installed"
                : null;

        public static string? Folder => Environment.GetEnvironmentVariable("INTROSPECT_LINUX");
    }
}
