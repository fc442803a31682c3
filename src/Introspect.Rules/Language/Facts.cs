using Introspect.Hypervisor.Abi;

namespace Introspect.Rules.Language;

/// <summary>Facts in the making.</summary>
internal sealed record Facts
{
    private static readonly BitFacts RightsAlone = new(new(ulong.MaxValue, 7, 0, 0), null);
    private static readonly Facts Nothing = new();

    // A memory access has rights where a write of a register has new bits, and no old ones.
    private static readonly Facts NothingOfAccess = new() { Bits = RightsAlone };

    public BitFacts Bits { get; init; } = BitFacts.Nothing;

    public bool PageWalks { get; init; } = true;

    public NumberSet Msrs { get; init; } = NumberSet.Everything;

    public NumberSet Gfns { get; init; } = NumberSet.Everything;

    public NumberSet Rips { get; init; } = NumberSet.Everything;

    public NumberSet Processes { get; init; } = NumberSet.Everything;

    public NumberSet Vcpus { get; init; } = NumberSet.Everything;

    public NumberSet Domains { get; init; } = NumberSet.Everything;

    private bool IsImpossible => Bits.IsImpossible || Msrs.IsEmpty || Gfns.IsEmpty || Rips.IsEmpty || Processes.IsEmpty || Vcpus.IsEmpty || Domains.IsEmpty;

    /// <summary>Nothing known but the reason.</summary>
    public static Facts For(VmEventReason reason) => reason == VmEventReason.MemAccess ? NothingOfAccess : Nothing;

    /// <summary>Both hold; null when they cannot.</summary>
    public Facts? And(Facts other)
    {
        var both = new Facts
        {
            Bits = Bits.And(other.Bits),
            PageWalks = PageWalks && other.PageWalks,
            Msrs = Msrs.Intersect(other.Msrs),
            Gfns = Gfns.Intersect(other.Gfns),
            Rips = Rips.Intersect(other.Rips),
            Processes = Processes.Intersect(other.Processes),
            Vcpus = Vcpus.Intersect(other.Vcpus),
            Domains = Domains.Intersect(other.Domains),
        };
        return both.IsImpossible ? null : both;
    }

    /// <summary>One of them holds.</summary>
    public Facts Or(Facts other) => new()
    {
        Bits = Bits.Or(other.Bits),
        PageWalks = PageWalks || other.PageWalks,
        Msrs = Msrs.Union(other.Msrs),
        Gfns = Gfns.Union(other.Gfns),
        Rips = Rips.Union(other.Rips),
        Processes = Processes.Union(other.Processes),
        Vcpus = Vcpus.Union(other.Vcpus),
        Domains = Domains.Union(other.Domains),
    };

    public EventFacts ToPublic(VmEventReason reason) => new()
    {
        ChangedBits = reason is VmEventReason.WriteCtrlreg or VmEventReason.MovToMsr ? Bits.Changed : null,
        AccessKinds = reason == VmEventReason.MemAccess && Bits.Changed is { } kinds ? (MemAccessFlags)kinds : EventFacts.Nothing.AccessKinds,
        PageTableWalks = PageWalks,
        Msrs = Msrs,
        Gfns = Gfns,
        InstructionPointers = Rips,
        Processes = Processes,
        Vcpus = Vcpus,
        Domains = Domains,
    };
}
