using Introspect.Hypervisor.Core.Domains;

namespace Introspect.Hypervisor.Core.Execution;

/// <summary>Turns of vCPUs that run on one thread: time is the sum of their instructions, and timers look at nothing else.</summary>
internal sealed partial class DomainPlatform : ITurnOrder
{
    private Vcpu? _turn;

    // Instructions of all vCPUs but the one whose turn it is; of all of them between turns.
    private ulong _instructionsElsewhere;

    /// <inheritdoc/>
    public ITurnOrder? Turns => IsInterleaved ? this : null;

    /// <summary>The vCPUs run on one thread, by turns.</summary>
    public bool IsInterleaved { get; }

    /// <inheritdoc/>
    public long UntilDeadline
    {
        get
        {
            var deadline = Timers.NextDeadline;
            if (deadline == ulong.MaxValue)
            {
                return long.MaxValue;
            }

            var (due, now) = (Clock.ToCycles(deadline), Clock.Cycles);
            return due > now ? (long)Math.Min(due - now, long.MaxValue) : 1;
        }
    }

    /// <inheritdoc/>
    public Turn NextTurn(uint last, ReadOnlySpan<uint> ready) => World.NextTurn(last, ready);

    /// <inheritdoc/>
    public void TurnBegins(Vcpu vcpu)
    {
        _instructionsElsewhere -= vcpu.Runner.Retired;
        Volatile.Write(ref _turn, vcpu);
    }

    /// <inheritdoc/>
    public void TurnEnds(Vcpu vcpu)
    {
        Volatile.Write(ref _turn, null);
        _instructionsElsewhere += vcpu.Runner.Retired;
    }

    /// <inheritdoc/>
    public void TimePassed()
    {
        var now = Clock.Nanoseconds;
        if (now >= Timers.NextDeadline)
        {
            Timers.Expire(now);
        }
    }

    /// <inheritdoc/>
    public bool SkipToNextTimer()
    {
        var deadline = Timers.NextDeadline;
        if (deadline == ulong.MaxValue)
        {
            return false;
        }

        Clock.SkipTo(Clock.ToCycles(deadline));
        Timers.Expire(Clock.Nanoseconds);
        return true;
    }

    /// <summary>Cycles of the domain's clock, as a vCPU that retired so many instructions sees them.</summary>
    public ulong ReadCycles(Vcpu vcpu, ulong retired)
    {
        if (!IsInterleaved)
        {
            return Clock.ReadCycles(retired);
        }

        // Out of its turn a vCPU sees the time of the last exit of whoever had the turn.
        return ReferenceEquals(Volatile.Read(ref _turn), vcpu) ? Clock.ReadCycles(_instructionsElsewhere + retired) : Clock.Cycles;
    }
}
