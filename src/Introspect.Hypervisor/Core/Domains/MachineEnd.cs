namespace Introspect.Hypervisor.Core.Domains;

/// <summary>What becomes of a machine whose hardware domain shut down (<c>hwdom_shutdown</c>).</summary>
internal enum MachineEndKind
{
    /// <summary>It is switched off.</summary>
    Halt,

    /// <summary>It starts again.</summary>
    Reboot,

    /// <summary>It starts again, since the hardware domain failed.</summary>
    RebootAfterFailure,
}

/// <summary>How a machine ended. Nothing runs on it any more; it can still be looked at.</summary>
/// <param name="Domain">The hardware domain, whose shutdown it was.</param>
/// <param name="Reason">With what the hardware domain shut down.</param>
/// <param name="Stopped">The other domains that were stopped, in that order.</param>
internal sealed record MachineEnd(DomainId Domain, Abi.ShutdownReason Reason, IReadOnlyList<DomainId> Stopped)
{
    /// <summary>What becomes of the machine.</summary>
    public MachineEndKind Kind => Reason switch
    {
        Abi.ShutdownReason.Poweroff => MachineEndKind.Halt,

        // The hardware domain has nobody who would start it again in its old memory: that is a reboot, too.
        Abi.ShutdownReason.Reboot or Abi.ShutdownReason.SoftReset => MachineEndKind.Reboot,
        _ => MachineEndKind.RebootAfterFailure,
    };

    /// <inheritdoc/>
    public override string ToString()
    {
        var (what, then) = Reason switch
        {
            Abi.ShutdownReason.Poweroff => ("halted", "the machine halts"),
            Abi.ShutdownReason.Reboot => ("shut down", "the machine reboots"),
            Abi.ShutdownReason.Crash => ("crashed", "the machine reboots"),
            Abi.ShutdownReason.Watchdog => ("was shut down by its watchdog", "the machine reboots"),
            Abi.ShutdownReason.SoftReset => ("asked for a soft reset, which it cannot have", "the machine reboots"),
            _ => ($"shut down for a reason that is not known ({(byte)Reason})", "the machine reboots"),
        };
        var stopped = Stopped.Count == 0 ? "no other domain ran" : $"stopped before it: {string.Join(", ", Stopped)}";
        return $"hardware domain {Domain} {what}: {then}; {stopped}";
    }
}
