using System.Threading.Channels;
using Introspect.Hypervisor;
using Introspect.Rules.Pump;

namespace Introspect.Rules.Running;

/// <summary>
/// Changes what rules ask of the hypervisor while they are in force. It takes the events of a flooding rule away for a while,
/// and asks for them again: what the guest does meanwhile costs it nothing. And it watches other pages when linear addresses
/// of rules have come elsewhere. Every event that was sent is still answered.
/// </summary>
public sealed class FloodGuard : IAsyncDisposable
{
    private readonly EventPump _pump;
    private readonly DomainRules _rules;
    private readonly Action<string> _told;
    private readonly Channel<bool> _flooded = Channel.CreateBounded<bool>(new BoundedChannelOptions(1) { FullMode = BoundedChannelFullMode.DropWrite });
    private readonly CancellationTokenSource _stopping = new();
    private readonly Task _loop;
    private RuleSetHandler _inForce;
    private bool _isLate;

    /// <summary>Begins to guard.</summary>
    /// <param name="pump">A pump that runs, with the rules' handler in it.</param>
    /// <param name="rules">The rules.</param>
    /// <param name="told">Is told when the hypervisor or the pump refuses a change; it is tried again later.</param>
    public FloodGuard(EventPump pump, DomainRules rules, Action<string>? told = null)
    {
        ArgumentNullException.ThrowIfNull(pump);
        ArgumentNullException.ThrowIfNull(rules);
        _pump = pump;
        _rules = rules;
        _told = told ?? (static _ => { });
        _inForce = rules.Handler;
        foreach (var run in rules.Rules)
        {
            run.TakeOverStatistics();

            // A throttle that began or ended since the handler subscribed.
            _isLate |= run.IsAskedFor == run.IsThrottled;
        }

        if (_isLate)
        {
            _flooded.Writer.TryWrite(true);
        }

        rules.Flooded = () => _flooded.Writer.TryWrite(true);
        _loop = Task.Run(RunAsync);
    }

    /// <summary>Changes that were made.</summary>
    internal int Changes { get; private set; }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        _rules.Flooded = null;
        await _stopping.CancelAsync().ConfigureAwait(false);
        await _loop.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        _stopping.Dispose();
    }

    private async Task RunAsync()
    {
        while (!_stopping.IsCancellationRequested)
        {
            using var waiting = CancellationTokenSource.CreateLinkedTokenSource(_stopping.Token);
            var due = UntilNext() is { } delay ? Task.Delay(delay, _rules.Clock, waiting.Token) : Task.Delay(Timeout.Infinite, waiting.Token);
            await Task.WhenAny(_flooded.Reader.WaitToReadAsync(waiting.Token).AsTask(), due).ConfigureAwait(false);
            await waiting.CancelAsync().ConfigureAwait(false);
            if (!_stopping.IsCancellationRequested && (_rules.Resume() | LookAgain() | _flooded.Reader.TryRead(out _) | _isLate))
            {
                Change();
            }
        }
    }

    private bool LookAgain()
    {
        try
        {
            return _rules.LookAgain(_told);
        }
        catch (HypervisorException e)
        {
            // The domain goes, most likely; who watches that lets it go.
            _told($"where linear addresses of rules are could not be looked up: {e.Message}");
            return false;
        }
    }

    private TimeSpan? UntilNext()
    {
        if ((_rules.NextResume ?? _rules.NextLook) is not { } until)
        {
            return null;
        }

        until = Math.Min(until, _rules.NextLook ?? until);

        var left = _rules.Clock.GetElapsedTime(_rules.Clock.GetTimestamp(), until);
        return left > TimeSpan.Zero ? left : TimeSpan.Zero;
    }

    private void Change()
    {
        var next = _rules.Renew();
        try
        {
            if (_pump.TryReplace(_inForce, next))
            {
                _inForce = next;
                _rules.Renewed(next);
                Changes++;
            }

            _isLate = false;
        }
        catch (Exception e) when (e is PumpStartException or HypervisorException or TimeoutException or ArgumentException or InvalidOperationException)
        {
            // The rules leave the events of a throttled one alone by themselves; the next change tries again.
            _isLate = true;
            _told($"the events that rules ask for could not be changed: {e.Message}");
        }
    }
}
