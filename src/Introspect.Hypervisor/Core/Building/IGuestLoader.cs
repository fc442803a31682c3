namespace Introspect.Hypervisor.Core.Building;

/// <summary>How an image gets into a domain that is being built: its RAM by guest-physical address.</summary>
internal interface IGuestLoader
{
    /// <summary>Bytes of RAM, without the special pages. Where they lie is <see cref="GuestMemoryMap"/>'s to say.</summary>
    ulong MemoryBytes { get; }

    /// <summary>vCPUs that it has.</summary>
    int VcpuCount { get; }

    /// <summary>Tells it where its memory is, for a guest that asks by hypercall (<c>XENMEM_memory_map</c>).</summary>
    void SetMemoryMap(IReadOnlyList<MemoryMapEntry> map);

    /// <summary>Gives it pages where it has no RAM: what the toolstack puts there.</summary>
    void Populate(ulong gpa, ulong pages);

    /// <summary>Writes bytes. The caller made sure that they lie in RAM or in a populated page.</summary>
    void WritePhysical(ulong gpa, ReadOnlySpan<byte> bytes);

    /// <summary>Writes zeros. The caller made sure that they lie in RAM or in a populated page.</summary>
    void Clear(ulong gpa, ulong length);
}
