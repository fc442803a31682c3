using System.Runtime.CompilerServices;
using Introspect.Hypervisor.Abi;

namespace Introspect.Rules.Language;

/// <summary>A condition as code. It can be used from several threads at once, each with a context of its own.</summary>
public sealed class CompiledCondition
{
    private readonly TruthBody _body;

    internal CompiledCondition(TruthBody body, VmEventReasonSet reasons, ConditionFacts facts, bool readsGuestMemory)
    {
        _body = body;
        Reasons = reasons;
        Facts = facts;
        ReadsGuestMemory = readsGuestMemory;
    }

    /// <summary>What must hold for the condition to be true.</summary>
    public ConditionFacts Facts { get; }

    /// <summary>Reasons of the events that it is about.</summary>
    public VmEventReasonSet Reasons { get; }

    /// <summary>True when it may read the guest's memory.</summary>
    public bool ReadsGuestMemory { get; }

    /// <summary>
    /// Asks whether the condition is true for an event. Allocates nothing. A comparison of something that the event does not
    /// have or of memory that is not there is not true, and neither is its opposite.
    /// </summary>
    /// <returns>False, too, for an event of a reason that the condition is not about.</returns>
    public bool Evaluate(ref readonly VmEvent request, ref EvaluationContext context) =>
        Reasons.Contains(request.Reason) && _body(ref Unsafe.AsRef(in request), ref context);
}
