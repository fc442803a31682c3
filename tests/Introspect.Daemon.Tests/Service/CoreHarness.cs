using Introspect.Daemon.Configuration;
using Introspect.Daemon.Hypervisors;
using Introspect.Daemon.Service;
using Introspect.Daemon.Sinks;
using Introspect.Daemon.Telemetry;
using Introspect.Hypervisor;
using Introspect.Hypervisor.Core;
using Introspect.Rules.Tests.Core;
using Microsoft.Extensions.Logging.Abstractions;

namespace Introspect.Daemon.Tests.Service;

/// <summary>The monitoring service on the real core, with guests that count what they do.</summary>
internal sealed class CoreHarness : IAsyncDisposable
{
    private readonly CoreHypervisor _core = CountingGuest.CreateMachine();
    private readonly List<IDomain> _domains = [];

    public CoreHarness(params DomainPolicy[] policies)
    {
        Metrics = new("1.2.3", () => Sinks.Select(s => s.Counts));
        Configuration = new DaemonConfiguration
        {
            Hypervisor = new() { Source = HypervisorSource.Socket, SocketPath = "/run/fake.sock" },
            Domains = policies,
            Metrics = new(null),
            Logging = new(Microsoft.Extensions.Logging.LogLevel.None, false, null),
            Sinks = new(1024, false, null),
            PumpStallTimeout = TimeSpan.FromMinutes(5),
        };
        Service = new(Configuration, new OneMachine(_core), Sinks, Metrics, TimeProvider.System, NullLogger<MonitoringService>.Instance);
    }

    public DaemonConfiguration Configuration { get; }

    public List<SinkQueue> Sinks { get; } = [];

    public ServiceMetrics Metrics { get; }

    public MonitoringService Service { get; }

    public Task StartAsync() => Service.StartAsync(CancellationToken.None);

    /// <summary>Builds a guest, paused before its first instruction.</summary>
    public IDomain Build(string name, Guid? uuid = null)
    {
        var domain = _core.Open(CountingGuest.Build(_core, name, uuid));
        _domains.Add(domain);
        return domain;
    }

    /// <summary>Gives a domain another name.</summary>
    public void Rename(IDomain domain, string name) => Assert.Equal(0, _core.Toolstack.SetDomainName(domain.Id.Value, name));

    /// <summary>Waits until the domain is watched.</summary>
    public async Task<DomainWatch> Watched(IDomain domain)
    {
        await ServiceHarness.Until(() => Find(domain) is { IsAttached: true });
        return Find(domain)!;
    }

    public DomainWatch? Find(IDomain domain) => Service.Watches.FirstOrDefault(watch => watch.Info.Id == domain.Id);

    public async ValueTask DisposeAsync()
    {
        await Service.StopAsync(CancellationToken.None);
        Service.Dispose();
        Metrics.Dispose();
        _domains.ForEach(domain => domain.Dispose());
        _core.Dispose();
    }

    /// <summary>The machine outlives sessions, as a host's does.</summary>
    private sealed class OneMachine(CoreHypervisor core) : IHypervisorFactory
    {
        public HypervisorSession Open(HypervisorSpec spec) => new(new Borrowed(core));

        public HypervisorSession Serve(string socketPath, HypervisorSpec? guest, CoreFeatures features, DomainId? hardwareDomain, Action<string> log) => throw new NotSupportedException();
    }

    private sealed class Borrowed(CoreHypervisor core) : IHypervisor
    {
        public HypervisorInfo Info => core.Info;

        public IReadOnlyList<DomainInfo> ListDomains() => core.ListDomains();

        public IDomain Open(DomainRef domain) => core.Open(domain);

        public IAsyncEnumerable<DomainChange> WatchAsync(CancellationToken cancellationToken) => core.WatchAsync(cancellationToken);

        public void Dispose()
        {
        }
    }
}
