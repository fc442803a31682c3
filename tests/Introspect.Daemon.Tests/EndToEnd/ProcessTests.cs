using System.Globalization;
using System.Net;
using System.Net.Sockets;

namespace Introspect.Daemon.Tests.EndToEnd;

/// <summary>Real processes: what a user starts, and what is left when they end one way or another.</summary>
public sealed class ProcessTests
{
    [Fact]
    public void A_killed_monitor_leaves_the_guest_paused_and_recover_lets_it_go_on()
    {
        using var lab = new Lab();
        using (var trace = IntrospectProcess.Start("trace", "--connect", lab.Socket, "demo", "--cpuid"))
        {
            trace.WaitForOutput("cpuid");
            trace.Kill();
            trace.WaitForExit();
        }

        Assert.True(lab.GuestStandsStill, "nobody answers, so the vCPU that asked must wait");
        var (again, _, error) = IntrospectProcess.Run("trace", "--connect", lab.Socket, "demo", "--cpuid", "--count", "1");
        Assert.Equal(1, again);
        Assert.Contains("introspect recover", Assert.Single(error.TrimEnd().Split('\n')), StringComparison.Ordinal);

        var (code, output, _) = IntrospectProcess.Run("recover", "demo", "--connect", lab.Socket);

        Assert.Equal(0, code);
        Assert.Contains("vCPUs let go: 1, unanswered requests: 1", output, StringComparison.Ordinal);
        Assert.True(lab.GuestGoesOn);
        Assert.Equal(0, IntrospectProcess.Run("trace", "--connect", lab.Socket, "demo", "--cpuid", "--count", "3").ExitCode);
        Assert.True(lab.GuestGoesOn);
    }

    [Fact]
    public void The_service_stops_cleanly_on_SIGTERM_under_load()
    {
        using var lab = new Lab();
        var folder = Directory.CreateTempSubdirectory("introspect-");
        var port = FreePort();
        var configuration = Path.Combine(folder.FullName, "introspect.yaml");
        File.WriteAllText(configuration, string.Create(CultureInfo.InvariantCulture, $$"""
            hypervisor:
              connect: {{lab.Socket}}
            domains:
              - match: "*"
                events:
                  control_registers: [cr0, cr3, cr4]
                  cpuid: true
                  breakpoints: true
            metrics:
              listen: 127.0.0.1:{{port}}
            sinks:
              json_file: {{Path.Combine(folder.FullName, "events.ndjson")}}
            """));

        using (var service = IntrospectProcess.Start("run", "--config", configuration))
        {
            Assert.True(
                SpinWait.SpinUntil(() => Events(Scrape(port)) > 1000, TimeSpan.FromSeconds(60)),
                $"no events on the scrape:\n{Scrape(port)}\n{service.Output}\n{service.Error}");
            Assert.Equal(HttpStatusCode.OK, Health(port));

            service.Terminate();

            Assert.Equal(0, service.WaitForExit());
        }

        // Nothing is left behind: the guest goes on, and the ring is free.
        Assert.True(lab.GuestGoesOn);
        Assert.Equal(0, lab.Domain.GetInfo().PauseCount);
        var report = lab.Domain.Recover();
        Assert.False(report.WasEnabled);
        Assert.Equal(0, report.UndonePauses);
        Assert.NotEmpty(File.ReadAllLines(Path.Combine(folder.FullName, "events.ndjson")));
        folder.Delete(recursive: true);
    }

    [Fact]
    public void A_port_in_use_is_one_clear_line()
    {
        using var taken = new TcpListener(IPAddress.Loopback, 0);
        taken.Start();
        var port = ((IPEndPoint)taken.LocalEndpoint).Port;
        using var lab = new Lab();
        var configuration = Path.Combine(Path.GetTempPath(), $"introspect-{Guid.NewGuid():N}.yaml");
        File.WriteAllText(configuration, string.Create(CultureInfo.InvariantCulture, $"hypervisor:\n  connect: {lab.Socket}\ndomains:\n  - match: \"*\"\n    events:\n      cpuid: true\nmetrics:\n  listen: 127.0.0.1:{port}\nlogging:\n  console: false\n"));

        var (code, _, error) = IntrospectProcess.Run("run", "--config", configuration);

        Assert.Equal(1, code);
        Assert.Contains($"127.0.0.1:{port}", Assert.Single(error.TrimEnd().Split('\n')), StringComparison.Ordinal);
        File.Delete(configuration);
    }

    [Fact]
    public void The_demo_ends_with_a_summary_and_exit_code_0()
    {
        var (code, output, error) = IntrospectProcess.Run("trace", "--demo");

        Assert.True(code == 0, error);
        Assert.Empty(error);
        foreach (var reason in new[] { "write_ctrlreg", "mov_to_msr", "software_breakpoint", "cpuid", "singlestep", "mem_access", "guest_request", "vmexit" })
        {
            Assert.Contains(reason, output, StringComparison.Ordinal);
        }

        Assert.Contains("console | introspect demo guest: done", output, StringComparison.Ordinal);
        Assert.Contains("vCPUs stood still", output, StringComparison.Ordinal);
    }

    private static int FreePort()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        return ((IPEndPoint)listener.LocalEndpoint).Port;
    }

    private static string Scrape(int port)
    {
        try
        {
            using var client = new HttpClient();
            return client.GetStringAsync(new Uri($"http://127.0.0.1:{port}/metrics")).GetAwaiter().GetResult();
        }
        catch (HttpRequestException)
        {
            return "";
        }
    }

    private static HttpStatusCode Health(int port)
    {
        using var client = new HttpClient();
        using var response = client.GetAsync(new Uri($"http://127.0.0.1:{port}/healthz")).GetAwaiter().GetResult();
        return response.StatusCode;
    }

    private static double Events(string metrics) =>
        metrics.Split('\n').Where(line => line.StartsWith("introspect_events_total{", StringComparison.Ordinal))
            .Sum(line => double.Parse(line[(line.LastIndexOf(' ') + 1)..], CultureInfo.InvariantCulture));
}
