namespace Introspect.Rules.Pump;

/// <summary>
/// Takes a handler out of service when it fails too often: closed (in service), open (out of service until the
/// cool-down has passed), half open (one event is its trial). Time is given in the clock's ticks.
/// </summary>
/// <param name="threshold">Failures, or overruns, within the window that are too many.</param>
/// <param name="window">The window.</param>
/// <param name="coolDown">How long the handler is out of service.</param>
/// <param name="slowTime">
/// What the overruns of a window must come to before they count as too many. On a host that is short of processors any
/// handler is late now and then, for no fault of its own; a guest that keeps the host busy must not switch its rules off so.
/// </param>
internal sealed class CircuitBreaker(int threshold, long window, long coolDown, long slowTime = 0)
{
    private int _failures;
    private int _overruns;
    private long _slowFor;
    private long _windowStart;
    private long _openUntil;
    private State _state;

    private enum State : byte
    {
        Closed,
        Open,
        HalfOpen,
    }

    /// <summary>True while the handler is out of service.</summary>
    public bool IsOpen => _state == State.Open;

    /// <summary>True when the handler may be called. Turns from open to half open when the cool-down has passed.</summary>
    public bool Allows(long now)
    {
        if (_state == State.Open && now - _openUntil >= 0)
        {
            _state = State.HalfOpen;
        }

        return _state != State.Open;
    }

    /// <summary>Tells a success.</summary>
    /// <returns>True when it was the trial that brings the handler back.</returns>
    public bool Succeeded()
    {
        if (_state != State.HalfOpen)
        {
            return false;
        }

        _state = State.Closed;
        return true;
    }

    /// <summary>Tells a failure.</summary>
    /// <returns>True when it takes the handler out of service.</returns>
    public bool Failed(long now)
    {
        Begin(now);
        _failures++;
        return OpensWhen(_failures >= threshold, now);
    }

    /// <summary>Tells an answer that came too late.</summary>
    /// <param name="now">When it came.</param>
    /// <param name="elapsed">What it took.</param>
    /// <returns>True when it takes the handler out of service.</returns>
    public bool Overran(long now, long elapsed)
    {
        Begin(now);
        _overruns++;
        _slowFor += elapsed;
        return OpensWhen(_overruns >= threshold && _slowFor >= slowTime, now);
    }

    private void Begin(long now)
    {
        if (_failures + _overruns == 0 || now - _windowStart > window)
        {
            Forget();
            _windowStart = now;
        }
    }

    private bool OpensWhen(bool tooMany, long now)
    {
        if (_state != State.HalfOpen && !tooMany)
        {
            return false;
        }

        _state = State.Open;
        _openUntil = now + coolDown;
        Forget();
        return true;
    }

    private void Forget() => (_failures, _overruns, _slowFor) = (0, 0, 0);
}
