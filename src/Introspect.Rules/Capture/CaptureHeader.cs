using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;
using Introspect.Rules.Pump;

namespace Introspect.Rules.Capture;

/// <summary>What a capture is of.</summary>
public sealed record CaptureHeader
{
    /// <summary>Format version of the file.</summary>
    public int FormatVersion { get; init; } = CaptureFormat.Version;

    /// <summary>vm_event interface version that its events have the layout of.</summary>
    public uint InterfaceVersion { get; init; } = VmEvent.InterfaceVersion;

    /// <summary>Program and version that recorded.</summary>
    public string Recorder { get; init; } = "";

    /// <summary>The hypervisor's name: <c>core</c>, <c>xen</c>.</summary>
    public required string HypervisorName { get; init; }

    /// <summary>The hypervisor's version.</summary>
    public required string HypervisorVersion { get; init; }

    /// <summary>The domain when the recording began.</summary>
    public required DomainInfo Domain { get; init; }

    /// <summary>When the recording began, UTC.</summary>
    public required DateTime Started { get; init; }

    /// <summary>What was watched.</summary>
    public WatchedEvents Watched { get; init; } = new();

    /// <summary>Memory that was taken at each event.</summary>
    public IReadOnlyList<MemoryWindow> Windows { get; init; } = [];

    /// <summary>The recording was to drop events rather than slow the guest.</summary>
    public bool MayDrop { get; init; }
}

/// <summary>How a recording ended.</summary>
/// <param name="Time">When, UTC.</param>
/// <param name="Reason">Why: <c>poweroff</c>, <c>count</c>, <c>interrupted</c>, …</param>
/// <param name="Elapsed">How long the domain was watched.</param>
/// <param name="VcpuPaused">How long vCPUs stood still for the monitor, summed over the vCPUs.</param>
/// <param name="Dropped">Events that were handled and not recorded, in all.</param>
/// <param name="Malformed">Requests that could not be understood.</param>
public sealed record CaptureEnd(DateTime Time, string Reason, TimeSpan Elapsed, TimeSpan VcpuPaused, long Dropped, long Malformed);

/// <summary>What was answered to an event when it was recorded.</summary>
/// <param name="Verdict">The verdict; pass when nobody had an opinion.</param>
/// <param name="Handler">Who gave it; null when nobody.</param>
/// <param name="ResponseFlags">The flags of the response.</param>
public readonly record struct CapturedAnswer(Introspect.Rules.Handlers.Verdict Verdict, string? Handler, VmEventFlags ResponseFlags);

/// <summary>The name of an address.</summary>
/// <param name="Name">The nearest symbol at or below it.</param>
/// <param name="Offset">Bytes between them.</param>
public readonly record struct CapturedSymbol(string Name, ulong Offset);
