using Introspect.Daemon.Hypervisors;

namespace Introspect.Daemon.Guests;

/// <summary>When a host that was started for somebody is needed no more.</summary>
internal static class LabVacancy
{
    private static readonly TimeSpan Interval = TimeSpan.FromMilliseconds(250);

    // Who destroys a domain often creates the next one; and who started the host has to come first.
    private static readonly TimeSpan Grace = TimeSpan.FromSeconds(5);
    private static readonly TimeSpan FirstGrace = TimeSpan.FromMinutes(1);

    /// <summary>Waits until there was no domain and no client for a while.</summary>
    public static async Task WaitAsync(HypervisorSession lab, CancellationToken cancellationToken)
    {
        using var timer = new PeriodicTimer(Interval);
        var (wasUsed, emptySince) = (false, Environment.TickCount64);
        try
        {
            while (await timer.WaitForNextTickAsync(cancellationToken).ConfigureAwait(false))
            {
                var now = Environment.TickCount64;
                if (lab.IsInUse())
                {
                    (wasUsed, emptySince) = (true, now);
                }
                else if (now - emptySince >= (wasUsed ? Grace : FirstGrace).TotalMilliseconds)
                {
                    if (lab.TryClose())
                    {
                        return;
                    }

                    // Somebody came in this moment.
                    (wasUsed, emptySince) = (true, now);
                }
            }
        }
        catch (OperationCanceledException)
        {
            // Somebody ended it.
        }
    }
}
