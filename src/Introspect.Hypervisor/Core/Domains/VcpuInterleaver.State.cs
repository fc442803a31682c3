namespace Introspect.Hypervisor.Core.Domains;

/// <summary>Where an interleaving stands: who ran last, and what is left of a turn that something outside interrupted.</summary>
/// <param name="Last">Who ran last, or runs; all ones at the start.</param>
/// <param name="IsInTurn">The turn of <paramref name="Last"/> is not over.</param>
/// <param name="Left">Instructions and exits that it still has.</param>
internal readonly record struct InterleavingState(uint Last, bool IsInTurn, long Left);

/// <summary>The interleaving as state. Between turns and in them the thread works in private; it is looked at where it waits.</summary>
internal sealed partial class VcpuInterleaver
{
    // Held by the thread at all times but while it is in the guest, waits to be let in, or sleeps.
    private readonly Lock _working = new();
    private bool _isIn;
    private long _turnEnd;
    private Turn? _resumed;

    /// <summary>
    /// Returns when the thread waits, and keeps it there until what is returned is disposed. Something must keep the vCPUs
    /// out of the guest.
    /// </summary>
    public Lock.Scope Still() => _working.EnterScope();

    /// <summary>Where the interleaving stands. The thread is kept still.</summary>
    public InterleavingState State
    {
        get
        {
            if (_resumed is { } waiting)
            {
                return new(waiting.Vcpu, IsInTurn: true, waiting.Instructions);
            }

            return _current is { } current ? new(_last, IsInTurn: true, _turnEnd - (long)current.Runner.Retired) : new(_last, IsInTurn: false, 0);
        }
    }

    /// <summary>Goes on from a state, in a domain whose vCPUs have not run. The thread is kept still.</summary>
    public void Resume(in InterleavingState state)
    {
        _last = state.Last;
        _resumed = state.IsInTurn ? new Turn(state.Last, state.Left) : null;
        Wake();
    }

    /// <summary>The thread is about to wait, in a turn that ends when its vCPU has retired so many instructions.</summary>
    public void StepOut(long turnEnd)
    {
        _turnEnd = turnEnd;
        StepOut();
    }

    /// <summary>The thread goes on with its work; it may have done so already.</summary>
    public void StepIn()
    {
        if (!_isIn)
        {
            _working.Enter();
            _isIn = true;
        }
    }

    private void StepOut()
    {
        if (_isIn)
        {
            _isIn = false;
            _working.Exit();
        }
    }
}
