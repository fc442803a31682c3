using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;
using Introspect.Rules.Handlers;

namespace Introspect.Rules.Plugins.Isolation;

/// <summary>What a handler in another process asked for. It is asked for anew here, so that it is checked here.</summary>
internal sealed class SubscriptionWire
{
    public IReadOnlyList<ControlRegisterWish> ControlRegisters { get; init; } = [];

    public IReadOnlyList<MsrWish> Msrs { get; init; } = [];

    public IReadOnlyList<SimpleWish> Simple { get; init; } = [];

    public IReadOnlyList<RangeWish> Ranges { get; init; } = [];

    public IReadOnlyList<ulong> Breakpoints { get; init; } = [];

    public IReadOnlyList<ulong> AddressSpaces { get; init; } = [];

    public bool InView { get; init; }

    public bool UserspaceRequests { get; init; }

    public bool EmulateEachRep { get; init; }

    public bool ObservesDecided { get; init; }

    /// <summary>Asks a handler.</summary>
    /// <exception cref="ArgumentException">It asks for what cannot be.</exception>
    public static SubscriptionWire Of(string name, IEventHandler handler)
    {
        var builder = new SubscriptionBuilder(name);
        handler.Subscribe(builder);
        var asked = builder.Build();
        return new()
        {
            ControlRegisters = asked.ControlRegisters,
            Msrs = asked.Msrs,
            Simple = asked.Simple,
            Ranges = asked.Ranges,
            Breakpoints = asked.Breakpoints,
            AddressSpaces = asked.AddressSpaces,
            InView = asked.InView,
            UserspaceRequests = asked.UserspaceRequests,
            EmulateEachRep = asked.EmulateEachRep,
            ObservesDecided = asked.ObservesDecided,
        };
    }

    /// <summary>Asks for the same.</summary>
    /// <exception cref="ArgumentException">It cannot be.</exception>
    public void ReplayTo(SubscriptionBuilder builder)
    {
        foreach (var wish in ControlRegisters)
        {
            builder.ControlRegister(wish.Register, wish.WatchMask, wish.Sync, wish.MayDeny, wish.Optional, wish.OnChangeOnly);
        }

        foreach (var wish in Msrs)
        {
            builder.Msr(wish.Number, wish.OnChangeOnly, wish.MayDeny, wish.Optional);
        }

        foreach (var wish in Simple)
        {
            Replay(wish, builder);
        }

        foreach (var wish in Ranges)
        {
            builder.Memory(new(wish.First), wish.Count, wish.Watched, wish.PageTableWalks);
        }

        foreach (var address in Breakpoints)
        {
            builder.Breakpoint(new GuestPhysical(address));
        }

        if (AddressSpaces.Count != 0)
        {
            builder.InAddressSpaces([.. AddressSpaces]);
        }

        if (InView)
        {
            builder.InView();
        }

        if (EmulateEachRep)
        {
            builder.EmulateEachRep();
        }

        if (ObservesDecided)
        {
            builder.ObserveDecided();
        }
    }

    /// <summary>True when both ask for the same.</summary>
    public bool IsSame(SubscriptionWire other) =>
        ControlRegisters.SequenceEqual(other.ControlRegisters)
        && Msrs.SequenceEqual(other.Msrs)
        && Simple.SequenceEqual(other.Simple)
        && Ranges.SequenceEqual(other.Ranges)
        && Breakpoints.SequenceEqual(other.Breakpoints)
        && AddressSpaces.SequenceEqual(other.AddressSpaces)
        && (InView, UserspaceRequests, EmulateEachRep, ObservesDecided) == (other.InView, other.UserspaceRequests, other.EmulateEachRep, other.ObservesDecided);

    private void Replay(SimpleWish wish, SubscriptionBuilder builder)
    {
        _ = wish.Reason switch
        {
            VmEventReason.Cpuid => builder.Cpuid(wish.Optional),
            VmEventReason.SoftwareBreakpoint => builder.SoftwareBreakpoint(wish.Optional),
            VmEventReason.Interrupt => builder.Interrupt(wish.Optional),
            VmEventReason.DebugException => builder.DebugException(wish.Sync, wish.Optional),
            VmEventReason.GuestRequest => builder.GuestRequest(wish.Sync, UserspaceRequests, wish.Optional),
            VmEventReason.Singlestep => builder.Singlestep(wish.Optional),
            VmEventReason.DescriptorAccess => builder.DescriptorAccess(wish.Optional),
            VmEventReason.IoInstruction => builder.IoInstruction(wish.Sync, wish.Optional),
            VmEventReason.VmExit => builder.VmExit(wish.Sync, wish.Optional),
            VmEventReason.EmulUnimplemented => builder.EmulUnimplemented(wish.Optional),
            _ => throw new ArgumentException($"a plugin's process asked for event {(uint)wish.Reason}, which there is not"),
        };
    }
}
