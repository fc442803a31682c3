using Introspect.Daemon.Hypervisors;
using Introspect.Daemon.Symbols;
using Introspect.Hypervisor;

namespace Introspect.Daemon.Tracing;

/// <summary>What a user wants traced, and how it is shown.</summary>
internal sealed record TraceRequest
{
    /// <summary>Where the domain is.</summary>
    public required HypervisorSpec Hypervisor { get; init; }

    /// <summary>Which domain; null: the one that is built.</summary>
    public DomainRef? Domain { get; init; }

    /// <summary>What to watch; when it is empty, everything that needs no value.</summary>
    public required EventChoice Choice { get; init; }

    /// <summary>Where symbols are; null: in the image that is booted.</summary>
    public SymbolSpec? Symbols { get; init; }

    /// <summary>NDJSON instead of lines for people.</summary>
    public bool Json { get; init; }

    /// <summary>Each NDJSON event has all registers.</summary>
    public bool Registers { get; init; }

    /// <summary>The domain is paused, and goes once it is watched.</summary>
    public bool Unpause { get; init; }

    /// <summary>Writes that clear CR4.SMEP or CR4.SMAP are denied.</summary>
    public bool DenyProtectionClears { get; init; }

    /// <summary>No record is lost: the guest waits for the output.</summary>
    public bool Lossless { get; init; }

    /// <summary>The trace ends after so many events.</summary>
    public long? Count { get; init; }

    /// <summary>The trace ends after this time.</summary>
    public TimeSpan? Duration { get; init; }
}
