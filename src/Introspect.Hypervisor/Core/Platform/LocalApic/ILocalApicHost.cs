namespace Introspect.Hypervisor.Core.Platform.Apic;

/// <summary>
/// The vCPU as its local APIC sees it. What is marked so is called on other vCPUs' threads and the timers' as well;
/// it leaves a note, wakes the vCPU and returns.
/// </summary>
internal interface ILocalApicHost
{
    /// <summary>System time now, in nanoseconds. The vCPU's own thread, or while it stands still.</summary>
    ulong Nanoseconds { get; }

    /// <summary>What RDTSC gives. The vCPU's own thread, or while it stands still.</summary>
    ulong Timestamp { get; }

    /// <summary>Vector of the event channel upcall that is due through the APIC, or 0.</summary>
    byte DueUpcallVector { get; }

    /// <summary>The system time at which RDTSC gives a value.</summary>
    ulong NanosecondsAt(ulong timestamp);

    /// <summary>A request came: the vCPU wakes if it blocks and looks at its APIC before it goes on. Any thread.</summary>
    void Wake();

    /// <summary>An NMI came. Any thread.</summary>
    void RaiseNmi();

    /// <summary>An INIT came. Any thread.</summary>
    void RequestInit();

    /// <summary>A SIPI came. Any thread.</summary>
    void RequestStartup(byte vector);

    /// <summary>The vCPU's guest asked for what ends it on Xen.</summary>
    void Crash();

    /// <summary>The timer's next deadline may be earlier than before.</summary>
    void DeadlineChanged();
}
