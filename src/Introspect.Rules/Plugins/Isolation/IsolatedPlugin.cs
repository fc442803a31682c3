using System.Diagnostics;
using Introspect.Hypervisor;
using Introspect.Hypervisor.Ring;

namespace Introspect.Rules.Plugins.Isolation;

/// <summary>
/// A plugin in a process of its own. When the process ends by itself, or hangs and is killed, it is started anew, later
/// each time; the handlers are away meanwhile.
/// </summary>
internal sealed class IsolatedPlugin : PluginInstance
{
    private static readonly TimeSpan FirstDelay = TimeSpan.FromMilliseconds(100);
    private static readonly TimeSpan LongestDelay = TimeSpan.FromSeconds(30);

    // One that ran for so long was well.
    private static readonly TimeSpan GoodLife = TimeSpan.FromMinutes(1);

    private readonly Lock _gate = new();
    private readonly PluginHostCommand _command;
    private readonly PluginLog _log;
    private readonly List<IsolatedHandler> _handlers = [];
    private readonly Timer _restart;
    private PluginHostProcess? _process;
    private TimeSpan _delay = FirstDelay;
    private long _startedAt;
    private int _nextHandler;
    private long _restarts;
    private long _crashes;
    private long _hangs;
    private bool _isDisposed;

    private IsolatedPlugin(PluginEntry entry, PluginHostCommand command, Action<PluginLogLevel, string> log)
        : base(entry)
    {
        (_command, _log) = (command, new(log));
        _restart = new(_ => Restart());
    }

    /// <inheritdoc/>
    public override PluginCounts Counts => new(
        Entry.Name, Volatile.Read(ref _process) is not null, Volatile.Read(ref _restarts), Volatile.Read(ref _crashes), Volatile.Read(ref _hangs));

    /// <summary>The process; null while there is none.</summary>
    public int? ProcessId => Volatile.Read(ref _process)?.Id;

    /// <summary>Starts the process and has it load the plugin.</summary>
    /// <exception cref="PluginException">It cannot be loaded.</exception>
    /// <exception cref="PluginOptionsException">Its settings do not fit.</exception>
    public static IsolatedPlugin StartProcess(PluginEntry entry, PluginHostCommand command, Action<PluginLogLevel, string> log)
    {
        var plugin = new IsolatedPlugin(entry, command, log);
        try
        {
            lock (plugin._gate)
            {
                plugin.Run(plugin.Launch());
            }
        }
        catch
        {
            plugin.Dispose();
            throw;
        }

        return plugin;
    }

    /// <inheritdoc/>
    public override PluginHandler CreateHandler(DomainInfo domain)
    {
        lock (_gate)
        {
            ObjectDisposedException.ThrowIf(_isDisposed, this);
            var process = _process ?? throw new PluginException($"the process of plugin {Entry.Name} is being started anew; try again");
            var id = ++_nextHandler;
            var (channel, subscription) = Connect(process, id, domain);
            var handler = new IsolatedHandler(this, id, domain, subscription, channel);
            _handlers.Add(handler);
            return handler;
        }
    }

    /// <summary>The process did not answer an event.</summary>
    public void CountHang() => Interlocked.Increment(ref _hangs);

    /// <summary>A handler is out of use.</summary>
    public void Remove(IsolatedHandler handler)
    {
        lock (_gate)
        {
            if (!_handlers.Remove(handler))
            {
                return;
            }

            handler.Lose();
            if (_process is { } process)
            {
                try
                {
                    process.Call(new() { Kind = ControlKind.Close, Handler = handler.Id });
                }
                catch (PluginException)
                {
                    // The process has ended, or will.
                }
            }
        }
    }

    /// <inheritdoc/>
    public override void Dispose()
    {
        PluginHostProcess? process;
        lock (_gate)
        {
            if (_isDisposed)
            {
                return;
            }

            _isDisposed = true;
            _handlers.ForEach(handler => handler.Lose());
            _handlers.Clear();
            process = _process;
            Volatile.Write(ref _process, null);
        }

        _restart.Dispose();
        process?.Dispose();
        _log.Dispose();
    }

    private PluginHostProcess Launch() => PluginHostProcess.Start(Entry, _command, _log, Ended);

    private void Run(PluginHostProcess process)
    {
        _startedAt = Stopwatch.GetTimestamp();
        Volatile.Write(ref _process, process);
    }

    private static (PluginChannel Channel, SubscriptionWire Subscription) Connect(PluginHostProcess process, int id, DomainInfo domain)
    {
        var (box, parts) = CallBox.Create($"introspect plugin {domain.Id}");
        try
        {
            using (parts)
            {
                var reply = process.Call(new() { Kind = ControlKind.Create, Handler = id, Domain = DomainWire.Of(domain) }, parts.Memory, parts.ToCaller, parts.FromCaller);
                return (new(box, process), reply.Subscription ?? new());
            }
        }
        catch
        {
            box.Dispose();
            throw;
        }
    }

    // On the thread of the process that ended.
    private void Ended(PluginHostProcess process)
    {
        lock (_gate)
        {
            if (_isDisposed || _process != process)
            {
                return;
            }

            Volatile.Write(ref _process, null);
            _handlers.ForEach(handler => handler.Lose());
            if (process.KilledFor is null)
            {
                Interlocked.Increment(ref _crashes);
            }

            if (Stopwatch.GetElapsedTime(_startedAt) >= GoodLife)
            {
                _delay = FirstDelay;
            }

            // Whoever gives the plugin up may be about to: that it runs again is told when it does.
            _log.Tell(PluginLogLevel.Error, _handlers.Count == 0
                ? $"its process {process.Id} {process.End}"
                : FormattableString.Invariant($"its process {process.Id} {process.End}; its events are answered by its fail policy until it runs again, in {_delay.TotalSeconds:0.#} s at the soonest"));
            Later();
        }
    }

    private void Later()
    {
        _restart.Change(_delay, Timeout.InfiniteTimeSpan);
        _delay = _delay * 2 < LongestDelay ? _delay * 2 : LongestDelay;
    }

    private void Restart()
    {
        lock (_gate)
        {
            if (_isDisposed || _process is not null)
            {
                return;
            }

            PluginHostProcess? process = null;
            var channels = new List<PluginChannel>();
            try
            {
                process = Launch();
                foreach (var handler in _handlers)
                {
                    var (channel, subscription) = Connect(process, handler.Id, handler.Domain);
                    channels.Add(channel);
                    if (!subscription.IsSame(handler.Subscription))
                    {
                        throw new PluginException($"it asks for other events of domain {handler.Domain.Id} than before; reload the configuration");
                    }
                }
            }
            catch (Exception e) when (e is PluginException or PluginOptionsException or HypervisorException)
            {
                channels.ForEach(channel => channel.Close());
                _log.Tell(PluginLogLevel.Error, FormattableString.Invariant($"its process cannot be started anew, next try in {_delay.TotalSeconds:0.#} s: {e.Message}"));
                Later();
                process?.Dispose();
                return;
            }

            Interlocked.Increment(ref _restarts);
            Run(process);
            for (var i = 0; i < channels.Count; i++)
            {
                _handlers[i].Use(channels[i]);
            }

            _log.Tell(PluginLogLevel.Information, $"its process runs again as {process.Id}");
        }
    }
}
