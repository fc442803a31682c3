namespace Introspect.Hypervisor.Core.Viridian;

/// <summary>Where viridian differs from Xen 4.17's, and what Xen's command line can set.</summary>
internal sealed record ViridianOptions
{
    /// <summary>The usual.</summary>
    public static ViridianOptions Default { get; } = new();

    /// <summary>
    /// As on Xen, the VP assist register is there without <c>apic_assist</c> and the crash registers without
    /// <c>crash_ctl</c>. Otherwise they are #GP(0), as every register of an absent feature is.
    /// </summary>
    public bool OpenRegisters { get; init; }

    /// <summary>Major version told (<c>viridian-version=</c>); that of Windows Server 2008 unless given.</summary>
    public ushort MajorVersion { get; init; } = 6;

    /// <summary>Minor version told.</summary>
    public ushort MinorVersion { get; init; }

    /// <summary>Build told.</summary>
    public uint Build { get; init; } = 0x1772;

    /// <summary>How often a guest is to try a spinlock before it says so (<c>viridian-spinlock-retry-count=</c>).</summary>
    public uint SpinlockRetries { get; init; } = 2047;
}
