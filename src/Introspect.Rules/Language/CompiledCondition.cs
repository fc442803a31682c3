using System.Runtime.CompilerServices;
using Introspect.Hypervisor.Abi;

namespace Introspect.Rules.Language;

/// <summary>A condition as code. It can be used from several threads at once, each with a context of its own.</summary>
public sealed class CompiledCondition
{
    private readonly TruthBody _body;

    internal CompiledCondition(TruthBody body, VmEventReasonSet reasons, ConditionFacts facts, TruthNode node, bool isWaiting)
    {
        _body = body;
        Reasons = reasons;
        Facts = facts;
        ReadsGuestMemory = node.ReadsMemory;
        IsConstant = node is ConstantTruth;
        IsWaiting = isWaiting;
    }

    /// <summary>What must hold for the condition to be true.</summary>
    public ConditionFacts Facts { get; }

    /// <summary>Reasons of the events that it is about.</summary>
    public VmEventReasonSet Reasons { get; }

    /// <summary>True when it may read the guest's memory.</summary>
    public bool ReadsGuestMemory { get; }

    /// <summary>It is true, or false, whatever the event.</summary>
    internal bool IsConstant { get; }

    /// <summary>
    /// It has something in it that others are to fill in: a list that is empty, a macro that is true or false, a symbol that
    /// is not known here. What can never be true as it is now may be when that is done.
    /// </summary>
    internal bool IsWaiting { get; }

    /// <summary>
    /// Asks whether the condition is true for an event. Allocates nothing. A comparison of something that the event does not
    /// have or of memory that is not there is not true, and neither is its opposite.
    /// </summary>
    /// <returns>False, too, for an event of a reason that the condition is not about.</returns>
    public bool Evaluate(ref readonly VmEvent request, ref EvaluationContext context) =>
        Reasons.Contains(request.Reason) && _body(ref Unsafe.AsRef(in request), ref context);
}
