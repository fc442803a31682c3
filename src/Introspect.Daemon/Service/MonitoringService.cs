using System.Collections.Concurrent;
using System.Threading.Channels;
using Introspect.Daemon.Cli;
using Introspect.Daemon.Configuration;
using Introspect.Daemon.Hypervisors;
using Introspect.Daemon.Plugins;
using Introspect.Daemon.Sinks;
using Introspect.Daemon.Telemetry;
using Introspect.Hypervisor;
using Introspect.Rules.Pump;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace Introspect.Daemon.Service;

/// <summary>
/// Watches every domain that a policy is for, from its appearance to its end, with one pump each. One control loop takes
/// what happens (domains, a lost hypervisor, reloads) from one queue; what is done to a domain is done in the domain's own.
/// </summary>
internal sealed partial class MonitoringService(
    DaemonConfiguration configuration,
    IHypervisorFactory factory,
    IReadOnlyList<SinkQueue> sinks,
    ServiceMetrics metrics,
    TimeProvider time,
    ILogger<MonitoringService> logger,
    AttachedDomains? attached = null,
    PluginSet? plugins = null) : IHostedService, IHealthSource, IDisposable
{
    private static readonly TimeSpan FirstReconnect = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan LongestReconnect = TimeSpan.FromSeconds(30);

    private readonly Channel<Signal> _signals = Channel.CreateUnbounded<Signal>(new() { SingleReader = true });
    private readonly ConcurrentDictionary<DomainId, DomainWatch> _watches = new();
    private readonly ConcurrentDictionary<DomainWatch, Task> _leaving = new();
    private readonly CancellationTokenSource _stopping = new();
    private readonly WatchServices _services = new(sinks, metrics, PumpOptionsFor(configuration, sinks), time, logger) { Attached = attached ?? AttachedDomains.Unknown, Plugins = plugins };
    private PolicyTable _policies = new(configuration.Domains);
    private HypervisorSession? _session;
    private string? _lost;
    private bool _builtStarted;
    private long _busySince;
    private Task _control = Task.CompletedTask;
    private Task _watching = Task.CompletedTask;

    // What the control loop reacts to.
    private abstract record Signal
    {
        public sealed record Changed(IHypervisor Hypervisor, DomainChange Change) : Signal;

        public sealed record Lost(IHypervisor Hypervisor, Exception Cause) : Signal;

        public sealed record Reconnect(TimeSpan NextDelay) : Signal;

        public sealed record Reload(IReadOnlyList<DomainPolicy> Policies, TaskCompletionSource<PolicyReload> Done) : Signal;
    }

    /// <summary>Some domain could not be let go, or not in time.</summary>
    public bool LeftSomethingBehind { get; private set; }

    /// <summary>The domains that a policy is for, by number.</summary>
    public IReadOnlyList<DomainWatch> Watches => [.. _watches.Values.OrderBy(watch => watch.Info.Id.Value)];

    /// <inheritdoc/>
    public string? WhyNotReady => _stopping.IsCancellationRequested ? "the service stops"
        : Volatile.Read(ref _lost) is { } lost ? $"hypervisor: {lost}"
        : Volatile.Read(ref _session) is null ? "the hypervisor was not reached yet"
        : null;

    /// <inheritdoc/>
    public string Status
    {
        get
        {
            var attached = _watches.Values.Count(w => w.IsAttached);
            return Volatile.Read(ref _lost) is { } lost ? $"hypervisor lost: {lost}"
                : $"watching {attached} of {_watches.Count} domains";
        }
    }

    /// <inheritdoc/>
    public Task StartAsync(CancellationToken cancellationToken)
    {
        foreach (var warning in configuration.Warnings)
        {
            Log.RuleWarning(logger, warning);
        }

        // At the start whatever is wrong is the user's to know, at once; later it is the service's to get over.
        Open();
        _control = Task.Run(ControlAsync, CancellationToken.None);
        return Task.CompletedTask;
    }

    /// <inheritdoc/>
    public async Task StopAsync(CancellationToken cancellationToken)
    {
        Log.Stopping(logger, _watches.Count);
        await _stopping.CancelAsync().ConfigureAwait(false);
        _signals.Writer.TryComplete();
        // A pump that hangs while it is detached must not hold up the others.
        await Task.WhenAll(_control, _watching).WaitAsync(configuration.ShutdownTimeout, time, CancellationToken.None)
            .ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        foreach (var id in _watches.Keys)
        {
            _ = RemoveAsync(id, "the service stops");
        }

        if (!await HaveLeftAsync().ConfigureAwait(false))
        {
            return;
        }

        _session?.Dispose();
        _session = null;
        if (!LeftSomethingBehind)
        {
            Log.Stopped(logger);
        }
    }

    /// <inheritdoc/>
    public HealthReport CheckHealth()
    {
        var reasons = new List<string>();
        if (Volatile.Read(ref _lost) is { } lost)
        {
            reasons.Add($"hypervisor: {lost}");
        }

        reasons.AddRange(_watches.Values.Where(w => w.Trouble is not null).Select(w => $"domain {w.Label}: {w.Trouble}"));
        reasons.AddRange((plugins?.Counts ?? []).Where(p => !p.IsUp).Select(p => $"plugin {p.Name}: its process is being started anew"));
        reasons.AddRange(FindStalls());
        return new(reasons);
    }

    /// <inheritdoc/>
    public IReadOnlyList<string> FindStalls()
    {
        var stalls = _watches.Values.Where(w => w.Idle > configuration.PumpStallTimeout)
            .Select(w => $"domain {w.Label}: its pump has not moved for {w.Idle.TotalSeconds:0.0} s{(w.Statistics?.ActiveHandler is { } handler ? $", it is in handler {handler}" : "")}").ToList();
        var busySince = Volatile.Read(ref _busySince);
        // Letting go of everything may take as long as stopping.
        if (busySince != 0 && time.GetElapsedTime(busySince) is var busy && busy > (configuration.ShutdownTimeout * 2) + configuration.PumpStallTimeout)
        {
            stalls.Add($"the service itself has been busy for {busy.TotalSeconds:0.0} s");
        }

        return stalls;
    }

    /// <inheritdoc/>
    public void Dispose() => _stopping.Dispose();

    private static PumpOptions PumpOptionsFor(DaemonConfiguration configuration, IReadOnlyList<SinkQueue> sinks) => new()
    {
        RecordCapacity = configuration.Sinks.Capacity,
        RecordPolicy = sinks.Any(sink => sink.Blocks) ? RecordPolicy.Block : RecordPolicy.DropNewest,
        StopTimeout = configuration.ShutdownTimeout / 2,
    };

    private void Open()
    {
        using var span = Spans.Connect();
        try
        {
            _session = factory.Open(configuration.Hypervisor);
        }
        catch (Exception e)
        {
            span.Fail(UserError.OneLine(e.Message));
            throw;
        }

        var info = _session.Hypervisor.Info;
        Log.Started(logger, ProgramInfo.Version, info.Name, info.Version, info.Connection);
        span?.SetTag("introspect.hypervisor.connection", info.Connection);
        var hypervisor = _session.Hypervisor;
        _watching = Task.Run(() => WatchAsync(hypervisor), CancellationToken.None);
        Volatile.Write(ref _lost, null);
    }

    private async Task WatchAsync(IHypervisor hypervisor)
    {
        try
        {
            await foreach (var change in hypervisor.WatchAsync(_stopping.Token).ConfigureAwait(false))
            {
                _signals.Writer.TryWrite(new Signal.Changed(hypervisor, change));
            }
        }
        catch (OperationCanceledException)
        {
            return;
        }
        catch (Exception e) when (e is HypervisorException or IOException)
        {
            _signals.Writer.TryWrite(new Signal.Lost(hypervisor, e));
            return;
        }

        if (!_stopping.IsCancellationRequested)
        {
            _signals.Writer.TryWrite(new Signal.Lost(hypervisor, new IOException("it tells of no more domains")));
        }
    }

    private async Task ControlAsync()
    {
        await foreach (var signal in _signals.Reader.ReadAllAsync().ConfigureAwait(false))
        {
            if (_stopping.IsCancellationRequested)
            {
                (signal as Signal.Reload)?.Done.TrySetResult(new(["the service stops"], 0));
                continue;
            }

            Volatile.Write(ref _busySince, time.GetTimestamp());
            try
            {
                await HandleAsync(signal).ConfigureAwait(false);
            }
            catch (Exception e) when (e is HypervisorException or IOException)
            {
                // The hypervisor went in the middle; who watches it says so, too.
                (signal as Signal.Reload)?.Done.TrySetResult(new([UserError.OneLine(e.Message)], 0));
            }
            catch (Exception e)
            {
                // A mistake of this program about one signal must not deafen it to the others: domains come, go and end.
                Log.SignalNotHandled(logger, signal.GetType().Name, UserError.OneLine(e.Message), e);
                (signal as Signal.Reload)?.Done.TrySetResult(new([$"unexpected {e.GetType().Name}: {UserError.OneLine(e.Message)}"], 0));
            }

            Volatile.Write(ref _busySince, 0);
        }
    }

    private Task HandleAsync(Signal signal)
    {
        switch (signal)
        {
            case Signal.Changed changed when changed.Hypervisor == _session?.Hypervisor:
                return ChangeAsync(changed.Change);
            case Signal.Lost lost when lost.Hypervisor == _session?.Hypervisor:
                return LoseAsync(lost.Cause);
            case Signal.Reconnect reconnect:
                Reconnect(reconnect.NextDelay);
                return Task.CompletedTask;
            case Signal.Reload reload:
                return ReloadAsync(reload);
            default:
                // Of a hypervisor that was lost since.
                return Task.CompletedTask;
        }
    }

    private Task ChangeAsync(DomainChange change)
    {
        switch (change.Kind)
        {
            case DomainChangeKind.Ended:
                // One that is destroyed at its end may be gone before that state was seen: what is known last is then that it ran.
                _ = RemoveAsync(change.Domain.Id, change.Domain.State is DomainState.Running or DomainState.Blocked or DomainState.Paused ? "the domain is gone" : $"the domain ended ({change.Domain.State})");
                return Task.CompletedTask;
            case DomainChangeKind.Renamed when _watches.TryGetValue(change.Domain.Id, out var watch):
                return RenameAsync(watch, change.Domain);
            default:
                _ = RemoveAsync(change.Domain.Id, "the number was given to another domain");
                Consider(change.Domain);
                return Task.CompletedTask;
        }
    }

    // A domain may be seen before its toolstack has named it.
    private async Task RenameAsync(DomainWatch watch, DomainInfo domain)
    {
        watch.Rename(domain, LabelFor(domain));
        if (_policies.Find(domain) is not { } policy)
        {
            _ = RemoveAsync(domain.Id, "no policy is for its new name");
        }
        else if (!PolicyComparer.AreSame(policy, watch.Policy, domain))
        {
            try
            {
                await watch.ChangeAsync(await watch.PrepareAsync(policy).ConfigureAwait(false)).ConfigureAwait(false);
            }
            catch (Exception e) when (e is PumpStartException or HypervisorException or TimeoutException or ArgumentException)
            {
                Log.PolicyNotFollowed(logger, watch.Label, domain.Id, policy.Match, UserError.OneLine(e.Message));
            }
        }
    }

    private void Consider(DomainInfo domain)
    {
        var attached = Task.CompletedTask;
        if (_policies.Find(domain) is { } policy)
        {
            var watch = new DomainWatch(domain, LabelFor(domain), policy, _session!.Hypervisor, _services);
            _watches[domain.Id] = watch;
            attached = watch.AttachAsync();
        }
        else
        {
            Log.DomainIgnored(logger, domain.Name, domain.Id);
        }

        if (domain.Id == _session?.Built && !_builtStarted)
        {
            // The guest that was built for us starts when it is watched, so that nothing of it is missed.
            _builtStarted = true;
            var session = _session;
            _ = attached.ContinueWith(_ => session.Start(), CancellationToken.None, TaskContinuationOptions.None, TaskScheduler.Default);
        }
    }

    // Two series with the same labels would make the whole page worthless.
    private string LabelFor(DomainInfo domain)
    {
        var name = domain.Name.Length != 0 ? domain.Name : domain.Id.ToString();
        return _watches.Values.Any(watch => watch.Label == name && watch.Info.Id != domain.Id) ? $"{name} ({domain.Id})" : name;
    }

    private async Task LoseAsync(Exception cause)
    {
        var why = UserError.OneLine(cause.Message);
        Volatile.Write(ref _lost, why);
        foreach (var id in _watches.Keys)
        {
            _ = RemoveAsync(id, "the hypervisor is lost");
        }

        await HaveLeftAsync().ConfigureAwait(false);
        _session?.Dispose();
        _session = null;
        Log.HypervisorLost(logger, configuration.Hypervisor.SocketPath ?? "in-process", FirstReconnect, why);
        After(FirstReconnect, new Signal.Reconnect(FirstReconnect * 2));
    }

    private void Reconnect(TimeSpan nextDelay)
    {
        try
        {
            Open();
        }
        catch (Exception e) when (e is UserError or HypervisorException or IOException)
        {
            var why = UserError.OneLine(e.Message);
            Volatile.Write(ref _lost, why);
            Log.HypervisorLost(logger, configuration.Hypervisor.SocketPath ?? "in-process", nextDelay, why);
            After(nextDelay, new Signal.Reconnect(nextDelay * 2 < LongestReconnect ? nextDelay * 2 : LongestReconnect));
        }
    }

    private Task RemoveAsync(DomainId id, string why)
    {
        if (!_watches.TryRemove(id, out var watch))
        {
            return Task.CompletedTask;
        }

        var leaves = watch.LetGoAsync(why);
        _leaving[watch] = leaves;
        _ = leaves.ContinueWith(
            _ =>
            {
                LeftSomethingBehind |= watch.LeftSomethingBehind;
                _leaving.TryRemove(watch, out Task? _);
            },
            CancellationToken.None, TaskContinuationOptions.ExecuteSynchronously, TaskScheduler.Default);
        return leaves;
    }

    // Waits until every domain that is to be let go has been.
    private async Task<bool> HaveLeftAsync()
    {
        var leaving = _leaving.ToArray();
        try
        {
            await Task.WhenAll(leaving.Select(l => l.Value)).WaitAsync(configuration.ShutdownTimeout, time, CancellationToken.None).ConfigureAwait(false);
        }
        catch (TimeoutException)
        {
            foreach (var (watch, task) in leaving)
            {
                if (!task.IsCompleted)
                {
                    Log.StopTimedOut(logger, watch.Label, configuration.ShutdownTimeout);
                }
            }

            LeftSomethingBehind = true;
            return false;
        }

        LeftSomethingBehind |= leaving.Any(l => l.Key.LeftSomethingBehind);
        return true;
    }

    private void After(TimeSpan delay, Signal signal) =>
        _ = Task.Delay(delay, time, _stopping.Token).ContinueWith(
            _ => _signals.Writer.TryWrite(signal),
            CancellationToken.None, TaskContinuationOptions.OnlyOnRanToCompletion, TaskScheduler.Default);
}
