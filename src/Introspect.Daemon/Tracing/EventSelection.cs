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

    /// <summary>Where breakpoints are put into the guest's code.</summary>
    public IReadOnlyList<GuestPhysical> Breakpoints { get; init; } = [];

    /// <summary>The interrupts that vCPUs take, one after each answer.</summary>
    public bool Interrupts { get; init; }

    /// <summary>Page-table roots of the only address spaces that matter; none for all.</summary>
    public IReadOnlyList<ulong> AddressSpaces { get; init; } = [];

    /// <summary>Memory and breakpoints are watched in an altp2m view.</summary>
    public bool InView { get; init; }

    /// <summary>Nothing is watched.</summary>
    public bool IsEmpty => Events.Count == 0 && Memory.Count == 0 && Breakpoints.Count == 0 && !Interrupts;

    /// <summary>What a selection watches besides.</summary>
    public EventSelection With(params ReadOnlySpan<MemoryWatch> memory) => this with { Memory = [.. Memory, .. memory] };
}

/// <summary>What of a user's choice is named by virtual addresses and symbols, which only the guest's own tables place.</summary>
internal sealed record PlaceChoice
{
    /// <summary>Breakpoints to put into the guest's code.</summary>
    public IReadOnlyList<Place> Breakpoints { get; init; } = [];

    /// <summary>Where stepping begins, when not at the guest's own events.</summary>
    public Place? StepFrom { get; init; }

    /// <summary>Virtual memory to watch.</summary>
    public IReadOnlyList<PlaceRange> Ranges { get; init; } = [];

    /// <summary>Nothing is named.</summary>
    public bool IsEmpty => Breakpoints.Count == 0 && StepFrom is null && Ranges.Count == 0;
}

/// <summary>What the user wants to watch.</summary>
/// <param name="Selection">Events and memory.</param>
/// <param name="Steps">Instructions to step each time; 0 for none.</param>
/// <param name="Everything"><c>--all</c> was given: what a hypervisor cannot do is left out instead of refused.</param>
internal sealed record EventChoice(EventSelection Selection, int Steps, bool Everything)
{
    /// <summary>What is named by virtual addresses.</summary>
    public PlaceChoice Places { get; init; } = new();

    /// <summary>The user named no event.</summary>
    public bool IsEmpty => Selection.IsEmpty && Places.IsEmpty;
}
