using System.Diagnostics;

namespace Introspect.Daemon.Tests.EndToEnd;

/// <summary>A service that is killed, and what its unit does then.</summary>
public sealed class RecoverLeftTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("introspect-left-").FullName;

    private string State => Path.Combine(_folder, "attached");

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public void Guests_of_a_service_that_was_killed_go_on_after_recover()
    {
        using var lab = new Lab();
        Assert.True(lab.GuestGoesOn);
        using (var service = Start(lab))
        {
            // Each breakpoint and CPUID waits for an answer: nobody gives one now.
            service.Kill();
        }

        Assert.Single(Directory.GetFiles(State));
        var (exitCode, output, error) = IntrospectProcess.Run("recover", "--state", State);
        Assert.Equal((0, ""), (exitCode, error));
        Assert.Contains("monitoring is off", output, StringComparison.Ordinal);
        Assert.True(lab.GuestGoesOn);
        Assert.Empty(Directory.GetFiles(State));

        // Once more, as after every clean end.
        Assert.Equal((0, $"nothing was left: {State} has no notes\n", ""), IntrospectProcess.Run("recover", "--state", State));
    }

    [Fact]
    public void A_service_that_ends_as_it_should_leaves_no_note()
    {
        using var lab = new Lab();
        using var service = Start(lab);
        service.Terminate();
        Assert.Equal(0, service.WaitForExit());
        Assert.Empty(Directory.GetFiles(State));
        Assert.True(lab.GuestGoesOn);
    }

    [Fact]
    public void A_domain_that_is_gone_needs_nothing_and_a_hypervisor_that_is_gone_is_told()
    {
        using (var lab = new Lab())
        {
            Directory.CreateDirectory(State);
            File.WriteAllText(Path.Combine(State, "9.json"), $$"""{"Socket":"{{lab.Socket}}","Domain":9,"Uuid":"00112233-4455-6677-8899-aabbccddeeff"}""");
            File.WriteAllText(Path.Combine(State, "8.json"), "torn");
            Assert.Equal((0, "domain 9: it is gone\n", ""), IntrospectProcess.Run("recover", "--state", State));
            Assert.False(File.Exists(Path.Combine(State, "9.json")));
            File.WriteAllText(Path.Combine(State, "1.json"), $$"""{"Socket":"{{lab.Socket}}","Domain":1,"Uuid":"00000000-0000-0000-0000-000000000000"}""");
        }

        var (exitCode, output, error) = IntrospectProcess.Run("recover", "--state", State);
        Assert.Equal((1, ""), (exitCode, output));
        Assert.StartsWith("introspect: domain 1: ", error, StringComparison.Ordinal);
        Assert.True(File.Exists(Path.Combine(State, "1.json")));
    }

    private Service Start(Lab lab)
    {
        var configuration = Path.Combine(_folder, "introspect.yaml");
        var events = Path.Combine(_folder, "events");
        File.WriteAllText(configuration, $$"""
            hypervisor: { connect: {{lab.Socket}} }
            domains: [ { match: "*", events: { cpuid: true, breakpoints: true } } ]
            metrics: { listen: "off" }
            control: { socket: "off" }
            sinks: { json_file: {{events}} }
            """);
        return new(_folder, configuration, events);
    }

    // The service with the folder that systemd gives it, once it writes events.
    private sealed class Service : IDisposable
    {
        private readonly Process _process;

        public Service(string folder, string configuration, string events)
        {
            var start = new ProcessStartInfo("dotnet", [IntrospectProcess.Program, "run", "--config", configuration]);
            start.Environment["RUNTIME_DIRECTORY"] = folder;
            _process = Process.Start(start)!;
            Assert.True(SpinWait.SpinUntil(() => new FileInfo(events) is { Exists: true, Length: > 0 }, TimeSpan.FromSeconds(60)));
        }

        public void Kill()
        {
            _process.Kill();
            _process.WaitForExit();
        }

        public void Terminate() => Repository.Run("kill", ["-TERM", $"{_process.Id}"]);

        public int WaitForExit()
        {
            Assert.True(_process.WaitForExit(TimeSpan.FromSeconds(60)));
            return _process.ExitCode;
        }

        public void Dispose()
        {
            if (!_process.HasExited)
            {
                Kill();
            }

            _process.Dispose();
        }
    }
}
