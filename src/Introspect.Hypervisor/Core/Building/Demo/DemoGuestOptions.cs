namespace Introspect.Hypervisor.Core.Building.Demo;

/// <summary>How the demo guest is built.</summary>
internal sealed record DemoGuestOptions
{
    /// <summary>How often the work loop runs before the guest powers itself off.</summary>
    public int Rounds { get; init; } = 3;

    /// <summary>The work loop never ends; the guest then prints nothing in it.</summary>
    public bool Forever { get; init; }

    /// <summary>Turns of plain computation in each round, which cause no event.</summary>
    public int WorkPerRound { get; init; } = 100;

    /// <summary>
    /// Copies the console to port 0xe9 and ends with a write to port 0xf4, for machines without Xen's console.
    /// The I/O that this makes is not among <see cref="DemoGuest.ExpectedEvents"/>.
    /// </summary>
    public bool MirrorToDebugPort { get; init; }
}

/// <summary>What the CPU under the demo guest offers and what a monitor does: it decides some of what the guest does.</summary>
internal sealed record DemoCpu
{
    /// <summary>CPUID tells of SMEP.</summary>
    public bool Smep { get; init; } = true;

    /// <summary>CPUID tells of SMAP.</summary>
    public bool Smap { get; init; } = true;

    /// <summary>CPUID has leaf 7.</summary>
    public bool HasLeaf7 { get; init; } = true;

    /// <summary>Where Xen's CPUID leaves begin; null where there is no Xen, and thus neither hypercalls nor console.</summary>
    public uint? XenLeafBase { get; init; } = DemoLayout.FirstHypervisorLeaf;

    /// <summary>A monitor refuses CR4 writes that clear SMEP or SMAP.</summary>
    public bool ClearsAreDenied { get; init; }
}
