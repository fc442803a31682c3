namespace Introspect.Hypervisor.Core.Viridian;

/// <summary>A feature that a guest's configuration names, in the order in which Xen's toolstack counts them.</summary>
internal enum ViridianFeature
{
    /// <summary>Guest OS id, hypercall page, VP index, and the APIC by MSRs. All others need it.</summary>
    Base,

    /// <summary>TSC and APIC frequency.</summary>
    Freq,

    /// <summary>Reference counter.</summary>
    TimeRefCount,

    /// <summary>Reference TSC page.</summary>
    ReferenceTsc,

    /// <summary>Hypercalls that flush TLBs.</summary>
    HcallRemoteTlbFlush,

    /// <summary>VP assist page, by which EOIs are saved.</summary>
    ApicAssist,

    /// <summary>Crash registers.</summary>
    CrashCtl,

    /// <summary>Synthetic interrupt controller.</summary>
    Synic,

    /// <summary>Synthetic timers.</summary>
    Stimer,

    /// <summary>Hypercalls that send interrupts.</summary>
    HcallIpi,

    /// <summary>Hypercalls with sparse sets of processors.</summary>
    ExProcessorMasks,

    /// <summary>No limit of processors is told.</summary>
    NoVpLimit,

    /// <summary>Processors may come and go.</summary>
    CpuHotplug,
}
