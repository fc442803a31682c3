using System.Runtime.InteropServices;

namespace Introspect.Hypervisor.Core.Platform;

/// <summary>What the virtual clock follows.</summary>
internal enum ClockSource
{
    /// <summary>The host's clock, scaled to the told frequency.</summary>
    Host = 0,

    /// <summary>Instructions retired: one cycle each, the same in every run.</summary>
    Instructions = 1,
}

/// <summary>Plain state of a <see cref="VirtualClock"/>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct ClockState
{
    public ulong Frequency;

    /// <summary>Cycles at <see cref="BaseMonotonic"/>, or beside the instructions retired.</summary>
    public ulong BaseCycles;

    /// <summary>The host's monotonic time that <see cref="BaseCycles"/> belongs to.</summary>
    public ulong BaseMonotonic;

    /// <summary>Nanoseconds since 1970 at cycle 0.</summary>
    public ulong WallClockBase;

    public ClockSource Source;

    /// <summary>1 while the clock stands still.</summary>
    public int Frozen;

    /// <summary>Cycles, while the clock stands still or, when instructions are followed, last seen.</summary>
    public ulong LastCycles;
}

/// <summary>
/// The only time that a domain's devices know: cycles of one virtual TSC, which follows the host or the
/// instructions retired. Nanoseconds are cycles scaled exactly as the guest scales them, so that deadlines and
/// what the guest computes agree.
/// </summary>
internal sealed class VirtualClock
{
    /// <summary>Frequency when none is asked for: 1 GHz, so that a nanosecond is a cycle.</summary>
    public const ulong DefaultFrequency = 1_000_000_000;

    /// <summary>The lowest frequency that a clock can have.</summary>
    public const ulong LeastFrequency = 1000;

    private readonly IOutsideWorld _world;
    private readonly Lock _lock = new();
    private ClockState _state;
    private TimeScale _scale;

    // 32.32 fixed point: the host's nanoseconds to cycles without a division.
    private ulong _cyclesPerNanosecond;

    /// <summary>Makes a running clock at cycle 0.</summary>
    public VirtualClock(ClockSource source, ulong frequency, IOutsideWorld world)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(frequency, LeastFrequency);
        _world = world;
        _state = new ClockState
        {
            Source = source,
            Frequency = frequency,
            BaseMonotonic = world.MonotonicNanoseconds,
            WallClockBase = world.UnixNanoseconds,
        };
        SetFrequency();
    }

    /// <summary>Frequency told to the guest, in Hz.</summary>
    public ulong Frequency => _state.Frequency;

    /// <summary>What the clock follows.</summary>
    public ClockSource Source => _state.Source;

    /// <summary>Cycles to nanoseconds as the guest is told it.</summary>
    public TimeScale Scale => _scale;

    /// <summary>Nanoseconds since 1970 at the domain's time 0.</summary>
    public ulong WallClockBase => _state.WallClockBase;

    /// <summary>
    /// Cycles now. <paramref name="retiredInstructions"/> are those of the domain (of its only vCPU, or the sum in
    /// the order in which a deterministic schedule runs them); they do not matter while the host is followed.
    /// </summary>
    public ulong ReadCycles(ulong retiredInstructions)
    {
        lock (_lock)
        {
            if (_state.Frozen == 0)
            {
                // Never back, whatever the caller's count does: vCPUs compare their clocks.
                _state.LastCycles = Math.Max(_state.LastCycles, Running(retiredInstructions));
            }

            return _state.LastCycles;
        }
    }

    /// <summary>The last cycle count that anybody saw, or the present one while the host is followed.</summary>
    public ulong Cycles => ReadCycles(0);

    /// <summary>System time: nanoseconds since the domain's time 0.</summary>
    public ulong Nanoseconds => ToNanoseconds(Cycles);

    /// <summary>Nanoseconds of a cycle count.</summary>
    public ulong ToNanoseconds(ulong cycles) => _scale.ToNanoseconds(cycles);

    /// <summary>The first cycle count whose nanoseconds are at least these.</summary>
    public ulong ToCycles(ulong nanoseconds)
    {
        var shifted = (((UInt128)nanoseconds << 32) + _scale.Multiplier - 1) / _scale.Multiplier;
        var cycles = _scale.Shift >= 0
            ? (shifted + (((UInt128)1 << _scale.Shift) - 1)) >> _scale.Shift
            : shifted << -_scale.Shift;
        return cycles > ulong.MaxValue ? ulong.MaxValue : (ulong)cycles;
    }

    /// <summary>
    /// Lets time pass without instructions until a cycle count: every vCPU waits, and the next deadline is there.
    /// Does nothing while the host is followed, where time passes by itself.
    /// </summary>
    public void SkipTo(ulong cycles)
    {
        lock (_lock)
        {
            if (_state is { Source: ClockSource.Instructions, Frozen: 0 } && cycles > _state.LastCycles)
            {
                _state.BaseCycles += cycles - _state.LastCycles;
                _state.LastCycles = cycles;
            }
        }
    }

    /// <summary>Stops the clock: the domain is saved, forked or suspended.</summary>
    public void Freeze(ulong retiredInstructions)
    {
        _ = ReadCycles(retiredInstructions);
        lock (_lock)
        {
            _state.Frozen = 1;
        }
    }

    /// <summary>Lets the clock go on from where it stood.</summary>
    public void Thaw(ulong retiredInstructions)
    {
        lock (_lock)
        {
            if (_state.Frozen != 0)
            {
                _state.Frozen = 0;
                Rebase(retiredInstructions);
            }
        }
    }

    /// <summary>A copy of the state, as it stands in a frozen clock.</summary>
    public ClockState Save(ulong retiredInstructions)
    {
        _ = ReadCycles(retiredInstructions);
        lock (_lock)
        {
            // What it follows starts anew where it goes on.
            var state = _state;
            (state.Frozen, state.BaseCycles, state.BaseMonotonic) = (1, state.LastCycles, 0);
            return state;
        }
    }

    /// <summary>A state that a clock can have.</summary>
    public static bool IsValid(in ClockState state) =>
        state.Frequency >= LeastFrequency && state.Source is ClockSource.Host or ClockSource.Instructions;

    /// <summary>Moves the date of the domain's time 0, so that it is a certain date now.</summary>
    public void SetDate(ulong unixNanoseconds)
    {
        var now = Nanoseconds;
        lock (_lock)
        {
            _state.WallClockBase = unchecked(unixNanoseconds - now);
        }
    }

    /// <summary>Takes over a saved state and goes on from it.</summary>
    public void Restore(in ClockState state, ulong retiredInstructions)
    {
        lock (_lock)
        {
            _state = state;
            _state.Frozen = 0;
            SetFrequency();
            Rebase(retiredInstructions);
        }
    }

    private void SetFrequency()
    {
        _scale = TimeScale.ForFrequency(_state.Frequency);
        _cyclesPerNanosecond = (ulong)(((UInt128)_state.Frequency << 32) / 1_000_000_000);
    }

    private void Rebase(ulong retiredInstructions)
    {
        _state.BaseMonotonic = _world.MonotonicNanoseconds;
        _state.BaseCycles = _state.Source == ClockSource.Host
            ? _state.LastCycles
            : unchecked(_state.LastCycles - retiredInstructions);
    }

    private ulong Running(ulong retiredInstructions)
    {
        if (_state.Source == ClockSource.Instructions)
        {
            // A caller without a count (0) sees what was last seen, by way of the maximum above.
            return retiredInstructions == 0 ? _state.LastCycles : unchecked(_state.BaseCycles + retiredInstructions);
        }

        var high = Math.BigMul(_world.MonotonicNanoseconds - _state.BaseMonotonic, _cyclesPerNanosecond, out var low);
        return _state.BaseCycles + ((high << 32) | (low >> 32));
    }
}
