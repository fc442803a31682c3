namespace Introspect.Daemon.Service;

/// <summary>Whether the service does what it is there for, and if not, why.</summary>
/// <param name="Reasons">What is wrong, each one line; empty when nothing is.</param>
internal sealed record HealthReport(IReadOnlyList<string> Reasons)
{
    /// <summary>Nothing is wrong.</summary>
    public bool IsHealthy => Reasons.Count == 0;

    /// <summary>The report as <c>/healthz</c> tells it.</summary>
    public string ToText() => IsHealthy ? "ok\n" : string.Concat(Reasons.Select(reason => reason + "\n"));
}

/// <summary>Something that can be well or not.</summary>
internal interface IHealthSource
{
    /// <summary>Everything that is wrong now.</summary>
    HealthReport CheckHealth();

    /// <summary>Pumps that hang; empty when the watchdog may be fed. A domain that cannot be attached is no reason to be restarted.</summary>
    IReadOnlyList<string> FindStalls();

    /// <summary>Why domains cannot be watched now; null when they can.</summary>
    string? WhyNotReady { get; }

    /// <summary>One line on what is being done, for <c>systemctl status</c>.</summary>
    string Status { get; }
}
