namespace Introspect.Hypervisor.Core.Viridian;

/// <summary>
/// The partition's reference time in units of 100 ns: the first vCPU's TSC, scaled, and an offset. It stands still while
/// the domain does, and goes on from a saved value. The formula is the guest's own (TSC × scale ÷ 2⁶⁴ + offset), so that
/// counter and page agree to the unit.
/// </summary>
internal sealed class ReferenceTime
{
    /// <summary>Units in a second.</summary>
    public const ulong UnitsPerSecond = 10_000_000;

    private readonly Lock _lock = new();
    private readonly ulong _frequency;
    private readonly bool _followsInstructions;

    // The guest's TSC is the clock's cycles and this.
    private ulong _tscOffset;
    private ulong _offset;

    // While it stands still; cycles that were executed since then still count when the offset is of the same run.
    private ulong _value;
    private bool _isLatched;
    private bool _running;

    public ReferenceTime(ulong frequency, bool followsInstructions)
    {
        _frequency = frequency;
        _followsInstructions = followsInstructions;

        // Rounded up, so that whole units come out whole.
        Scale = frequency > UnitsPerSecond ? (ulong)((((UInt128)UnitsPerSecond << 64) + frequency - 1) / frequency) : 0;
    }

    /// <summary>Units a cycle × 2⁶⁴; 0 where 64 bits do not hold it: there is no reference TSC page then.</summary>
    public ulong Scale { get; }

    /// <summary>It does not stand still.</summary>
    public bool IsRunning => Volatile.Read(ref _running);

    /// <summary>What the guest adds to the scaled TSC.</summary>
    public ulong Offset
    {
        get
        {
            lock (_lock)
            {
                return _offset;
            }
        }
    }

    /// <summary>What is added to the clock's cycles for the first vCPU's TSC.</summary>
    public ulong TscOffset => Volatile.Read(ref _tscOffset);

    /// <summary>The reference time at a cycle count.</summary>
    public ulong At(ulong cycles)
    {
        lock (_lock)
        {
            return _running ? Running(cycles) : _value;
        }
    }

    /// <summary>The domain stands still from now on. Time that is instructions does so by itself.</summary>
    /// <returns>True when it went before.</returns>
    public bool Freeze(ulong cycles)
    {
        lock (_lock)
        {
            if (!_running || _followsInstructions)
            {
                return false;
            }

            (_value, _isLatched) = (Running(cycles), true);
            Volatile.Write(ref _running, false);
            return true;
        }
    }

    /// <summary>A vCPU was in the guest until now, though the domain is to stand still already: what the guest may have seen is kept.</summary>
    public void LeftGuest(ulong cycles)
    {
        lock (_lock)
        {
            if (!_running && _isLatched)
            {
                _value = Math.Max(_value, Running(cycles));
            }
        }
    }

    /// <summary>The domain goes on, and so does its time, from where it stood.</summary>
    /// <returns>True when it stood still before.</returns>
    public bool Thaw(ulong cycles)
    {
        lock (_lock)
        {
            if (_running)
            {
                return false;
            }

            _offset = unchecked(_value - Scaled(unchecked(cycles + _tscOffset)));
            Volatile.Write(ref _running, true);
            return true;
        }
    }

    /// <summary>The first vCPU's TSC was moved: the reference time goes on as it was.</summary>
    public void MoveTsc(ulong tscOffset, ulong cycles)
    {
        lock (_lock)
        {
            var now = Running(cycles);
            Volatile.Write(ref _tscOffset, tscOffset);
            _offset = unchecked(now - Scaled(unchecked(cycles + tscOffset)));
        }
    }

    /// <summary>Goes on from a saved value once the domain does.</summary>
    public void Load(ulong value)
    {
        lock (_lock)
        {
            (_value, _isLatched) = (value, false);
            Volatile.Write(ref _running, false);
        }
    }

    private ulong Running(ulong cycles) => unchecked(Scaled(unchecked(cycles + _tscOffset)) + _offset);

    private ulong Scaled(ulong tsc) => Scale != 0 ? Math.BigMul(tsc, Scale, out _) : (ulong)((UInt128)tsc * UnitsPerSecond / _frequency);
}
