using System.Collections.Concurrent;
using System.Threading.Channels;
using Introspect.Daemon.Configuration;
using Introspect.Daemon.Hypervisors;
using Introspect.Daemon.Sinks;
using Introspect.Daemon.Telemetry;
using Introspect.Hypervisor;
using Introspect.Rules.Pump;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace Introspect.Daemon.Service;

/// <summary>
/// Watches every domain that a policy is for, from its appearance to its end, with one pump each. One control loop
/// takes everything that happens (domains, ended pumps, retries, reloads) from one queue, so that attaching and
/// detaching need no locks.
/// </summary>
internal sealed class MonitoringService(
    DaemonConfiguration configuration,
    IHypervisorFactory factory,
    IReadOnlyList<SinkQueue> sinks,
    ServiceMetrics metrics,
    TimeProvider time,
    ILogger<MonitoringService> logger) : IHostedService, IHealthSource, IDisposable
{
    private static readonly TimeSpan FirstReconnect = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan LongestReconnect = TimeSpan.FromSeconds(30);

    private readonly Channel<Signal> _signals = Channel.CreateUnbounded<Signal>(new() { SingleReader = true });
    private readonly ConcurrentDictionary<DomainId, DomainWatch> _watches = new();
    private readonly CancellationTokenSource _stopping = new();
    private readonly PumpOptions _pumpOptions = new() { RecordCapacity = configuration.Sinks.Capacity, StopTimeout = configuration.ShutdownTimeout / 2 };
    private IReadOnlyList<DomainPolicy> _policies = configuration.Domains;
    private HypervisorSession? _session;
    private string? _lost;
    private bool _builtStarted;
    private Task _control = Task.CompletedTask;
    private Task _watching = Task.CompletedTask;

    // What the control loop reacts to.
    private abstract record Signal
    {
        public sealed record Changed(DomainChange Change) : Signal;

        public sealed record PumpEnded(DomainWatch Watch) : Signal;

        public sealed record Retry(DomainWatch Watch) : Signal;

        public sealed record Lost(Exception Cause) : Signal;

        public sealed record Reconnect(TimeSpan NextDelay) : Signal;

        public sealed record Reload(IReadOnlyList<DomainPolicy> Policies) : Signal;
    }

    /// <summary>Some domain could not be let go in time.</summary>
    public bool LeftSomethingBehind { get; private set; }

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
        var leaving = _watches.Values.Select(watch => (Watch: watch, Task: DetachAsync(watch, "the service stops"))).ToArray();
        try
        {
            await Task.WhenAll(leaving.Select(l => l.Task)).WaitAsync(configuration.ShutdownTimeout, time, CancellationToken.None).ConfigureAwait(false);
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
            return;
        }

        _session?.Dispose();
        _session = null;
        if (!LeftSomethingBehind)
        {
            Log.Stopped(logger);
        }
    }

    /// <summary>Takes new policies over.</summary>
    public void Reload(IReadOnlyList<DomainPolicy> policies) => _signals.Writer.TryWrite(new Signal.Reload(policies));

    /// <inheritdoc/>
    public HealthReport CheckHealth()
    {
        var reasons = new List<string>();
        if (Volatile.Read(ref _lost) is { } lost)
        {
            reasons.Add($"hypervisor: {lost}");
        }

        reasons.AddRange(_watches.Values.Where(w => w.Trouble is not null).Select(w => $"domain {w.Label}: {w.Trouble}"));
        reasons.AddRange(FindStalls());
        return new(reasons);
    }

    /// <inheritdoc/>
    public IReadOnlyList<string> FindStalls() =>
        [.. _watches.Values.Where(w => w.Idle > configuration.PumpStallTimeout)
            .Select(w => $"domain {w.Label}: its pump has not moved for {w.Idle.TotalSeconds:0.0} s")];

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var watch in _watches.Values)
        {
            watch.Dispose();
        }

        _stopping.Dispose();
    }

    private void Open()
    {
        _session = factory.Open(configuration.Hypervisor);
        var info = _session.Hypervisor.Info;
        Log.Started(logger, ProgramInfo.Version, info.Name, info.Version, info.Connection);
        _watching = Task.Run(() => WatchAsync(_session.Hypervisor), CancellationToken.None);
        Volatile.Write(ref _lost, null);
    }

    private async Task WatchAsync(IHypervisor hypervisor)
    {
        try
        {
            await foreach (var change in hypervisor.WatchAsync(_stopping.Token).ConfigureAwait(false))
            {
                _signals.Writer.TryWrite(new Signal.Changed(change));
            }
        }
        catch (OperationCanceledException)
        {
            return;
        }
        catch (Exception e) when (e is HypervisorException or IOException)
        {
            _signals.Writer.TryWrite(new Signal.Lost(e));
            return;
        }

        if (!_stopping.IsCancellationRequested)
        {
            _signals.Writer.TryWrite(new Signal.Lost(new IOException("it tells of no more domains")));
        }
    }

    private async Task ControlAsync()
    {
        await foreach (var signal in _signals.Reader.ReadAllAsync().ConfigureAwait(false))
        {
            if (_stopping.IsCancellationRequested)
            {
                continue;
            }

            await (signal switch
            {
                Signal.Changed changed => ChangeAsync(changed.Change),
                Signal.PumpEnded ended => PumpEndedAsync(ended.Watch),
                Signal.Retry retry => RetryAsync(retry.Watch),
                Signal.Lost lost => LoseAsync(lost.Cause),
                Signal.Reconnect reconnect => ReconnectAsync(reconnect.NextDelay),
                Signal.Reload reload => ReloadAsync(reload.Policies),
                _ => Task.CompletedTask,
            }).ConfigureAwait(false);
        }
    }

    private async Task ChangeAsync(DomainChange change)
    {
        if (change.Kind == DomainChangeKind.Ended)
        {
            await RemoveAsync(change.Domain.Id, $"the domain ended ({change.Domain.State})").ConfigureAwait(false);
            return;
        }

        await RemoveAsync(change.Domain.Id, "the number was given to another domain").ConfigureAwait(false);
        Consider(change.Domain);
        if (change.Domain.Id == _session?.Built && !_builtStarted)
        {
            // The guest that was built for us starts when it is watched, so that nothing of it is missed.
            _builtStarted = true;
            _session.Start();
        }
    }

    private void Consider(DomainInfo domain)
    {
        if (PolicyComparer.Find(_policies, domain) is not { } policy)
        {
            Log.DomainIgnored(logger, domain.Name, domain.Id);
            return;
        }

        var watch = new DomainWatch(domain, policy, sinks, metrics);
        _watches[domain.Id] = watch;
        TryAttach(watch);
    }

    private void TryAttach(DomainWatch watch)
    {
        try
        {
            watch.Attach(_session!.Hypervisor, _pumpOptions, logger);
            Log.DomainAttached(logger, watch.Label, watch.Info.Id, watch.Policy.Match);
            _ = watch.Completion!.ContinueWith(
                _ => _signals.Writer.TryWrite(new Signal.PumpEnded(watch)),
                CancellationToken.None, TaskContinuationOptions.ExecuteSynchronously, TaskScheduler.Default);
        }
        catch (Exception e) when (e is HypervisorException or PumpStartException or IOException)
        {
            var why = e is HypervisorException { Error: Errno.EBUSY } && !e.Message.Contains("recover", StringComparison.Ordinal)
                ? $"{e.Message}; another monitor has it, or a dead one had: 'introspect recover {watch.Label}'"
                : Cli.UserError.OneLine(e.Message);
            var delay = watch.Fail(why);
            Log.DomainNotAttached(logger, watch.Label, watch.Info.Id, delay, why);
            After(delay, new Signal.Retry(watch));
        }
    }

    private async Task PumpEndedAsync(DomainWatch watch)
    {
        if (!IsCurrent(watch) || !watch.IsAttached)
        {
            return;
        }

        var end = await watch.Completion!.ConfigureAwait(false);
        var why = end.Kind == PumpEndKind.DomainGone ? "the domain is gone" : end.Exception is { } cause ? Cli.UserError.OneLine(cause.Message) : "its pump ended";
        await DetachAsync(watch, why).ConfigureAwait(false);
        // Most often the domain is gone, and the change that says so is on its way; else this is the next try.
        After(watch.Fail(why), new Signal.Retry(watch));
    }

    private Task RetryAsync(DomainWatch watch)
    {
        if (IsCurrent(watch) && !watch.IsAttached && _session is not null)
        {
            TryAttach(watch);
        }

        return Task.CompletedTask;
    }

    private async Task LoseAsync(Exception cause)
    {
        var why = Cli.UserError.OneLine(cause.Message);
        Volatile.Write(ref _lost, why);
        foreach (var id in _watches.Keys)
        {
            await RemoveAsync(id, "the hypervisor is lost").ConfigureAwait(false);
        }

        _session?.Dispose();
        _session = null;
        Log.HypervisorLost(logger, configuration.Hypervisor.SocketPath ?? "in-process", FirstReconnect, why);
        After(FirstReconnect, new Signal.Reconnect(FirstReconnect * 2));
    }

    private Task ReconnectAsync(TimeSpan nextDelay)
    {
        try
        {
            Open();
        }
        catch (Exception e) when (e is Cli.UserError or HypervisorException or IOException)
        {
            var why = Cli.UserError.OneLine(e.Message);
            Volatile.Write(ref _lost, why);
            Log.HypervisorLost(logger, configuration.Hypervisor.SocketPath ?? "in-process", nextDelay, why);
            After(nextDelay, new Signal.Reconnect(nextDelay * 2 < LongestReconnect ? nextDelay * 2 : LongestReconnect));
        }

        return Task.CompletedTask;
    }

    private async Task ReloadAsync(IReadOnlyList<DomainPolicy> policies)
    {
        _policies = policies;
        var changed = 0;
        foreach (var domain in _session?.Hypervisor.ListDomains() ?? [])
        {
            var old = _watches.GetValueOrDefault(domain.Id);
            var policy = PolicyComparer.Find(policies, domain);
            if (old is not null && policy is not null && PolicyComparer.AreSame(old.Policy, policy))
            {
                continue;
            }

            changed += old is not null || policy is not null ? 1 : 0;
            await RemoveAsync(domain.Id, "its policy changed").ConfigureAwait(false);
            Consider(domain);
        }

        Log.Reloaded(logger, changed, policies.Count);
    }

    private async Task RemoveAsync(DomainId id, string why)
    {
        if (_watches.TryRemove(id, out var watch))
        {
            await DetachAsync(watch, why).ConfigureAwait(false);
            watch.Dispose();
        }
    }

    private async Task DetachAsync(DomainWatch watch, string why)
    {
        if (!watch.IsAttached)
        {
            return;
        }

        try
        {
            await watch.DetachAsync(why).ConfigureAwait(false);
            Log.DomainDetached(logger, watch.Label, watch.Info.Id, why);
        }
        catch (Exception e)
        {
            // Whatever it was, the other domains still have to be let go.
            LeftSomethingBehind = true;
            Log.DetachFailed(logger, watch.Label, watch.Info.Id, Cli.UserError.OneLine(e.Message), e);
        }
    }

    private bool IsCurrent(DomainWatch watch) => _watches.TryGetValue(watch.Info.Id, out var current) && ReferenceEquals(current, watch);

    private void After(TimeSpan delay, Signal signal) =>
        _ = Task.Delay(delay, time, _stopping.Token).ContinueWith(
            _ => _signals.Writer.TryWrite(signal),
            CancellationToken.None, TaskContinuationOptions.OnlyOnRanToCompletion, TaskScheduler.Default);
}
