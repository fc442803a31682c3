using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;
using Introspect.Rules.Handlers;

namespace Introspect.Rules.Pump;

/// <summary>Guest pages of which accesses are told.</summary>
/// <param name="First">First page.</param>
/// <param name="Count">Number of pages.</param>
/// <param name="Watched">Accesses that are events.</param>
public readonly record struct WatchedMemory(Gfn First, uint Count, MemAccessFlags Watched);

/// <summary>What a pump watches on a domain: what is not in here has no records.</summary>
public sealed record WatchedEvents
{
    /// <summary>Events that are enabled.</summary>
    public IReadOnlyList<MonitorEvent> Events { get; init; } = [];

    /// <summary>Memory that is watched.</summary>
    public IReadOnlyList<WatchedMemory> Memory { get; init; } = [];

    /// <summary>Breakpoints that the pump has put into the guest's code.</summary>
    public IReadOnlyList<GuestPhysical> Breakpoints { get; init; } = [];

    /// <summary>The next interrupt of each vCPU is told.</summary>
    public bool Interrupts { get; init; }

    /// <summary>Page-table roots of the only address spaces of which events are told; none for all.</summary>
    public IReadOnlyList<ulong> AddressSpaces { get; init; } = [];

    internal static WatchedEvents Of(IReadOnlyList<MonitorEvent> enabled, IReadOnlyList<HandlerSubscription> handlers) => new()
    {
        Events = [.. enabled],
        Memory = [.. handlers.SelectMany(handler => handler.Ranges).Select(range => new WatchedMemory(new(range.First), range.Count, range.Watched)).Distinct()],
        Breakpoints = [.. handlers.SelectMany(handler => handler.Breakpoints).Distinct().Order().Select(address => new GuestPhysical(address))],
        Interrupts = handlers.Any(handler => handler.Simple.Exists(wish => wish.Reason == VmEventReason.Interrupt)),
        AddressSpaces = handlers.All(handler => handler.AddressSpaces.Count != 0) ? [.. handlers.SelectMany(handler => handler.AddressSpaces).Distinct()] : [],
    };
}
