using System.Net;
using System.Net.Sockets;
using Introspect.Hypervisor.Core.Building.Demo;

namespace Introspect.Daemon.Tests.Cli;

/// <summary>The program as its users have it: a process.</summary>
public sealed class ProcessTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("introspect-cli-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public void version_is_one_line()
    {
        var (exitCode, output, error) = Program("version");
        Assert.Equal((0, ""), (exitCode, error));
        Assert.Matches("^introspect [0-9]+\\.[0-9]+\\.[0-9]+ \\(.NET 10[^)]*vm_event interface 7\\)\n$", output);
    }

    [Theory]
    [InlineData("missing.elf", "there is no such file")]
    [InlineData(".", "this is a directory")]
    [InlineData("empty", "empty")]
    [InlineData("text", "not ELF")]
    [InlineData("truncated", "truncated|ends|bytes")]
    [InlineData("arm", "machine")]
    [InlineData("no-pvh", "PVH")]
    public void an_image_that_cannot_be_booted_is_one_line_and_exit_code_1(string image, string says)
    {
        var path = Path.Combine(_folder, image);
        if (BadImages.Make(image) is { } bytes)
        {
            File.WriteAllBytes(path, bytes);
        }

        var (exitCode, output, error) = Program("trace", "--kernel", path);
        Assert.Equal((1, ""), (exitCode, output));
        CommandLineTests.AssertOneLine(error);
        Assert.Contains(path, error, StringComparison.Ordinal);
        Assert.Contains(says.Split('|'), part => error.Contains(part, StringComparison.OrdinalIgnoreCase));
    }

    [Fact]
    public void a_missing_module_is_one_line()
    {
        var kernel = Path.Combine(_folder, "kernel");
        File.WriteAllBytes(kernel, DemoGuest.Build().Image);
        var (exitCode, _, error) = Program("trace", "--kernel", kernel, "--module", Path.Combine(_folder, "initrd"));
        Assert.Equal(1, exitCode);
        CommandLineTests.AssertOneLine(error);
        Assert.Contains("module", error, StringComparison.Ordinal);
    }

    [Fact]
    public void a_socket_that_nobody_listens_on_is_one_line()
    {
        var (exitCode, _, error) = Program("list", "--connect", Path.Combine(_folder, "lab.sock"));
        Assert.Equal(1, exitCode);
        CommandLineTests.AssertOneLine(error);
        Assert.Contains("lab.sock", error, StringComparison.Ordinal);
    }

    [Fact]
    public void a_port_in_use_is_one_line_and_exit_code_1()
    {
        using var taken = new TcpListener(IPAddress.Loopback, 0);
        taken.Start();
        var port = ((IPEndPoint)taken.LocalEndpoint).Port;
        var (exitCode, _, error) = Run($$"""
            hypervisor: { demo: true }
            domains: [ { match: "*", events: { cpuid: true } } ]
            metrics: { listen: "127.0.0.1:{{port}}" }
            logging: { console: false }
            """);
        Assert.Equal(1, exitCode);
        CommandLineTests.AssertOneLine(error);
        Assert.Contains($"metrics.listen 127.0.0.1:{port}: the port is in use", error, StringComparison.Ordinal);
    }

    [Fact]
    public void every_mistake_of_a_configuration_is_told_at_once()
    {
        var (exitCode, output, error) = Run("""
            hypervisor: { demo: true, connect: /run/x }
            domains: []
            metrics: { listen: nowhere }
            loging: { level: debug }
            """);
        Assert.Equal((2, ""), (exitCode, output));
        var lines = error.Split('\n', StringSplitOptions.RemoveEmptyEntries);
        Assert.Equal(4, lines.Length);
        Assert.All(lines, line => Assert.StartsWith("introspect: ", line, StringComparison.Ordinal));
        Assert.DoesNotContain("   at ", error, StringComparison.Ordinal);
    }

    [Fact]
    public void a_broken_yaml_file_is_one_line_with_its_place()
    {
        var (exitCode, _, error) = Run("hypervisor: [1\n  x: }");
        Assert.Equal(2, exitCode);
        CommandLineTests.AssertOneLine(error);
        Assert.Matches("introspect.yaml:[0-9]+:[0-9]+: not YAML", error);
    }

    internal static (int ExitCode, string Output, string Error) Program(params string[] arguments) =>
        Repository.Run("dotnet", [Path.Combine(AppContext.BaseDirectory, "introspect.dll"), .. arguments]);

    private (int ExitCode, string Output, string Error) Run(string yaml)
    {
        var path = Path.Combine(_folder, "introspect.yaml");
        File.WriteAllText(path, yaml);
        return Program("run", "--config", path);
    }
}
