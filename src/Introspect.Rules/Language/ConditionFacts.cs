using Introspect.Hypervisor.Abi;

namespace Introspect.Rules.Language;

/// <summary>
/// What holds for every event for which a condition is true: no event outside of it can matter to the rule, so that
/// nothing more needs to be asked of the hypervisor. It may hold for other events, too.
/// </summary>
public sealed class ConditionFacts
{
    private readonly Dictionary<VmEventReason, Facts> _byReason = [];
    private readonly Facts?[] _byRegister = new Facts?[Registers.Length];

    /// <summary>Asks for what holds on each reason, and on writes of control registers for each register.</summary>
    internal ConditionFacts(VmEventReasonSet reasons, Func<VmEventReason, ControlRegisterIndex?, Facts?> find)
    {
        foreach (var reason in reasons.Reasons)
        {
            var facts = reason == VmEventReason.WriteCtrlreg ? OfRegisters(find) : find(reason, null);
            if (facts is not null)
            {
                _byReason.Add(reason, facts);
                Reasons = Reasons.With(reason);
            }
        }
    }

    private static ControlRegisterIndex[] Registers { get; } = Enum.GetValues<ControlRegisterIndex>();

    /// <summary>Reasons of events for which the condition can be true.</summary>
    public VmEventReasonSet Reasons { get; }

    /// <summary>True when no event at all makes the condition true.</summary>
    public bool IsNever => Reasons.IsEmpty;

    /// <summary>What holds for events of a reason; null when the condition is true for none of them.</summary>
    public EventFacts? For(VmEventReason reason) => _byReason.GetValueOrDefault(reason)?.ToPublic(reason);

    /// <summary>What holds for writes of a control register; null when the condition is true for none of them.</summary>
    public EventFacts? For(ControlRegisterIndex register) => (uint)register < (uint)_byRegister.Length ? _byRegister[(int)register]?.ToPublic(VmEventReason.WriteCtrlreg) : null;

    /// <summary>Nothing is known but the reasons.</summary>
    internal static ConditionFacts Nothing(VmEventReasonSet reasons) => new(reasons, (reason, _) => Facts.For(reason));

    /// <summary>What holds where both conditions are true.</summary>
    internal ConditionFacts And(ConditionFacts other) => new(Reasons & other.Reasons, (reason, register) =>
        Of(reason, register) is { } facts && other.Of(reason, register) is { } more ? facts.And(more) : null);

    private Facts? Of(VmEventReason reason, ControlRegisterIndex? register) =>
        register is { } index ? _byRegister[(int)index] : _byReason.GetValueOrDefault(reason);

    private Facts? OfRegisters(Func<VmEventReason, ControlRegisterIndex?, Facts?> find)
    {
        Facts? any = null;
        foreach (var register in Registers)
        {
            if (find(VmEventReason.WriteCtrlreg, register) is { } facts)
            {
                _byRegister[(int)register] = facts;
                any = any is null ? facts : any.Or(facts);
            }
        }

        return any;
    }
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
