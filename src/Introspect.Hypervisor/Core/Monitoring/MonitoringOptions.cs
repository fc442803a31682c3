namespace Introspect.Hypervisor.Core.Monitoring;

/// <summary>Where the core's monitoring may differ from Xen 4.17's. Everything is off unless asked for.</summary>
internal sealed record MonitoringOptions
{
    /// <summary>What Xen 4.17 does.</summary>
    public static readonly MonitoringOptions Default = new();

    /// <summary>
    /// Control-register writes of the value that the register has are reported, unless only changes are asked for
    /// (Xen before 4.11).
    /// </summary>
    public bool ReportUnchanged { get; init; }

    /// <summary>Port input and output can be monitored (Xen 4.18), and the capabilities say so.</summary>
    public bool IoInstructions { get; init; }

    /// <summary>The access right <see cref="Abi.MemoryAccess.RPw"/> can be set (Xen 4.20).</summary>
    public bool PagingWrites { get; init; }

    /// <summary>Takes a line about responses that a monitor got wrong, at most one a second and domain.</summary>
    public Action<string>? Log { get; init; }

    /// <summary>Measures that second.</summary>
    public TimeProvider Clock { get; init; } = TimeProvider.System;
}
