using Introspect.Hypervisor.Abi;

namespace Introspect.Rules.Language;

/// <summary>
/// What holds for every event for which a condition is true: no event outside of it can matter to the rule, so that
/// nothing more needs to be asked of the hypervisor. It may hold for other events, too.
/// </summary>
public sealed class ConditionFacts
{
    private readonly Dictionary<VmEventReason, EventFacts> _byReason;
    private readonly EventFacts?[] _byRegister;

    internal ConditionFacts(Dictionary<VmEventReason, EventFacts> byReason, EventFacts?[] byRegister)
    {
        _byReason = byReason;
        _byRegister = byRegister;
        foreach (var reason in byReason.Keys)
        {
            Reasons = Reasons.With(reason);
        }
    }

    /// <summary>Reasons of events for which the condition can be true.</summary>
    public VmEventReasonSet Reasons { get; }

    /// <summary>True when no event at all makes the condition true.</summary>
    public bool IsNever => Reasons.IsEmpty;

    /// <summary>What holds for events of a reason; null when the condition is true for none of them.</summary>
    public EventFacts? For(VmEventReason reason) => _byReason.GetValueOrDefault(reason);

    /// <summary>What holds for writes of a control register; null when the condition is true for none of them.</summary>
    public EventFacts? For(ControlRegisterIndex register) => (uint)register < (uint)_byRegister.Length ? _byRegister[(int)register] : null;
}

/// <summary>What holds for the events of one reason, or the writes of one register, for which a condition is true.</summary>
public sealed record EventFacts
{
    /// <summary>Nothing is known.</summary>
    public static EventFacts Nothing { get; } = new();

    /// <summary>
    /// Writes of registers and MSRs: bits of which at least one is changed. All ones: something is changed. Null: the
    /// condition can be true for a write of the value that is there.
    /// </summary>
    public ulong? ChangedBits { get; init; }

    /// <summary>The number of the MSR that is written.</summary>
    public NumberSet Msrs { get; init; } = NumberSet.Everything;

    /// <summary>The frame of a memory access, breakpoint, debug exception, step, or of paging and sharing.</summary>
    public NumberSet Gfns { get; init; } = NumberSet.Everything;

    /// <summary>Memory accesses: kinds of which the access has at least one.</summary>
    public MemAccessFlags AccessKinds { get; init; } = MemAccessFlags.Read | MemAccessFlags.Write | MemAccessFlags.Execute;

    /// <summary>True when the condition can be true for accesses of page-table walks.</summary>
    public bool PageTableWalks { get; init; } = true;

    /// <summary>RIP at the event: of a breakpoint, where it is.</summary>
    public NumberSet InstructionPointers { get; init; } = NumberSet.Everything;

    /// <summary>Roots of address spaces, without PCID and flag bits: CR3 at the event.</summary>
    public NumberSet Processes { get; init; } = NumberSet.Everything;

    /// <summary>The vCPU.</summary>
    public NumberSet Vcpus { get; init; } = NumberSet.Everything;

    /// <summary>The domain's number.</summary>
    public NumberSet Domains { get; init; } = NumberSet.Everything;
}
