using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using Introspect.Daemon.Control;
using Introspect.Daemon.Tests.EndToEnd;
using Introspect.Daemon.Tests.Plugins;

namespace Introspect.Daemon.Tests.Soak;

/// <summary>The service as a process, with every sink that it has, and plugins that crash, throw and hang.</summary>
internal sealed class SoakService : IDisposable
{
    private readonly string _folder;
    private readonly string _settings;
    private readonly Process _process;
    private readonly HttpClient _client;

    public SoakService(string folder, SoakLab lab, string events, string text, int collector, string syslog)
    {
        _folder = folder;
        var port = FreePort();
        _settings = $$"""
            hypervisor: { connect: {{lab.Socket}} }
            metrics: { listen: "127.0.0.1:{{port}}" }
            logging: { level: warning }
            control: { socket: {{ControlSocket}} }
            reload: { watch: false }
            sinks:
              capacity: 4096
              text: true
              json_file: {{events}}
              syslog: unix:{{syslog}}
              queues: { json: block, text: drop_newest, syslog: sample, otlp: drop_newest }
            otlp: { endpoint: "http://127.0.0.1:{{collector}}", timeout: 2s, metrics_interval: 1s }
            timeouts: { shutdown: 60s, pump_stall: 60s }

            """;
        Write(SoakPolicy.Good(0));
        _client = new() { BaseAddress = new($"http://127.0.0.1:{port}") };
        var start = new ProcessStartInfo("/bin/sh", ["-c", "exec \"$@\" > \"$SOAK_TEXT\" 2> \"$SOAK_LOG\"", "sh", "dotnet", IntrospectProcess.Program, "run", "--config", Yaml]);
        start.Environment["SOAK_TEXT"] = text;
        start.Environment["SOAK_LOG"] = LogFile;
        _process = Process.Start(start)!;
    }

    private string Yaml => Path.Combine(_folder, "introspect.yaml");

    private string LogFile => Path.Combine(_folder, "log");

    private string ControlSocket => Path.Combine(_folder, "control.sock");

    public bool HasExited => _process.HasExited;

    /// <summary>Resident memory, bytes.</summary>
    public long ResidentBytes => 1024 * long.Parse(
        File.ReadLines($"/proc/{_process.Id}/status").First(line => line.StartsWith("VmRSS:", StringComparison.Ordinal)).Split(' ', StringSplitOptions.RemoveEmptyEntries)[1],
        CultureInfo.InvariantCulture);

    public int OpenFiles => Directory.GetFiles($"/proc/{_process.Id}/fd").Length;

    public string Log => File.Exists(LogFile) ? File.ReadAllText(LogFile) : "";

    /// <summary>Changes the files of the configuration, and nothing else.</summary>
    public void Write(SoakPolicy policy)
    {
        File.WriteAllText(Path.Combine(_folder, "rules.yaml"), policy.Rules);
        File.WriteAllText(Yaml, _settings + policy.Domains + policy.Plugins(PluginBench.Folder));
    }

    /// <summary>Has the configuration read anew.</summary>
    public async Task<IReadOnlyList<string>> ReloadAsync()
    {
        using var control = await ControlClient.ConnectAsync(ControlSocket, CancellationToken.None);
        var response = await control.AskAsync("reload", CancellationToken.None);
        Assert.Equal(response.Ok, response.Errors.Count == 0);
        return response.Errors;
    }

    public async Task<MetricsPage> ScrapeAsync() => new(await _client.GetStringAsync(new Uri("/metrics", UriKind.Relative)));

    /// <summary>Waits until the page is as it should be.</summary>
    public async Task<MetricsPage> UntilAsync(Func<MetricsPage, bool> condition, string what)
    {
        var since = Stopwatch.StartNew();
        while (true)
        {
            try
            {
                var page = await ScrapeAsync();
                if (condition(page))
                {
                    return page;
                }
            }
            catch (HttpRequestException) when (!HasExited)
            {
                // It only starts.
            }

            Assert.False(HasExited, $"the service ended: {Log}");
            Assert.True(since.Elapsed < TimeSpan.FromMinutes(5), $"{what}: it never came to this; the log:\n{Log}");
            await Task.Delay(20);
        }
    }

    /// <summary>Stops it as systemd does.</summary>
    public int Stop()
    {
        Repository.Run("kill", ["-TERM", _process.Id.ToString(CultureInfo.InvariantCulture)]);
        Assert.True(_process.WaitForExit(TimeSpan.FromMinutes(5)), $"the service does not end; the log:\n{Log}");
        return _process.ExitCode;
    }

    public void Dispose()
    {
        if (!_process.HasExited)
        {
            _process.Kill();
            _process.WaitForExit();
        }

        _process.Dispose();
        _client.Dispose();
    }

    private static int FreePort()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        return ((IPEndPoint)listener.LocalEndpoint).Port;
    }
}
