using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;
using Introspect.Rules.Handlers;

namespace Introspect.Rules.Pump;

/// <summary>
/// An event that was handled and answered, as it travels to the sinks. A large structure on purpose: it lives in the
/// channel's own buffer, so that publishing an event allocates nothing. Pass it by <c>in</c> or <c>ref readonly</c>.
/// </summary>
public struct EventRecord
{
    /// <summary>Number in the pump, from 1, without gaps: a gap seen by a sink is records that were dropped.</summary>
    public ulong Sequence;

    /// <summary>Time when the request was taken, UTC.</summary>
    public DateTime Time;

    /// <summary>Monotonic time since the pump started, when the request was taken.</summary>
    public TimeSpan Elapsed;

    /// <summary>Time in handlers and in making the response.</summary>
    public TimeSpan HandlingTime;

    /// <summary>Time that the vCPU stood still for the event, as far as the monitor can see: from wake-up to notify. Zero for async events.</summary>
    public TimeSpan PausedTime;

    /// <summary>The domain.</summary>
    public DomainId Domain;

    /// <summary>What was decided; <see cref="Verdict.Pass"/> when nobody had an opinion.</summary>
    public Verdict Verdict;

    /// <summary>The flags of the response that was sent.</summary>
    public VmEventFlags ResponseFlags;

    /// <summary>Name of the handler that decided, or of its rule; null when nobody had an opinion.</summary>
    public string? Handler;

    /// <summary>The request, a copy.</summary>
    public VmEvent Event;

    /// <summary>Why the event was sent.</summary>
    public readonly VmEventReason Reason => Event.Reason;

    /// <summary>The vCPU that the event is about.</summary>
    public readonly VcpuId Vcpu => new(Event.VcpuId);

    /// <summary>True when the vCPU waited for the response.</summary>
    public readonly bool IsSync => (Event.Flags & VmEventFlags.VcpuPaused) != 0;
}

/// <summary>What happens to records when the sinks do not keep up.</summary>
public enum RecordPolicy
{
    /// <summary>A record that finds the channel full is dropped and counted; the guest is not slowed.</summary>
    DropNewest,

    /// <summary>The pump waits for room, after answering; nothing is lost and the guest is slowed by the full ring.</summary>
    Block,

    /// <summary>No records are made.</summary>
    None,
}
