using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Text;
using Introspect.Daemon.Cli;
using Introspect.Daemon.Hypervisors;
using Introspect.Daemon.Tests.Service;

namespace Introspect.Daemon.Tests.Control;

/// <summary><c>introspect run</c> in this process, on the demo guest, with a control socket.</summary>
internal sealed class RunningService : IAsyncDisposable
{
    private readonly CancellationTokenSource _stop = new();
    private readonly HttpClient _client;
    private readonly Task<(int ExitCode, string Output, string Error)> _run;

    private RunningService(string more, string? socket, string? group)
    {
        var port = FreePort();
        Socket = socket ?? Path.Combine(Folder, "control.sock");
        Yaml = $$"""
            hypervisor: { demo: true }
            domains: [ { match: demo, events: { cpuid: true } } ]
            metrics: { listen: "127.0.0.1:{{port}}" }
            logging: { console: false, file: {{Path.Combine(Folder, "log")}} }
            control: { socket: {{Socket}}, group: {{group}} }
            {{more}}

            """;
        Write(Yaml);
        _client = new() { BaseAddress = new($"http://127.0.0.1:{port}") };
        _run = Task.Run(() => InvokeAsync(["run", "--config", Config], _stop.Token));
    }

    public string Folder { get; } = Directory.CreateTempSubdirectory("introspect-control-").FullName;

    public string Socket { get; }

    /// <summary>What the configuration was at the start.</summary>
    public string Yaml { get; }

    public string Config => Path.Combine(Folder, "introspect.yaml");

    /// <summary>Starts it and waits until it watches the guest, and can be asked.</summary>
    public static async Task<RunningService> StartAsync(string more = "", string? socket = null, string? group = null)
    {
        var service = new RunningService(more, socket, group);
        await ServiceHarness.Until(() => service._run.IsCompleted || (service.Value("introspect_events_total{domain=\"demo\",reason=\"cpuid\"}") > 0 && CanConnect(service.Socket)));
        Assert.False(service._run.IsCompleted, service._run.IsCompleted ? (await service._run).Error : "");
        return service;
    }

    /// <summary>Starts it, and it ends by itself.</summary>
    public static async Task<(int ExitCode, string Output, string Error)> FailAsync(string socket, string? group = null)
    {
        await using var service = new RunningService("", socket, group);
        return await service._run;
    }

    /// <summary>Runs a command line in this process.</summary>
    public static async Task<(int ExitCode, string Output, string Error)> InvokeAsync(string[] words, CancellationToken cancellationToken, bool isTerminal = false, Func<string, string?>? variable = null)
    {
        using var stream = new MemoryStream();
        using var text = new StringWriter { NewLine = "\n" };
        using var error = new StringWriter { NewLine = "\n" };
        using var commands = new Commands(new HypervisorFactory(), stream, isTerminal, variable ?? (_ => null));
        var exitCode = await CommandLine.InvokeAsync(words, commands, text, error, cancellationToken);
        return (exitCode, Encoding.UTF8.GetString(stream.ToArray()) + text, error.ToString());
    }

    /// <summary>Runs a command that talks to the service.</summary>
    public Task<(int ExitCode, string Output, string Error)> Ask(params string[] words) => InvokeAsync([.. words, "--socket", Socket], CancellationToken.None);

    /// <summary>Writes the configuration as an editor does: another file takes the place of the old one.</summary>
    public void Write(string yaml)
    {
        File.WriteAllText(Config + ".new", yaml);
        File.Move(Config + ".new", Config, overwrite: true);
    }

    /// <summary>The value of a series; null where it is not there.</summary>
    public double? Value(string series)
    {
        try
        {
            var page = _client.GetStringAsync(new Uri("/metrics", UriKind.Relative)).GetAwaiter().GetResult();
            var line = page.Split('\n').FirstOrDefault(l => l.StartsWith(series + " ", StringComparison.Ordinal));
            return line is null ? null : double.Parse(line[(series.Length + 1)..], CultureInfo.InvariantCulture);
        }
        catch (HttpRequestException)
        {
            return null;
        }
    }

    public string ReadLog()
    {
        using var reader = new StreamReader(new FileStream(Directory.GetFiles(Folder, "log*").Single(), FileMode.Open, FileAccess.Read, FileShare.ReadWrite));
        return reader.ReadToEnd();
    }

    /// <summary>Stops it as systemd does.</summary>
    public async Task<int> StopAsync()
    {
        await _stop.CancelAsync();
        return (await _run).ExitCode;
    }

    public async ValueTask DisposeAsync()
    {
        await StopAsync();
        _stop.Dispose();
        _client.Dispose();
        Directory.Delete(Folder, recursive: true);
    }

    private static bool CanConnect(string path)
    {
        using var probe = new System.Net.Sockets.Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            probe.Connect(new UnixDomainSocketEndPoint(path));
            return true;
        }
        catch (SocketException)
        {
            return false;
        }
    }

    private static int FreePort()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        return ((IPEndPoint)listener.LocalEndpoint).Port;
    }
}
