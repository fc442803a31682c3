using Introspect.Hypervisor.Abi;
using Introspect.Rules.Handlers;
using Introspect.Rules.Language;

namespace Introspect.Rules.Files;

/// <summary>A rule, compiled: its conditions, exceptions and text as code.</summary>
internal sealed class Rule(RuleDefinition definition, IReadOnlyList<CompiledCondition> conditions, IReadOnlyList<CompiledCondition> exceptions, CompiledTemplate? output)
{
    /// <summary>The control registers of which writes are told.</summary>
    public static readonly ControlRegisterIndex[] ControlRegisters = [ControlRegisterIndex.Cr0, ControlRegisterIndex.Cr3, ControlRegisterIndex.Cr4, ControlRegisterIndex.Xcr0];

    /// <summary>What the files say.</summary>
    public RuleDefinition Definition { get; } = definition;

    public string Name => Definition.Name;

    /// <summary>All must be true.</summary>
    public CompiledCondition[] Conditions { get; } = [.. conditions];

    /// <summary>None may be true.</summary>
    public CompiledCondition[] Exceptions { get; } = [.. exceptions];

    public CompiledTemplate? Output { get; } = output;

    public VerdictPlan Verdict => Definition.Verdict;

    public bool IsEnforced => Definition.Mode == RuleMode.Enforce;

    /// <summary>Linear addresses whose pages it is about; null where it names none.</summary>
    public NumberSet? Linear { get; init; }

    /// <summary>How often it is looked where they are.</summary>
    public TimeSpan LinearRefresh => Definition.On.First(clause => clause.Linear.Count > 0).Refresh;

    /// <summary>Memory of the guest is read while it is asked, so that the guest must stand still.</summary>
    public bool ReadsGuestMemory { get; } = conditions.Concat(exceptions).Any(condition => condition.ReadsGuestMemory);

    /// <summary>It may hold back what the guest does.</summary>
    public bool MayDeny => IsEnforced && (Verdict.Has(VerdictKind.Deny) || Verdict.Has(VerdictKind.Skip) || Definition.Fail == FailPolicy.Closed);

    /// <summary>What holds for every match.</summary>
    public ConditionFacts Facts { get; } = conditions.Aggregate(
        ConditionFacts.Nothing(VmEventReasonSet.Of([.. definition.On.Select(clause => clause.Reason)])), (facts, condition) => facts.And(condition.Facts));

    /// <summary>What holds for every match on a reason; null when there is none.</summary>
    public EventFacts? FactsFor(VmEventReason reason) => Facts.For(reason);

    /// <summary>What holds for every match on a write of a control register; null when there is none.</summary>
    public EventFacts? FactsFor(ControlRegisterIndex register) => Facts.For(register);

    /// <summary>True when the vCPU waits while the rule is asked.</summary>
    public bool IsSync(OnClause clause) =>
        !OnReader.HasChoiceOfSync(clause.Reason) || (clause.Sync ?? (ReadsGuestMemory || (IsEnforced && (Verdict.NeedsSync || Definition.Fail == FailPolicy.Closed))));
}
