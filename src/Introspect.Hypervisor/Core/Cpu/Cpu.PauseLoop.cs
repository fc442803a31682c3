namespace Introspect.Hypervisor.Core.Cpu;

/// <summary>Pause-loop exiting: a CPU that only waits for another one tells, so that the other can run in its place.</summary>
internal sealed unsafe partial class Cpu
{
    /// <summary>PAUSEs farther apart than so many instructions belong to different loops (the processors' PLE gap).</summary>
    private const ulong PauseGap = 64;

    /// <summary>So many PAUSEs in a row are a loop (the PLE window).</summary>
    private const int PauseWindow = 64;

    private ulong _lastPause;
    private int _pauses;

    /// <summary>How far a loop of PAUSEs has come: the instructions since the last one, and how many came before.</summary>
    public (ulong Distance, uint Count) PauseLoop
    {
        get => (RetiredNow - _lastPause, (uint)_pauses);
        set => (_lastPause, _pauses) = (unchecked(RetiredNow - value.Distance), (int)Math.Min(value.Count, PauseWindow));
    }

    /// <summary>Counts a PAUSE. True: it is one too many.</summary>
    public bool IsPauseLoop()
    {
        var now = RetiredNow;
        _pauses = now - _lastPause <= PauseGap ? _pauses + 1 : 1;
        _lastPause = now;
        if (_pauses < PauseWindow)
        {
            return false;
        }

        _pauses = 0;
        return true;
    }
}
