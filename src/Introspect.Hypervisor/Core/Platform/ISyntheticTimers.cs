namespace Introspect.Hypervisor.Core.Platform;

/// <summary>Timers that belong to a domain's clock and are not <see cref="DomainTimers"/>'s own.</summary>
internal interface ISyntheticTimers
{
    /// <summary>System time at which <see cref="Expire"/> has something to do, or <see cref="ulong.MaxValue"/>.</summary>
    ulong NextDeadline { get; }

    /// <summary>Does what is due.</summary>
    void Expire(ulong now);

    /// <summary>None goes off until the timers are loaded, or the domain goes on.</summary>
    void Hold();
}
