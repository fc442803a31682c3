using Introspect.Hypervisor.Abi;
using Introspect.Rules.Pump;

namespace Introspect.Rules.Capture;

/// <summary>What is in a capture, read from its begin to its end.</summary>
public sealed record CaptureSummary
{
    /// <summary>What it is of.</summary>
    public required CaptureHeader Header { get; init; }

    /// <summary>Events in it.</summary>
    public required long Events { get; init; }

    /// <summary>Events by reason, most frequent first.</summary>
    public required IReadOnlyList<(VmEventReason Reason, long Count)> ByReason { get; init; }

    /// <summary>Events on which a handler decided.</summary>
    public required long Decided { get; init; }

    /// <summary>Events that have memory with them.</summary>
    public required long WithMemory { get; init; }

    /// <summary>Bytes of that memory.</summary>
    public required long MemoryBytes { get; init; }

    /// <summary>Places in it where events are missing.</summary>
    public required long Gaps { get; init; }

    /// <summary>Events that were handled and are not in it.</summary>
    public required ulong Lost { get; init; }

    /// <summary>Lines of the guest's console.</summary>
    public required long Lines { get; init; }

    /// <summary>Names of addresses.</summary>
    public required int Symbols { get; init; }

    /// <summary>From the begin of the recording to its end, or to the last event where it was cut off.</summary>
    public required TimeSpan Duration { get; init; }

    /// <summary>How the recording ended; null where it was cut off or is damaged.</summary>
    public required CaptureEnd? End { get; init; }

    /// <summary>Blocks of which the checksums are right.</summary>
    public required long Blocks { get; init; }

    /// <summary>Bytes of them in the file.</summary>
    public required long Bytes { get; init; }

    /// <summary>Bytes of them before compression.</summary>
    public required long BytesBeforeCompression { get; init; }

    /// <summary>Bytes behind the last whole block.</summary>
    public required long CutOffBytes { get; init; }

    /// <summary>What is damaged; null when nothing.</summary>
    public required CaptureException? Damage { get; init; }

    /// <summary>Reads a capture to its end, or to where it is damaged.</summary>
    public static CaptureSummary Of(CaptureReader capture)
    {
        ArgumentNullException.ThrowIfNull(capture);
        var counts = new long[PumpStatistics.ReasonCount];
        long decided = 0, withMemory = 0, memory = 0, gaps = 0, lines = 0;
        var lost = 0UL;
        var last = TimeSpan.Zero;
        CaptureException? damage = null;
        try
        {
            for (CaptureItem item; (item = capture.Read()) != CaptureItem.None;)
            {
                switch (item)
                {
                    case CaptureItem.Event:
                        ref readonly var record = ref capture.Event;
                        counts[(uint)record.Reason < (uint)counts.Length ? (int)record.Reason : 0]++;
                        decided += record.Handler is not null ? 1 : 0;
                        var known = capture.Memory.KnownBytes;
                        withMemory += known != 0 ? 1 : 0;
                        memory += known;
                        last = record.Elapsed;
                        break;
                    case CaptureItem.Gap:
                        gaps++;
                        lost += capture.Lost;
                        break;
                    case CaptureItem.Console:
                        lines++;
                        break;
                }
            }
        }
        catch (CaptureException found)
        {
            damage = found;
        }

        return new()
        {
            Header = capture.Header,
            Events = counts.Sum(),
            ByReason = [.. counts.Select((count, reason) => ((VmEventReason)reason, count)).Where(r => r.count != 0).OrderByDescending(r => r.count).ThenBy(r => r.Item1)],
            Decided = decided,
            WithMemory = withMemory,
            MemoryBytes = memory,
            Gaps = gaps,
            Lost = Math.Max(lost, (ulong)(capture.End?.Dropped ?? 0)),
            Lines = lines,
            Symbols = capture.Symbols.Count,
            Duration = capture.End?.Elapsed ?? last,
            End = capture.End,
            Blocks = capture.Blocks,
            Bytes = capture.Position,
            BytesBeforeCompression = capture.BytesBeforeCompression,
            CutOffBytes = capture.CutOffBytes,
            Damage = damage,
        };
    }
}
