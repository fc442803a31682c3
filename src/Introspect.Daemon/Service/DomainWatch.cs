using System.Diagnostics;
using Introspect.Daemon.Cli;
using Introspect.Daemon.Configuration;
using Introspect.Daemon.Plugins;
using Introspect.Daemon.Sinks;
using Introspect.Daemon.Telemetry;
using Introspect.Hypervisor;
using Introspect.Rules.Files;
using Introspect.Rules.Handlers;
using Introspect.Rules.Pump;
using Introspect.Rules.Running;
using Microsoft.Extensions.Logging;

namespace Introspect.Daemon.Service;

/// <summary>What all watches of a service share.</summary>
internal sealed record WatchServices(
    IReadOnlyList<SinkQueue> Sinks, ServiceMetrics Metrics, PumpOptions Pump, TimeProvider Time, ILogger Logger)
{
    /// <summary>Where it is noted which domains are attached.</summary>
    public AttachedDomains Attached { get; init; } = AttachedDomains.Unknown;

    /// <summary>The plugins that run; null: there are none.</summary>
    public PluginSet? Plugins { get; init; }
}

/// <summary>
/// One domain that a policy is for: attached with a pump, or waiting for the next try. What is done to it is done one
/// after the other, in a queue of its own, so that a domain that hangs holds up no other. The counters, the health and
/// the policy may be read by any thread.
/// </summary>
#pragma warning disable CA1001 // Sources of a token hold nothing for long, and what was queued may still look at them.
internal sealed class DomainWatch
#pragma warning restore CA1001
{
    // The first tries follow fast: a domain that is being built can be attached a moment later, before it runs.
    private static readonly TimeSpan FirstDelay = TimeSpan.FromMilliseconds(50);
    private static readonly TimeSpan LongestDelay = TimeSpan.FromSeconds(60);
    private static readonly TimeSpan DelayWorthTelling = TimeSpan.FromSeconds(1);

    private readonly IHypervisor _hypervisor;
    private readonly WatchServices _services;
    private readonly DomainPlugins _plugins;
    private readonly Lock _gate = new();
    private readonly CancellationTokenSource _ended = new();
    private readonly CancellationTokenSource _giveUp = new();
    private readonly AlertChannel _alerts = new();
    private readonly Task _alerting;
    private readonly Activity? _span;
    private DomainMetrics _own;
    private DomainRules? _rules;
    private FloodGuard? _guard;
    private DomainInfo _info;
    private string _label;
    private IDomain? _domain;
    private EventPump? _pump;
    private DomainPolicy _policy;
    private Task _last = Task.CompletedTask;
    private Task _delivery = Task.CompletedTask;
    private string? _trouble = "not attached yet";
    private string? _told;
    private TimeSpan _delay = FirstDelay;
    private ITimer? _retry;

    public DomainWatch(DomainInfo info, string label, DomainPolicy policy, IHypervisor hypervisor, WatchServices services)
    {
        (_info, _label, _policy, _hypervisor, _services) = (info, label, policy, hypervisor, services);
        _plugins = new(services.Plugins);
        _own = AddMetrics();
        _span = Spans.Watch(info, label, policy.Match);
        _alerting = TellAlertsAsync();
    }

    /// <summary>The domain as it was when it appeared, by the name that it has now.</summary>
    public DomainInfo Info => Volatile.Read(ref _info);

    /// <summary>The domain in logs and metrics: no other domain that is watched has the same.</summary>
    public string Label => Volatile.Read(ref _label);

    /// <summary>How it is watched.</summary>
    public DomainPolicy Policy => Volatile.Read(ref _policy);

    /// <summary>Why the domain is not watched; null when it is.</summary>
    public string? Trouble => Volatile.Read(ref _trouble);

    /// <summary>True while a pump runs.</summary>
    public bool IsAttached => Volatile.Read(ref _pump) is not null;

    /// <summary>The pump's counters; null where there is none.</summary>
    public PumpStatistics? Statistics => Volatile.Read(ref _pump)?.Statistics;

    /// <summary>Time since the pump went round its loop; zero where there is none.</summary>
    public TimeSpan Idle => Statistics?.SinceLastActivity ?? TimeSpan.Zero;

    /// <summary>Could not be let go as it should.</summary>
    public bool LeftSomethingBehind { get; private set; }

    /// <summary>Tries to attach, and again later where that fails, until it is let go.</summary>
    /// <returns>Ends with the first try, whatever came of it.</returns>
    public Task AttachAsync() => Enqueue(TryAttach);

    /// <summary>The domain goes by another name from now on.</summary>
    public void Rename(DomainInfo info, string label)
    {
        Volatile.Write(ref _info, info);
        Volatile.Write(ref _label, label);
        _services.Metrics.Remove(_own);
        _own = AddMetrics();
    }

    /// <summary>Finds out whether another policy could take over. Nothing changes yet.</summary>
    /// <returns>What to put in force by <see cref="ChangeAsync"/>.</returns>
    /// <exception cref="PumpStartException">The hypervisor cannot send what the policy asks for.</exception>
    public async Task<WatchChange> PrepareAsync(DomainPolicy policy)
    {
        var change = new WatchChange(policy, null, null);
        await Enqueue(() =>
        {
            if (_pump is { } pump)
            {
                var (prepared, handlers) = Prepare(policy, _domain!, pump.Prepare);
                change = change with { Pump = pump, Handlers = handlers, Change = prepared };
            }
        }).ConfigureAwait(false);
        return change;
    }

    /// <summary>
    /// Puts another policy in force, between two events where the domain is watched, and for the next try where it is not.
    /// </summary>
    /// <exception cref="PumpStartException">The hypervisor refused; the old policy stays.</exception>
    /// <exception cref="HypervisorException">The hypervisor refused; the old policy stays.</exception>
    /// <exception cref="TimeoutException">The pump is busy; the old policy stays.</exception>
    public Task ChangeAsync(WatchChange change) => Enqueue(async () =>
    {
        using var span = Spans.Of(_span, "change");
        if (_pump is { } pump)
        {
            // Attached anew since it was prepared?
            var (prepared, handlers) = change.Pump == pump ? (change.Change!, change.Handlers!) : Prepare(change.Policy, _domain!, pump.Prepare);
            await UnguardAsync().ConfigureAwait(false);
            try
            {
                pump.Apply(prepared);
                _rules = handlers.Rules;
                handlers.Plugins.Use();
            }
            catch (PumpStartException) when (pump.Completion.IsCompleted)
            {
                // The domain went. Should it come again, it is by the new policy.
            }
            catch (Exception e)
            {
                span.Fail(UserError.OneLine(e.Message));
                throw;
            }
            finally
            {
                handlers.Plugins.Abandon();
                Guard(pump);
            }
        }

        Volatile.Write(ref _policy, change.Policy);
        TryAttach();
    });

    /// <summary>Lets the domain go for good: its monitor is drained and disabled, no vCPU of it stands still for us.</summary>
    public Task LetGoAsync(string why)
    {
        // At once, so that a domain that comes again under the same name has the series for itself.
        _services.Metrics.Remove(_own);
        _ended.Cancel();

        // Sinks that lose nothing get longer for the last records than the pump gets to end, and not for ever.
        _giveUp.CancelAfter(_services.Pump.StopTimeout * 1.5);
        return Enqueue(async () =>
        {
            _retry?.Dispose();
            await DetachAsync(why).ConfigureAwait(false);
            _alerts.Complete();
            await _alerting.ConfigureAwait(false);
            _span?.Dispose();
        });
    }

    // Counters of rules that were there before go on.
    private DomainRules? RulesOf(DomainPolicy policy, IDomain domain) =>
        policy.Rules is { } set ? new(set, domain, _alerts, symbols: null, _services.Time, _rules) : null;

    private void Guard(EventPump pump) =>
        _guard = _rules is null ? null : new(pump, _rules, message => Log.RulesNotThrottled(_services.Logger, Label, message));

    private async Task UnguardAsync()
    {
        if (_guard is { } guard)
        {
            _guard = null;
            await guard.DisposeAsync().ConfigureAwait(false);
        }
    }

    private async Task TellAlertsAsync()
    {
        await Task.Yield();
        await foreach (var alert in _alerts.Reader.ReadAllAsync().ConfigureAwait(false))
        {
            var level = alert.Priority switch
            {
                RulePriority.Emergency or RulePriority.Alert or RulePriority.Critical => LogLevel.Critical,
                RulePriority.Error => LogLevel.Error,
                RulePriority.Warning => LogLevel.Warning,
                RulePriority.Debug => LogLevel.Debug,
                _ => LogLevel.Information,
            };
            var (priority, message) = (RuleValues.NameOf(alert.Priority), UserError.OneLine(alert.Message));
            Log.RuleAlert(_services.Logger, level, Label, priority, alert.Rule, message);
            foreach (var sink in _services.Sinks)
            {
                await sink.PostAsync(alert, Info, _giveUp.Token).ConfigureAwait(false);
            }
        }
    }

    private DomainMetrics AddMetrics()
    {
        var metrics = new DomainMetrics(_services.Metrics.DomainMeterName, Label, () => Statistics, () => Volatile.Read(ref _pump) is null ? [] : Volatile.Read(ref _rules)?.Statistics ?? []);
        _services.Metrics.Add(metrics);
        return metrics;
    }

    private void TryAttach()
    {
        if (_pump is not null || _ended.IsCancellationRequested)
        {
            return;
        }

        using var span = Spans.Of(_span, "attach");
        try
        {
            Attach();
            _told = null;
            _delay = FirstDelay;
            Log.DomainAttached(_services.Logger, Label, Info.Id, Policy.Match);
        }
#pragma warning disable CA1031 // Whatever it is, it is this domain's alone.
        catch (Exception e)
#pragma warning restore CA1031
        {
            span.Fail(UserError.OneLine(e.Message));
            Fail(e is HypervisorException { Error: Errno.EBUSY } && !e.Message.Contains("recover", StringComparison.Ordinal)
                ? $"{e.Message}; another monitor has it, or a dead one had: 'introspect recover {Label}'"
                : UserError.OneLine(e.Message));
        }
    }

    private void Attach()
    {
        var domain = _hypervisor.Open(Info.Id);
        try
        {
            if (domain.GetInfo().Uuid != Info.Uuid)
            {
                throw new HypervisorException(Errno.ESRCH, $"domain {Info.Id} is another one now");
            }

            var (pump, handlers) = Prepare(Policy, domain, registrations =>
            {
                var made = new EventPump(domain, registrations, _services.Pump, new PumpLog(() => Label, _services.Logger));
                _services.Attached.Add(Info);
                made.Start();
                return made;
            });
            handlers.Plugins.Use();
            _domain = domain;
            Volatile.Write(ref _rules, handlers.Rules);
            Guard(pump);
            _delivery = DeliverAsync(pump);

            // In this order: whoever sees no trouble sees a domain that is watched.
            Volatile.Write(ref _pump, pump);
            Volatile.Write(ref _trouble, null);
            _ = pump.Completion.ContinueWith(_ => Enqueue(() => PumpEndedAsync(pump)), CancellationToken.None, TaskContinuationOptions.None, TaskScheduler.Default);
        }
        catch
        {
            _services.Attached.Remove(Info);
            domain.Dispose();
            throw;
        }
    }

    // Handlers of plugins that come to nothing are let go of.
    private (T Made, WatchHandlers Handlers) Prepare<T>(DomainPolicy policy, IDomain domain, Func<IReadOnlyList<HandlerRegistration>, T> make)
    {
        var plugins = _plugins.Prepare(policy.Plugins, Info);
        try
        {
            var rules = RulesOf(policy, domain);
            return (make([.. PolicyHandlers.Make(policy, rules), .. plugins.Handlers]), new(rules, plugins));
        }
        catch
        {
            plugins.Abandon();
            throw;
        }
    }

    private void Fail(string why)
    {
        Volatile.Write(ref _trouble, why);
        if (why != _told || _delay >= DelayWorthTelling)
        {
            _told = why;
            Log.DomainNotAttached(_services.Logger, Label, Info.Id, _delay, why);
        }

        _retry?.Dispose();
        _retry = _services.Time.CreateTimer(_ => Enqueue(TryAttach), null, _delay, Timeout.InfiniteTimeSpan);
        _delay = _delay * 2 < LongestDelay ? _delay * 2 : LongestDelay;
    }

    private async Task PumpEndedAsync(EventPump pump)
    {
        if (_pump != pump)
        {
            return;
        }

        var end = await pump.Completion.ConfigureAwait(false);
        var why = end.Kind == PumpEndKind.DomainGone ? "the domain is gone" : end.Exception is { } cause ? UserError.OneLine(cause.Message) : "its pump ended";
        await DetachAsync(why).ConfigureAwait(false);

        // Most often the domain is gone, and the change that says so is on its way; else this is the next try.
        if (!_ended.IsCancellationRequested)
        {
            Fail(why);
        }
    }

    private async Task DetachAsync(string why)
    {
        if (_pump is not { } pump)
        {
            return;
        }

        using var span = Spans.Of(_span, "detach");
        span?.SetTag("introspect.detach.why", why);
        try
        {
            await UnguardAsync().ConfigureAwait(false);
            pump.Stop();
            _services.Attached.Remove(Info);
            await _delivery.ConfigureAwait(false);
            Log.DomainDetached(_services.Logger, Label, Info.Id, why);
        }
#pragma warning disable CA1031 // Whatever it was, the service goes on, and says that something is left.
        catch (Exception e)
#pragma warning restore CA1031
        {
            LeftSomethingBehind = true;
            span.Fail(UserError.OneLine(e.Message));
            Log.DetachFailed(_services.Logger, Label, Info.Id, UserError.OneLine(e.Message), e);
        }
        finally
        {
            Volatile.Write(ref _trouble, why);
            Volatile.Write(ref _pump, null);
            _plugins.Release();
            _domain?.Dispose();
            _domain = null;
        }
    }

    private async Task DeliverAsync(EventPump pump)
    {
        await Task.Yield();
        while (await pump.Records.WaitToReadAsync().ConfigureAwait(false))
        {
            while (pump.Records.TryRead(out var record))
            {
                foreach (var sink in _services.Sinks)
                {
                    await sink.PostAsync(in record, Info, _giveUp.Token).ConfigureAwait(false);
                }
            }
        }
    }

    private Task Enqueue(Action work) => Enqueue(() =>
    {
        work();
        return Task.CompletedTask;
    });

    // One after the other, on the pool: what is done here waits for hypercalls and handlers.
    private Task Enqueue(Func<Task> work)
    {
        lock (_gate)
        {
            return _last = RunAsync(_last, work);
        }
    }

    private static async Task RunAsync(Task before, Func<Task> work)
    {
        await before.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing | ConfigureAwaitOptions.ForceYielding);
        await work().ConfigureAwait(false);
    }
}

/// <summary>Another policy for a watch, found possible.</summary>
/// <param name="Policy">The policy.</param>
/// <param name="Pump">The pump that it was prepared for; null where there was none.</param>
/// <param name="Change">What to apply to the pump.</param>
internal sealed record WatchChange(DomainPolicy Policy, EventPump? Pump, PumpChange? Change)
{
    /// <summary>The new handlers; null where there was no pump.</summary>
    public WatchHandlers? Handlers { get; init; }
}

/// <summary>Where a policy's handlers on a domain come from.</summary>
/// <param name="Rules">Its rules; null where there are none.</param>
/// <param name="Plugins">Its plugins.</param>
internal sealed record WatchHandlers(DomainRules? Rules, DomainPlugins.Prepared Plugins);
