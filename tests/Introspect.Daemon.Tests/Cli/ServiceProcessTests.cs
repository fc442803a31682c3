using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Text.RegularExpressions;
using Introspect.Daemon.Tests.Output;
using Introspect.Daemon.Tests.Systemd;

namespace Introspect.Daemon.Tests.Cli;

/// <summary>The service and the lab as processes: what systemd, Prometheus and an operator see of them.</summary>
public sealed class ServiceProcessTests : IDisposable
{
    private const int SigHup = 1;
    private const int SigTerm = 15;
    private const int SigKill = 9;

    private readonly string _folder = Directory.CreateTempSubdirectory("introspect-run-").FullName;
    private readonly List<Process> _processes = [];

    public void Dispose()
    {
        foreach (var process in _processes)
        {
            if (!process.HasExited)
            {
                process.Kill();
                process.WaitForExit();
            }

            process.Dispose();
        }

        Directory.Delete(_folder, recursive: true);
    }

    [Fact]
    public async Task the_service_watches_tells_of_itself_reloads_and_stops_cleanly()
    {
        var notify = Path.Combine(_folder, "notify");
        using var manager = SdNotifyTests.Listen(notify);
        var port = FreePort();
        var events = Path.Combine(_folder, "events.ndjson");
        var yaml = Path.Combine(_folder, "introspect.yaml");
        var text = $$"""
            hypervisor: { demo: true }
            domains: [ { match: demo, events: { control_registers: [cr3], cpuid: true, write: [0x106000] } } ]
            metrics: { listen: "127.0.0.1:{{port}}" }
            sinks: { json_file: {{events}} }

            """;
        await File.WriteAllTextAsync(yaml, text);
        var service = Start(["run", "--config", yaml], ("NOTIFY_SOCKET", notify), ("WATCHDOG_USEC", "60000000"));
        AwaitState(manager, "READY=1");
        AwaitState(manager, "WATCHDOG=1");

        using var client = new HttpClient { BaseAddress = new($"http://127.0.0.1:{port}") };
        await Eventually(async () => Value(await client.GetStringAsync(new Uri("/metrics", UriKind.Relative)), "introspect_events_total{domain=\"demo\",reason=\"cpuid\"}") > 100);
        Assert.Equal("ok\n", await client.GetStringAsync(new Uri("/healthz", UriKind.Relative)));

        Signal(service, SigHup);
        AwaitState(manager, "RELOADING=1");
        AwaitState(manager, "READY=1");
        await File.WriteAllTextAsync(yaml, text.Replace("cpuid: true", "cpuid: perhaps", StringComparison.Ordinal));
        Signal(service, SigHup);
        AwaitState(manager, "READY=1");
        Assert.Equal(0, Value(await client.GetStringAsync(new Uri("/metrics", UriKind.Relative)), "introspect_config_last_reload_successful"));

        Signal(service, SigTerm);
        AwaitState(manager, "STOPPING=1");
        var error = await service.StandardError.ReadToEndAsync();
        await service.WaitForExitAsync();
        Assert.Equal(0, service.ExitCode);
        Assert.Contains("Stopped: every monitor is drained and disabled", error, StringComparison.Ordinal);
        Assert.DoesNotContain("   at ", error, StringComparison.Ordinal);

        var schema = new SchemaChecker(await File.ReadAllTextAsync(Repository.PathOf("docs", "events.schema.json")));
        var lines = await File.ReadAllLinesAsync(events);
        Assert.True(lines.Length > 100);
        Assert.All(lines.Take(200), line => Assert.Empty(schema.Check(line)));
    }

    [Fact]
    public async Task a_trace_that_is_killed_leaves_a_domain_that_recover_frees()
    {
        var socket = Path.Combine(_folder, "lab.sock");
        var lab = Start(["lab", "serve", "--socket", socket, "--demo", "--forever"]);
        Assert.Contains("listening at", await lab.StandardOutput.ReadLineAsync(), StringComparison.Ordinal);

        var (exitCode, output, error) = ProcessTests.Program("list", "--connect", socket);
        Assert.Equal((0, ""), (exitCode, error));
        Assert.Matches(@"(?m)^ +1 +running +1 +64\.0 +vmx +demo$", output);

        var trace = Start(["trace", "demo", "--connect", socket, "--cpuid", "--json"]);
        await AwaitEvent(trace);
        Signal(trace, SigKill);
        await trace.WaitForExitAsync();

        (exitCode, _, error) = ProcessTests.Program("trace", "demo", "--connect", socket, "--cpuid", "--count", "1");
        Assert.Equal(1, exitCode);
        CommandLineTests.AssertOneLine(error);
        Assert.Contains("introspect recover", error, StringComparison.Ordinal);

        (exitCode, output, error) = ProcessTests.Program("recover", "demo", "--connect", socket);
        Assert.Equal((0, ""), (exitCode, error));
        Assert.Contains("monitoring is off", output, StringComparison.Ordinal);

        // The guest goes on: it makes new events for a new monitor.
        (exitCode, output, error) = ProcessTests.Program("trace", "demo", "--connect", socket, "--cpuid", "--count", "3", "--json");
        Assert.Equal((0, ""), (exitCode, error));
        Assert.Equal(3, Regex.Count(output, "\"type\":\"event\""));

        Signal(lab, SigTerm);
        await lab.WaitForExitAsync();
        Assert.Equal(0, lab.ExitCode);
        Assert.False(File.Exists(socket));
    }

    [Fact]
    public async Task a_trace_ends_at_once_when_its_reader_goes_and_leaves_the_guest_running()
    {
        var socket = Path.Combine(_folder, "lab.sock");
        var lab = Start(["lab", "serve", "--socket", socket, "--demo", "--forever"]);
        await lab.StandardOutput.ReadLineAsync();
        var trace = Start(["trace", "demo", "--connect", socket, "--cr"]);
        await trace.StandardOutput.ReadLineAsync();
        trace.StandardOutput.Close();
        var error = await trace.StandardError.ReadToEndAsync();
        await trace.WaitForExitAsync();
        Assert.Equal((0, ""), (trace.ExitCode, error));
        var (exitCode, output, _) = ProcessTests.Program("trace", "demo", "--connect", socket, "--cr", "--count", "2", "--json");
        Assert.Equal(0, exitCode);
        Assert.Equal(2, Regex.Count(output, "\"type\":\"event\""));
    }

    [Fact]
    public async Task a_socket_where_somebody_listens_is_one_line_and_exit_code_1()
    {
        var socket = Path.Combine(_folder, "lab.sock");
        var lab = Start(["lab", "serve", "--socket", socket]);
        await lab.StandardOutput.ReadLineAsync();
        var (exitCode, _, error) = ProcessTests.Program("lab", "serve", "--socket", socket);
        Assert.Equal(1, exitCode);
        CommandLineTests.AssertOneLine(error);
        Assert.Contains(socket, error, StringComparison.Ordinal);
    }

    private static double? Value(string page, string sample)
    {
        var line = page.Split('\n').FirstOrDefault(l => l.StartsWith(sample + " ", StringComparison.Ordinal));
        return line is null ? null : double.Parse(line[(sample.Length + 1)..], CultureInfo.InvariantCulture);
    }

    // Lines of the console may come before it: the guest has only begun to boot.
    private static async Task AwaitEvent(Process trace)
    {
        string? line;
        do
        {
            line = await trace.StandardOutput.ReadLineAsync();
            Assert.NotNull(line);
        }
        while (!line.Contains("\"type\":\"event\"", StringComparison.Ordinal));
    }

    private static void AwaitState(Socket manager, string state)
    {
        // Others come in between: status lines and beats, which never end.
        var waited = Stopwatch.StartNew();
        while (!SdNotifyTests.Receive(manager).StartsWith(state, StringComparison.Ordinal))
        {
            Assert.True(waited.Elapsed < TimeSpan.FromMinutes(2), $"{state} did not come; what ignores SIGHUP, as nohup does, has the service ignore it, too");
        }
    }

    private static async Task Eventually(Func<Task<bool>> condition)
    {
        for (var i = 0; i < 600; i++)
        {
            if (await condition())
            {
                return;
            }

            await Task.Delay(50);
        }

        Assert.Fail("it never came to this");
    }

    private static int FreePort()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        return ((IPEndPoint)listener.LocalEndpoint).Port;
    }

    private static void Signal(Process process, int signal)
    {
        var (exitCode, _, error) = Repository.Run("kill", [$"-{signal}", process.Id.ToString(CultureInfo.InvariantCulture)]);
        Assert.True(exitCode == 0, error);
    }

    private Process Start(string[] arguments, params (string Name, string Value)[] environment)
    {
        var start = new ProcessStartInfo("dotnet", [Path.Combine(AppContext.BaseDirectory, "introspect.dll"), .. arguments])
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        foreach (var (name, value) in environment)
        {
            start.Environment[name] = value;
        }

        var process = Process.Start(start)!;
        _processes.Add(process);
        return process;
    }
}
