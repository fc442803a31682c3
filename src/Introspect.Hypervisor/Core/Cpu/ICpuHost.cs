namespace Introspect.Hypervisor.Core.Cpu;

/// <summary>What the CPU asks of the platform while it runs; everything else leaves as an <see cref="Exit"/>.</summary>
internal interface ICpuHost
{
    /// <summary>The clock that the TSC follows, in cycles.</summary>
    ulong ReadTimestamp(ulong retiredInstructions);

    /// <summary>A random number for RDRAND and RDSEED. False: there is none now, and the guest may try again.</summary>
    bool TryGetRandom(out ulong value);

    /// <summary>Device memory is read, while an instruction is emulated after a nested page fault. False: no device there.</summary>
    bool ReadDevice(ulong gpa, int size, out ulong value);

    /// <summary>Device memory is written, while an instruction is emulated. False: no device there.</summary>
    bool WriteDevice(ulong gpa, int size, ulong value);
}
