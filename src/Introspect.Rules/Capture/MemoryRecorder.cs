using Introspect.Hypervisor.Abi;
using Introspect.Rules.Handlers;

namespace Introspect.Rules.Capture;

/// <summary>
/// Takes memory at the events that another handler sees, while their vCPUs stand still, and hands it to who writes the
/// records: one thread takes, one writes, and nothing is allocated between them.
/// </summary>
public sealed class MemoryRecorder
{
    private readonly MemoryWindow[] _windows;
    private readonly MemorySnapshot[] _ring;

    // Counts of snapshots taken and given back; only their own side writes each.
    private long _taken;
    private long _returned;
    private long _missed;

    /// <summary>Makes a recorder.</summary>
    /// <param name="windows">What to take.</param>
    /// <param name="capacity">Events whose records may wait at the same time; what comes beyond has no memory and is counted.</param>
    public MemoryRecorder(IReadOnlyList<MemoryWindow> windows, int capacity)
    {
        ArgumentNullException.ThrowIfNull(windows);
        ArgumentOutOfRangeException.ThrowIfLessThan(capacity, 1);
        _windows = [.. windows];
        _ring = new MemorySnapshot[capacity];
        for (var i = 0; i < _ring.Length; i++)
        {
            _ring[i] = MemorySnapshot.For(windows);
        }
    }

    /// <summary>What is taken.</summary>
    public IReadOnlyList<MemoryWindow> Windows => _windows;

    /// <summary>Events whose records may wait at the same time.</summary>
    public int Capacity => _ring.Length;

    /// <summary>Events whose memory could not be kept.</summary>
    public long Missed => Volatile.Read(ref _missed);

    /// <summary>The handler, with memory taken before it is asked.</summary>
    public IEventHandler Around(IEventHandler handler) => new Handler(this, handler);

    /// <summary>The memory of an event. It is the caller's until <see cref="Return"/>; records come in the order of their events.</summary>
    /// <returns>Null when none was taken.</returns>
    internal MemorySnapshot? Find(ulong sequence)
    {
        for (; _returned < Volatile.Read(ref _taken); Return())
        {
            var oldest = _ring[_returned % _ring.Length];
            if (oldest.Sequence >= sequence)
            {
                return oldest.Sequence == sequence ? oldest : null;
            }

            // Its record was dropped.
        }

        return null;
    }

    /// <summary>Gives back what <see cref="Find"/> gave.</summary>
    internal void Return() => Volatile.Write(ref _returned, _returned + 1);

    private void Take(ref readonly VmEvent request, ref HandlerContext context)
    {
        if (_taken - Volatile.Read(ref _returned) == _ring.Length)
        {
            Volatile.Write(ref _missed, _missed + 1);
            return;
        }

        var snapshot = _ring[_taken % _ring.Length];
        snapshot.Sequence = context.Sequence;
        snapshot.Take(context.Domain.Memory, in request, _windows);
        Volatile.Write(ref _taken, _taken + 1);
    }

    private sealed class Handler(MemoryRecorder recorder, IEventHandler inner) : IEventHandler
    {
        public string Name => inner.Name;

        public void Subscribe(SubscriptionBuilder subscription) => inner.Subscribe(subscription);

        public Verdict Handle(ref readonly VmEvent request, ref HandlerContext context)
        {
            recorder.Take(in request, ref context);
            return inner.Handle(in request, ref context);
        }
    }
}
