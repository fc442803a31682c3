namespace Introspect.Daemon.Hypervisors;

/// <summary>What of the core is to be otherwise than on Xen 4.17, or than on a machine; nothing unless asked for.</summary>
[Flags]
internal enum CoreFeatures
{
    /// <summary>As Xen 4.17.</summary>
    None = 0,

    /// <summary>Writes of the value that a control register has are reported, too (Xen before 4.11).</summary>
    ReportUnchanged = 1 << 0,

    /// <summary>Port input and output can be watched (Xen 4.18).</summary>
    IoInstructions = 1 << 1,

    /// <summary>Pages can have the access right r_pw (Xen 4.20).</summary>
    PagingWrites = 1 << 2,

    /// <summary>vCPUs run on one thread by turns and time follows instructions: every run is the same.</summary>
    Interleaved = 1 << 3,
}
