using Introspect.Daemon.Cli;
using Introspect.Daemon.Tests.Fakes;

namespace Introspect.Daemon.Tests.Service;

/// <summary>A service that cannot start leaves nothing behind.</summary>
public sealed class FailedStartTests : IDisposable
{
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("introspect-start-");

    public void Dispose() => _folder.Delete(true);

    [Fact]
    public async Task Domains_that_are_watched_already_are_let_go()
    {
        var hypervisor = new FakeHypervisor();
        var domain = hypervisor.Add(1);
        var notSocket = Path.Combine(_folder.FullName, "file");
        await File.WriteAllTextAsync(notSocket, "");
        var config = Path.Combine(_folder.FullName, "introspect.yaml");
        await File.WriteAllTextAsync(config, $$"""
            hypervisor: { connect: /run/fake.sock }
            domains: [ { match: "*", events: { cpuid: true } } ]
            metrics: { listen: "off" }
            logging: { console: false }
            control: { socket: {{notSocket}} }
            """);
        using var output = new MemoryStream();
        using var error = new StringWriter { NewLine = "\n" };
        using var commands = new Commands(new FakeFactory(hypervisor), output, isTerminal: false, _ => null);
        Assert.Equal(1, await CommandLine.InvokeAsync(["run", "--config", config], commands, TextWriter.Null, error, CancellationToken.None));
        Cli.CommandLineTests.AssertOneLine(error.ToString());
        Assert.Contains("a file is there that is no socket", error.ToString(), StringComparison.Ordinal);
        Assert.True(hypervisor.IsDisposed, "the hypervisor was not let go of");
        Assert.True(domain.Monitor is null or { IsDisposed: true }, "the domain is watched still");
        Assert.Equal(0, domain.PauseCount);
    }
}
