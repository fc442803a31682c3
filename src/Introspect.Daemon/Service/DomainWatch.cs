using Introspect.Daemon.Configuration;
using Introspect.Daemon.Sinks;
using Introspect.Daemon.Telemetry;
using Introspect.Daemon.Tracing;
using Introspect.Hypervisor;
using Introspect.Rules.Handlers;
using Introspect.Rules.Pump;
using Microsoft.Extensions.Logging;

namespace Introspect.Daemon.Service;

/// <summary>
/// One domain that a policy is for: attached with a pump, or waiting for the next try. Its state is changed by the
/// service's control loop alone; the counters and the health may be read by any thread.
/// </summary>
internal sealed class DomainWatch : IDisposable
{
    private static readonly TimeSpan FirstDelay = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan LongestDelay = TimeSpan.FromSeconds(60);

    private readonly IReadOnlyList<SinkQueue> _sinks;
    private readonly ServiceMetrics _metrics;
    private readonly DomainMetrics _own;
    private IDomain? _domain;
    private EventPump? _pump;
    private Task _delivery = Task.CompletedTask;
    private string? _trouble = "not attached yet";
    private TimeSpan _delay = FirstDelay;

    public DomainWatch(DomainInfo info, DomainPolicy policy, IReadOnlyList<SinkQueue> sinks, ServiceMetrics metrics)
    {
        (Info, Policy, _sinks, _metrics) = (info, policy, sinks, metrics);
        _own = new(metrics.DomainMeterName, Label, () => Volatile.Read(ref _pump)?.Statistics);
        _metrics.Add(_own);
    }

    /// <summary>The domain as it was when it appeared.</summary>
    public DomainInfo Info { get; }

    /// <summary>How it is watched.</summary>
    public DomainPolicy Policy { get; }

    /// <summary>The domain in logs and metrics: its name, or its number where it has none.</summary>
    public string Label => Info.Name.Length != 0 ? Info.Name : Info.Id.ToString();

    /// <summary>Why the domain is not watched; null when it is.</summary>
    public string? Trouble => Volatile.Read(ref _trouble);

    /// <summary>True while a pump runs.</summary>
    public bool IsAttached => Volatile.Read(ref _pump) is not null;

    /// <summary>Time since the pump went round its loop; zero where there is none.</summary>
    public TimeSpan Idle => Volatile.Read(ref _pump)?.Statistics.SinceLastActivity ?? TimeSpan.Zero;

    /// <summary>Ends with the pump; null where there is none.</summary>
    public Task<PumpEnd>? Completion => Volatile.Read(ref _pump)?.Completion;

    /// <summary>Attaches to the domain and starts its pump.</summary>
    /// <exception cref="HypervisorException">The hypervisor refused.</exception>
    /// <exception cref="PumpStartException">The hypervisor cannot send what the policy asks for.</exception>
    public void Attach(IHypervisor hypervisor, PumpOptions options, ILogger logger)
    {
        var domain = hypervisor.Open(Info.Id);
        try
        {
            var pump = new EventPump(domain, Handlers(), options, new PumpLog(Label, logger));
            pump.Start();
            _domain = domain;
            _delivery = DeliverAsync(pump);
            _delay = FirstDelay;

            // In this order: whoever sees no trouble sees a domain that is watched.
            Volatile.Write(ref _pump, pump);
            Volatile.Write(ref _trouble, null);
        }
        catch
        {
            domain.Dispose();
            throw;
        }
    }

    /// <summary>Notes that the domain could not be attached.</summary>
    /// <returns>When to try again.</returns>
    public TimeSpan Fail(string why)
    {
        Volatile.Write(ref _trouble, why);
        var delay = _delay;
        _delay = _delay * 2 < LongestDelay ? _delay * 2 : LongestDelay;
        return delay;
    }

    /// <summary>Lets the domain go: its monitor is drained and disabled, no vCPU of it stands still for us.</summary>
    public async Task DetachAsync(string why)
    {
        if (_pump is not { } pump)
        {
            return;
        }

        try
        {
            // The pump waits for handlers that run; other domains must not wait for it.
            await Task.Run(pump.Stop).ConfigureAwait(false);
            await _delivery.ConfigureAwait(false);
        }
        finally
        {
            Volatile.Write(ref _trouble, why);
            Volatile.Write(ref _pump, null);
            _domain?.Dispose();
            _domain = null;
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _metrics.Remove(_own);

    private List<HandlerRegistration> Handlers()
    {
        var handlers = new List<HandlerRegistration> { new(new TraceHandler(Policy.Selection, steps: 0, optional: false, demo: null), Order: 1000) };
        if (Policy.DenyProtectionClears)
        {
            handlers.Add(new(new ProtectCr4Handler(), Order: 0));
        }

        return handlers;
    }

    private async Task DeliverAsync(EventPump pump)
    {
        await Task.Yield();
        while (await pump.Records.WaitToReadAsync().ConfigureAwait(false))
        {
            while (pump.Records.TryRead(out var record))
            {
                foreach (var sink in _sinks)
                {
                    sink.Post(record, Info);
                }
            }
        }
    }
}
