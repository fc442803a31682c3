using Introspect.Hypervisor.Abi;
using Introspect.Rules.Handlers;
using Introspect.Rules.Pump;
using Introspect.Rules.Running;
using Introspect.Rules.Tests.Files;
using Introspect.Rules.Tests.Mocks;

namespace Introspect.Rules.Tests.Running;

/// <summary>Rules on a pump of a mock domain.</summary>
internal sealed class RuleRig : IDisposable
{
    public RuleRig(params string[] files)
        : this(null, null, files)
    {
    }

    public RuleRig(TimeProvider? clock, IEnumerable<HandlerRegistration>? others, params string[] files)
    {
        Rules = new(RuleTexts.Load(files), Domain, Channel, clock: clock);
        Pump = new(Domain, [new(Rules.Handler), .. others ?? []], new PumpOptions { HandlerBudget = TimeSpan.FromSeconds(30) }, Diagnostics);
    }

    public MockDomain Domain { get; } = new();

    public MockMonitor Monitor => Domain.Monitor;

    public RecordingDiagnostics Diagnostics { get; } = new();

    public AlertChannel Channel { get; } = new(1024);

    public DomainRules Rules { get; }

    public EventPump Pump { get; }

    public RuleRig Start()
    {
        Pump.Start();
        return this;
    }

    /// <summary>Pushes a request and waits for its answer.</summary>
    public VmEvent Exchange(VmEvent request)
    {
        var before = Monitor.ResponseCount;
        Monitor.PushAll(request);
        Monitor.WaitForResponses(before + 1);
        return Monitor.Responses[before];
    }

    /// <summary>Alerts up to now.</summary>
    public List<AlertRecord> Alerts()
    {
        var alerts = new List<AlertRecord>();
        while (Channel.Reader.TryRead(out var alert))
        {
            alerts.Add(alert);
        }

        return alerts;
    }

    public List<string> AlertsOf(VmEvent request)
    {
        Exchange(request);
        return [.. Alerts().Select(alert => alert.Rule)];
    }

    public RuleStatistics Statistics(string rule) => Rules.Statistics.Single(statistics => statistics.Rule == rule);

    public void Dispose() => Pump.Dispose();
}
