using Introspect.Daemon.Systemd;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace Introspect.Daemon.Service;

/// <summary>
/// Tells systemd how the service does: ready, stopping, and alive. Alive is what the pumps say: the watchdog is fed
/// only while each of them went round its loop lately. A pump that hangs is told in the log, where there is no systemd, too.
/// </summary>
internal sealed class NotifyService(SdNotify notify, IHealthSource health, TimeProvider time, ILogger<NotifyService> logger) : BackgroundService
{
    // How often the status line is looked at where there is no watchdog.
    private static readonly TimeSpan StatusInterval = TimeSpan.FromSeconds(10);

    private bool _starving;

    /// <inheritdoc/>
    public override async Task StopAsync(CancellationToken cancellationToken)
    {
        notify.Stopping();
        await base.StopAsync(cancellationToken).ConfigureAwait(false);
    }

    /// <inheritdoc/>
    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        var status = health.Status;
        notify.Ready(status);
        // A third of the interval leaves room for one beat that comes late.
        var interval = notify.WatchdogInterval is { } watchdog ? watchdog / 3 : StatusInterval;
        using var timer = new PeriodicTimer(interval < StatusInterval ? interval : StatusInterval, time);
        try
        {
            do
            {
                Beat();
                if (health.Status is var now && now != status)
                {
                    notify.Status(status = now);
                }
            }
            while (await timer.WaitForNextTickAsync(stoppingToken).ConfigureAwait(false));
        }
        catch (OperationCanceledException)
        {
            // The service stops.
        }
    }

    private void Beat()
    {
        var stalls = health.FindStalls();
        if (stalls.Count == 0)
        {
            _starving = false;
            notify.Watchdog();
        }
        else if (!_starving)
        {
            _starving = true;
            var why = string.Join("; ", stalls);
            if (notify.WatchdogInterval is null)
            {
                Log.PumpHangs(logger, why);
            }
            else
            {
                Log.WatchdogStarved(logger, why);
            }
        }
    }
}
