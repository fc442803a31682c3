using Introspect.Hypervisor.Core.Platform.Apic;

namespace Introspect.Hypervisor.Core.Viridian;

/// <summary>The domain as its enlightenments need it.</summary>
internal interface IViridianHost
{
    /// <summary>Vendor personality.</summary>
    CpuVendor Vendor { get; }

    /// <summary>How many vCPUs the domain can have.</summary>
    uint VcpuCount { get; }

    /// <summary>Frequency of the TSC, in Hz.</summary>
    ulong TscFrequency { get; }

    /// <summary>Time is instructions: it stands still by itself while none are executed.</summary>
    bool FollowsInstructions { get; }

    /// <summary>The domain is paused, or shut down. Any thread.</summary>
    bool IsHeld { get; }

    /// <summary>Cycles of the domain's clock, as far as anybody has seen. Any thread.</summary>
    ulong Cycles { get; }

    /// <summary>System time of a cycle count.</summary>
    ulong ToNanoseconds(ulong cycles);

    /// <summary>Reads guest-physical memory. False: not all of it is RAM.</summary>
    bool TryReadPhysical(ulong gpa, Span<byte> destination);

    /// <summary>Holds a page of the guest's for writing. False: there is no page that can be written.</summary>
    bool TryHoldPage(ulong gfn, out HeldPage page);

    /// <summary>Lets go of a page of <see cref="TryHoldPage"/>, which may have been written.</summary>
    void ReleasePage(object holder, ulong address);

    /// <summary>The next deadline may be earlier than before. Any thread.</summary>
    void DeadlineChanged();

    /// <summary>The guest told of its crash: that is why it will have shut down, whatever it says later.</summary>
    void KeepCrash();
}

/// <summary>A page of the guest's that cannot go away meanwhile.</summary>
internal readonly ref struct HeldPage(IViridianHost host, object holder, ulong address, Span<byte> bytes)
{
    /// <summary>Its bytes.</summary>
    public Span<byte> Bytes { get; } = bytes;

    /// <summary>Lets go of it.</summary>
    public void Dispose() => host.ReleasePage(holder, address);
}

/// <summary>A vCPU as its enlightenments need it.</summary>
internal interface IViridianVcpuHost
{
    /// <summary>The local APIC, or null.</summary>
    LocalApic? Apic { get; }

    /// <summary>Cycles of the domain's clock now. The vCPU's own thread.</summary>
    ulong Cycles { get; }

    /// <summary>A timer of the vCPU's is due: it wakes, and looks before it goes on. Any thread.</summary>
    void Wake();

    /// <summary>The vCPU's guest did what ends it on Xen.</summary>
    void Crash();
}
