using Introspect.Daemon.Configuration;
using Introspect.Daemon.Hypervisors;
using Introspect.Daemon.Service;
using Introspect.Daemon.Sinks;
using Introspect.Daemon.Telemetry;
using Introspect.Daemon.Tests.Fakes;
using Introspect.Daemon.Tracing;
using Introspect.Hypervisor;
using Microsoft.Extensions.Logging.Abstractions;

namespace Introspect.Daemon.Tests.Service;

/// <summary>The monitoring service on a fake hypervisor.</summary>
internal sealed class ServiceHarness : IAsyncDisposable
{
    private readonly MonitoringService _service;

    public ServiceHarness(params DomainPolicy[] policies)
        : this(TimeSpan.FromMinutes(5), policies)
    {
    }

    public ServiceHarness(TimeSpan stall, params DomainPolicy[] policies)
    {
        Factory = new(Hypervisor);
        Metrics = new("1.2.3", () => Sinks.Select(s => s.Counts));
        var configuration = new DaemonConfiguration
        {
            Hypervisor = new() { Source = HypervisorSource.Socket, SocketPath = "/run/fake.sock" },
            Domains = policies.Length != 0 ? policies : [Policy()],
            Metrics = new(null),
            Logging = new(Microsoft.Extensions.Logging.LogLevel.None, false, null),
            Sinks = new(1024, false, null),
            PumpStallTimeout = stall,
        };
        _service = new(configuration, Factory, Sinks, Metrics, TimeProvider.System, NullLogger<MonitoringService>.Instance);
    }

    public FakeHypervisor Hypervisor { get; } = new();

    public FakeFactory Factory { get; }

    public List<SinkQueue> Sinks { get; } = [];

    public ServiceMetrics Metrics { get; }

    public MonitoringService Service => _service;

    public static DomainPolicy Policy(string match = "*", bool deny = false) =>
        new(match, new EventSelection { Events = [new MonitorEvent.Cpuid()] }, deny);

    public Task StartAsync() => _service.StartAsync(CancellationToken.None);

    public Task StopAsync() => _service.StopAsync(CancellationToken.None);

    /// <summary>Waits for something that other threads do. Fails only where it never happens.</summary>
    public static async Task Until(Func<bool> condition, [System.Runtime.CompilerServices.CallerArgumentExpression(nameof(condition))] string what = "")
    {
        for (var i = 0; i < 3000; i++)
        {
            if (condition())
            {
                return;
            }

            await Task.Delay(10);
        }

        Assert.Fail($"it never came to this: {what}");
    }

    public async ValueTask DisposeAsync()
    {
        await StopAsync();
        _service.Dispose();
        Metrics.Dispose();
    }
}
