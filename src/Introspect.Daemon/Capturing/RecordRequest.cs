using Introspect.Daemon.Symbols;
using Introspect.Daemon.Tracing;
using Introspect.Rules.Capture;

namespace Introspect.Daemon.Capturing;

/// <summary>What a user wants recorded.</summary>
/// <param name="Trace">What is watched, and how long.</param>
/// <param name="Path">Where it goes; <c>-</c> for stdout.</param>
internal sealed record RecordRequest(TraceRequest Trace, string Path)
{
    /// <summary>Most bytes of the file.</summary>
    public long? MaxBytes { get; init; }

    /// <summary>Memory to take at each event.</summary>
    public IReadOnlyList<MemoryWindow> Windows { get; init; } = [];
}

/// <summary>What a user wants replayed, and how it is shown.</summary>
/// <param name="Path">The capture; <c>-</c> for stdin.</param>
internal sealed record ReplayRequest(string Path)
{
    /// <summary>NDJSON instead of lines for people.</summary>
    public bool Json { get; init; }

    /// <summary>Each NDJSON event has all registers.</summary>
    public bool Registers { get; init; }

    /// <summary>Names of the handlers that judge the events; none: the verdicts are those that were recorded.</summary>
    public IReadOnlyList<string> Handlers { get; init; } = [];

    /// <summary>Files and folders of rules that judge the events behind the handlers; none: there are no rules.</summary>
    public IReadOnlyList<string> Rules { get; init; } = [];

    /// <summary>Where symbols are; null: in the capture.</summary>
    public SymbolSpec? Symbols { get; init; }

    /// <summary>What of the capture, and how fast.</summary>
    public ReplayOptions Options { get; init; } = new();
}
