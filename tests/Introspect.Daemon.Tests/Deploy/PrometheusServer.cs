using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Text;
using System.Text.Json;

namespace Introspect.Daemon.Tests.Deploy;

/// <summary>A real Prometheus that scrapes one service each second and evaluates the alert rules.</summary>
internal sealed class PrometheusServer : IDisposable
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(90);

    private readonly string _folder = Directory.CreateTempSubdirectory("introspect-prometheus-").FullName;
    private readonly Process _process;
    private readonly HttpClient _client;
    private readonly StringBuilder _log = new();

    public PrometheusServer(int scraped)
    {
        var port = FreePort();
        var configuration = Path.Combine(_folder, "prometheus.yml");
        // The scrape job as it is shipped, faster and at the port of the test.
        var text = File.ReadAllText(Repository.PathOf("deploy", "prometheus", "scrape.yml"))
            .Replace("scrape_interval: 15s", "scrape_interval: 1s\n  evaluation_interval: 1s", StringComparison.Ordinal)
            .Replace("- alerts.yml", $"- {Repository.PathOf("deploy", "prometheus", "alerts.yml")}", StringComparison.Ordinal)
            .Replace("127.0.0.1:9660", string.Create(CultureInfo.InvariantCulture, $"127.0.0.1:{scraped}"), StringComparison.Ordinal);
        File.WriteAllText(configuration, text);
        _process = Process.Start(new ProcessStartInfo(
            "prometheus",
            [$"--config.file={configuration}", $"--storage.tsdb.path={Path.Combine(_folder, "data")}", $"--web.listen-address=127.0.0.1:{port}"])
        {
            RedirectStandardError = true,
            RedirectStandardOutput = true,
        })!;
        _process.OutputDataReceived += (_, line) => Note(line.Data);
        _process.ErrorDataReceived += (_, line) => Note(line.Data);
        _process.BeginOutputReadLine();
        _process.BeginErrorReadLine();
        _client = new() { BaseAddress = new($"http://127.0.0.1:{port}") };
    }

    /// <summary>The samples that a query gives now.</summary>
    public async Task<IReadOnlyList<JsonElement>> QueryAsync(string expression)
    {
        using var form = new FormUrlEncodedContent([new("query", expression)]);
        using var answer = await _client.PostAsync(new Uri("/api/v1/query", UriKind.Relative), form);
        var text = await answer.Content.ReadAsStringAsync();
        if (answer.StatusCode == HttpStatusCode.ServiceUnavailable)
        {
            // It listens, and has not read its storage yet.
            throw new HttpRequestException(text);
        }

        Assert.True(answer.IsSuccessStatusCode, $"{expression}: {text}");
        return [.. JsonDocument.Parse(text).RootElement.GetProperty("data").GetProperty("result").EnumerateArray()];
    }

    /// <summary>The data of another part of the API.</summary>
    public async Task<JsonElement> GetAsync(string path) =>
        JsonDocument.Parse(await _client.GetStringAsync(new Uri(path, UriKind.Relative))).RootElement.GetProperty("data");

    /// <summary>Asks until a query gives samples.</summary>
    public Task<IReadOnlyList<JsonElement>> AwaitAsync(string expression) => AwaitAsync(expression, () => QueryAsync(expression), samples => samples.Count != 0);

    /// <summary>Asks until the answer is as it should be.</summary>
    public async Task<T> AwaitAsync<T>(string what, Func<Task<T>> ask, Predicate<T> isEnough)
    {
        for (var clock = Stopwatch.StartNew(); clock.Elapsed < Patience && !_process.HasExited; await Task.Delay(250))
        {
            try
            {
                if (await ask() is var answer && isEnough(answer))
                {
                    return answer;
                }
            }
            catch (HttpRequestException)
            {
                // It does not listen yet.
            }
        }

        lock (_log)
        {
            throw new TimeoutException($"it never came to this: {what}\n{_log}");
        }
    }

    public void Dispose()
    {
        _client.Dispose();
        if (!_process.HasExited)
        {
            _process.Kill();
            _process.WaitForExit();
        }

        _process.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    public static int FreePort()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        return ((IPEndPoint)listener.LocalEndpoint).Port;
    }

    private void Note(string? line)
    {
        lock (_log)
        {
            _log.AppendLine(line);
        }
    }
}
