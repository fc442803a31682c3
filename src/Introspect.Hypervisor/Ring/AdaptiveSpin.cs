using System.Diagnostics;

namespace Introspect.Hypervisor.Ring;

/// <summary>
/// How long it pays to look again before one sleeps: what looking was good for the last times decides. One thread at a
/// time uses it.
/// </summary>
/// <param name="shortest">Microseconds, after many looks in vain.</param>
/// <param name="longest">Microseconds, while looking helps.</param>
internal sealed class AdaptiveSpin(double shortest, double longest)
{
    // Two ends that sleep for each other never find out that looking would do now: once in so many waits it is tried.
    private const int WaitsUntilTrial = 64;

    // Whatever the clock says: where processors are emulated, a pause hands the turn to another one, and it may take some
    // turns until that one has come as far as what is waited for.
    private const int LeastLooks = 4;

    private readonly long _shortest = Ticks(shortest);
    private readonly long _longest = Ticks(longest);
    private long _spin = Ticks(longest);
    private int _inVain;

    /// <summary>Looks until there is something, or the time is over. There is always a look behind the last pause.</summary>
    /// <param name="look">Looks once.</param>
    /// <param name="pause">How long to pause between two looks, in units of <see cref="Thread.SpinWait"/>.</param>
    /// <returns>Whether there was something.</returns>
    public bool Until<TLook>(TLook look, int pause)
        where TLook : ILook
    {
        var end = Stopwatch.GetTimestamp() + _spin;
        for (var looks = 0; looks < LeastLooks || Stopwatch.GetTimestamp() < end; looks++)
        {
            Thread.SpinWait(pause);
            if (look.IsThere())
            {
                _spin = Math.Min(_spin * 2, _longest);
                _inVain = 0;
                return true;
            }
        }

        _inVain++;
        _spin = _inVain % WaitsUntilTrial == 0 ? _longest : Math.Max(_spin / 2, _shortest);
        return false;
    }

    private static long Ticks(double microseconds) => (long)(microseconds * Stopwatch.Frequency / 1e6);
}

/// <summary>What an <see cref="AdaptiveSpin"/> looks for.</summary>
internal interface ILook
{
    /// <summary>Looks, and takes it where it is there.</summary>
    bool IsThere();
}
