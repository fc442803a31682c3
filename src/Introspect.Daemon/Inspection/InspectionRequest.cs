using Introspect.Daemon.Hypervisors;
using Introspect.Daemon.Symbols;
using Introspect.Daemon.Tracing;
using Introspect.Hypervisor;

namespace Introspect.Daemon.Inspection;

/// <summary>Which vCPU of which domain a user wants to look at.</summary>
internal sealed record InspectionTarget(HypervisorSpec Hypervisor, DomainRef Domain, VcpuId Vcpu)
{
    /// <summary>Where symbols are.</summary>
    public SymbolSpec? Symbols { get; init; }

    /// <summary>The root of other page tables than the vCPU's own.</summary>
    public ulong? Cr3 { get; init; }
}

/// <summary>How memory is shown.</summary>
internal enum MemoryFormat
{
    /// <summary>Lines of 16 bytes, with the characters.</summary>
    Hex,

    /// <summary>The bytes themselves, for other programs.</summary>
    Raw,

    /// <summary>Lines of two numbers of 64 bits, with the symbols that they point to.</summary>
    U64,
}

/// <summary>What of a domain's memory a user wants to see.</summary>
internal sealed record MemoryRequest(InspectionTarget Target, Place Address, ulong Length, bool IsPhysical, MemoryFormat Format);

/// <summary>What of a domain's code a user wants to see.</summary>
/// <param name="Target">Where.</param>
/// <param name="Address">The first instruction; null: the one that the vCPU is at.</param>
/// <param name="Count">Instructions.</param>
internal sealed record DisassemblyRequest(InspectionTarget Target, Place? Address, int Count);
