using Introspect.Rules.Files;

namespace Introspect.Rules.Running;

/// <summary>Lets through so many in a time, and some more at once after a quiet while. Time is in the clock's ticks.</summary>
internal struct TokenBucket
{
    private readonly double _perTick;
    private readonly double _burst;
    private double _tokens;
    private long _last;

    public TokenBucket(RateLimit limit, long burst, TimeProvider clock)
    {
        _perTick = limit.Count / (limit.Per.TotalSeconds * clock.TimestampFrequency);
        _burst = burst;
        _tokens = burst;
        _last = clock.GetTimestamp();
    }

    /// <summary>Takes one, if there is one.</summary>
    public bool TryTake(long now)
    {
        if (now > _last)
        {
            _tokens = Math.Min(_burst, _tokens + ((now - _last) * _perTick));
            _last = now;
        }

        if (_tokens < 1)
        {
            return false;
        }

        _tokens--;
        return true;
    }

    /// <summary>Fills it up.</summary>
    public void Refill(long now)
    {
        _tokens = _burst;
        _last = now;
    }
}
