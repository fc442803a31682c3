namespace Introspect.Rules.Pump;

/// <summary>
/// Takes a handler out of service when it fails too often: closed (in service), open (out of service until the
/// cool-down has passed), half open (one event is its trial). Time is given in the clock's ticks.
/// </summary>
internal sealed class CircuitBreaker(int threshold, long window, long coolDown)
{
    private int _failures;
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
        if (_failures == 0 || now - _windowStart > window)
        {
            _failures = 0;
            _windowStart = now;
        }

        _failures++;
        if (_state != State.HalfOpen && _failures < threshold)
        {
            return false;
        }

        _state = State.Open;
        _openUntil = now + coolDown;
        _failures = 0;
        return true;
    }
}
