using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;

namespace Introspect.Daemon.Tracing;

/// <summary>Guest pages of which accesses are watched.</summary>
/// <param name="First">First page.</param>
/// <param name="Count">Number of pages.</param>
/// <param name="Watched">Accesses that are events.</param>
internal readonly record struct MemoryWatch(Gfn First, uint Count, MemAccessFlags Watched);

/// <summary>What is watched on a domain.</summary>
internal sealed record EventSelection
{
    /// <summary>Events to enable, none twice.</summary>
    public IReadOnlyList<MonitorEvent> Events { get; init; } = [];

    /// <summary>Memory to watch.</summary>
    public IReadOnlyList<MemoryWatch> Memory { get; init; } = [];

    /// <summary>Nothing is watched.</summary>
    public bool IsEmpty => Events.Count == 0 && Memory.Count == 0;

    /// <summary>What a selection watches besides.</summary>
    public EventSelection With(params ReadOnlySpan<MemoryWatch> memory) => this with { Memory = [.. Memory, .. memory] };
}
