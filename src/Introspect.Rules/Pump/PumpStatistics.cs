using System.Numerics;
using Introspect.Hypervisor.Abi;

namespace Introspect.Rules.Pump;

/// <summary>
/// A pump's counters. The pump thread alone writes them, without locks; any thread may read them at any time and
/// gets values that are each exact, though not all of the same instant. Every counter only grows.
/// </summary>
public sealed class PumpStatistics
{
    /// <summary>Reasons that are counted by themselves; all others count as <see cref="VmEventReason.Unknown"/>.</summary>
    public const int ReasonCount = (int)VmEventReason.IoInstruction + 1;

    private const int FlagCount = 16;

    private static readonly double[] Bounds = [1e-6, 2.5e-6, 5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 1e-1, 1];

    private readonly long[] _events = new long[ReasonCount];
    private readonly long[] _responses = new long[FlagCount];
    private readonly long[] _handling = new long[Bounds.Length + 1];
    private readonly long[] _boundTicks;
    private readonly TimeProvider _clock;
    private long _totalEvents;
    private long _totalResponses;
    private long _internalEvents;
    private long _malformed;
    private long _published;
    private long _dropped;
    private long _handlerFailures;
    private long _handlerOverruns;
    private long _breakerTrips;
    private long _ignoredVerdicts;
    private long _failedOperations;
    private long _injectedTraps;
    private long _batches;
    private long _handlingTicks;
    private long _pausedTicks;
    private long _maxOccupancy;
    private long _occupancy;
    private long _ringFull;
    private long _ringSize;
    private long _lastActivity;
    private string? _activeHandler;
    private long _changes;
    private IReadOnlyList<HandlerStatistics> _handlers;

    internal PumpStatistics(TimeProvider clock, IReadOnlyList<HandlerStatistics> handlers)
    {
        _clock = clock;
        _handlers = handlers;
        _boundTicks = Array.ConvertAll(Bounds, seconds => (long)(seconds * clock.TimestampFrequency));
        _lastActivity = clock.GetTimestamp();
    }

    /// <summary>Upper bounds of the handling-time buckets in seconds; one more bucket has no bound.</summary>
    public static ReadOnlySpan<double> HandlingBounds => Bounds;

    /// <summary>Counters of each handler, in the order in which they are asked.</summary>
    public IReadOnlyList<HandlerStatistics> Handlers => Volatile.Read(ref _handlers);

    /// <summary>Times that other handlers came into force while the domain was watched.</summary>
    public long Changes => Volatile.Read(ref _changes);

    /// <summary>Requests taken from the ring and answered.</summary>
    public long TotalEvents => Volatile.Read(ref _totalEvents);

    /// <summary>Of these, requests that no handler saw: the pump's own single steps, and accesses beside a watched range.</summary>
    public long InternalEvents => Volatile.Read(ref _internalEvents);

    /// <summary>Responses written.</summary>
    public long TotalResponses => Volatile.Read(ref _totalResponses);

    /// <summary>Requests that made no sense (version, reason or vCPU), answered as well as possible.</summary>
    public long MalformedRequests => Volatile.Read(ref _malformed);

    /// <summary>Records given to the channel.</summary>
    public long PublishedRecords => Volatile.Read(ref _published);

    /// <summary>Records dropped because the channel was full.</summary>
    public long DroppedRecords => Volatile.Read(ref _dropped);

    /// <summary>Times a handler threw.</summary>
    public long HandlerFailures => Volatile.Read(ref _handlerFailures);

    /// <summary>Times a handler took longer than its budget.</summary>
    public long HandlerOverruns => Volatile.Read(ref _handlerOverruns);

    /// <summary>Times a handler was disabled for a while.</summary>
    public long BreakerTrips => Volatile.Read(ref _breakerTrips);

    /// <summary>Verdicts of which a part had no meaning for the event.</summary>
    public long IgnoredVerdicts => Volatile.Read(ref _ignoredVerdicts);

    /// <summary>Operations that the hypervisor refused while an event was answered.</summary>
    public long FailedOperations => Volatile.Read(ref _failedOperations);

    /// <summary>Traps injected into the guest.</summary>
    public long InjectedTraps => Volatile.Read(ref _injectedTraps);

    /// <summary>Wake-ups that found requests; one notification was sent for each.</summary>
    public long Batches => Volatile.Read(ref _batches);

    /// <summary>Time in handlers and in making responses.</summary>
    public TimeSpan HandlingTime => ToTimeSpan(Volatile.Read(ref _handlingTicks));

    /// <summary>Time that vCPUs stood still for sync events, summed over vCPUs: from the pump's wake-up to its notification.</summary>
    public TimeSpan VcpuPausedTime => ToTimeSpan(Volatile.Read(ref _pausedTicks));

    /// <summary>Slots in the ring; 0 before the start.</summary>
    public int RingSize => (int)Volatile.Read(ref _ringSize);

    /// <summary>Requests found in the ring at the last wake-up.</summary>
    public int RingOccupancy => (int)Volatile.Read(ref _occupancy);

    /// <summary>Most requests found in the ring at a wake-up.</summary>
    public int MaxRingOccupancy => (int)Volatile.Read(ref _maxOccupancy);

    /// <summary>Wake-ups that found every slot of the ring taken.</summary>
    public long RingFullCount => Volatile.Read(ref _ringFull);

    /// <summary>When the pump last went round its loop, as a timestamp of <see cref="PumpOptions.Clock"/>: what a watchdog looks at.</summary>
    public long LastActivity => Volatile.Read(ref _lastActivity);

    /// <summary>Time since <see cref="LastActivity"/>. Much more than <see cref="PumpOptions.IdleInterval"/> is a pump that hangs.</summary>
    public TimeSpan SinceLastActivity => _clock.GetElapsedTime(LastActivity);

    /// <summary>The handler that is being asked at this moment; null when none is. Names the one that a pump hangs in.</summary>
    public string? ActiveHandler
    {
        get => Volatile.Read(ref _activeHandler);
        internal set => Volatile.Write(ref _activeHandler, value);
    }

    /// <summary>Requests with a reason.</summary>
    public long Events(VmEventReason reason) => Volatile.Read(ref _events[Slot(reason)]);

    /// <summary>Responses with a flag.</summary>
    /// <param name="flag">Exactly one flag.</param>
    public long Responses(VmEventFlags flag)
    {
        if (!BitOperations.IsPow2((uint)flag) || (uint)flag >= 1u << FlagCount)
        {
            throw new ArgumentOutOfRangeException(nameof(flag), flag, "not exactly one known flag");
        }

        return Volatile.Read(ref _responses[BitOperations.TrailingZeroCount((uint)flag)]);
    }

    /// <summary>Events whose handling took at most the bound of the bucket and more than that of the one before.</summary>
    /// <param name="bucket">0 to <see cref="HandlingBounds"/>'s length, which is the bucket without a bound.</param>
    public long HandlingBucket(int bucket) => Volatile.Read(ref _handling[bucket]);

    internal void CountRingSize(int slots) => Volatile.Write(ref _ringSize, slots);

    internal void UseHandlers(IReadOnlyList<HandlerStatistics> handlers)
    {
        Volatile.Write(ref _handlers, handlers);
        Add(ref _changes, 1);
    }

    internal void CountBatch(int occupancy)
    {
        Add(ref _batches, 1);
        Volatile.Write(ref _occupancy, occupancy);
        if (occupancy > _maxOccupancy)
        {
            Volatile.Write(ref _maxOccupancy, occupancy);
        }

        if (occupancy >= _ringSize)
        {
            Add(ref _ringFull, 1);
        }
    }

    internal void CountEvent(VmEventReason reason)
    {
        Add(ref _events[Slot(reason)], 1);
        Add(ref _totalEvents, 1);
    }

    internal void CountResponse(VmEventFlags flags, long handlingTicks)
    {
        Add(ref _totalResponses, 1);
        for (var rest = (uint)flags & ((1u << FlagCount) - 1); rest != 0; rest &= rest - 1)
        {
            Add(ref _responses[BitOperations.TrailingZeroCount(rest)], 1);
        }

        Add(ref _handlingTicks, handlingTicks);
        var bucket = 0;
        while (bucket < _boundTicks.Length && handlingTicks > _boundTicks[bucket])
        {
            bucket++;
        }

        Add(ref _handling[bucket], 1);
    }

    internal void CountInternal() => Add(ref _internalEvents, 1);

    internal void CountMalformed() => Add(ref _malformed, 1);

    internal void CountMalformed(long skippedByMonitor) => Add(ref _malformed, skippedByMonitor);

    internal void CountPublished() => Add(ref _published, 1);

    internal void CountDropped() => Add(ref _dropped, 1);

    internal void CountHandlerFailure() => Add(ref _handlerFailures, 1);

    internal void CountHandlerOverrun() => Add(ref _handlerOverruns, 1);

    internal void CountBreakerTrip() => Add(ref _breakerTrips, 1);

    internal void CountIgnoredVerdict() => Add(ref _ignoredVerdicts, 1);

    internal void CountFailedOperation() => Add(ref _failedOperations, 1);

    internal void CountInjectedTrap() => Add(ref _injectedTraps, 1);

    internal void CountPaused(long ticks) => Add(ref _pausedTicks, ticks);

    internal void MarkActivity(long timestamp) => Volatile.Write(ref _lastActivity, timestamp);

    // Only the pump thread writes, so that a plain sum and an ordered store are enough.
    private static void Add(ref long counter, long amount) => Volatile.Write(ref counter, counter + amount);

    private static int Slot(VmEventReason reason) => (uint)reason < ReasonCount ? (int)reason : 0;

    private TimeSpan ToTimeSpan(long ticks) => TimeSpan.FromTicks((long)((Int128)ticks * TimeSpan.TicksPerSecond / _clock.TimestampFrequency));
}
