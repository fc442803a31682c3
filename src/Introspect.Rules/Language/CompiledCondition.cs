using Introspect.Hypervisor.Abi;

namespace Introspect.Rules.Language;

/// <summary>A condition as code. It can be used from several threads at once, each with a context of its own.</summary>
public sealed class CompiledCondition
{
    /// <summary>What must hold for the condition to be true.</summary>
    public ConditionFacts Facts => throw new NotImplementedException();

    /// <summary>Reasons of the events that it is about.</summary>
    public VmEventReasonSet Reasons => throw new NotImplementedException();

    /// <summary>True when it may read the guest's memory.</summary>
    public bool ReadsGuestMemory => throw new NotImplementedException();

    /// <summary>
    /// Asks whether the condition is true for an event. Allocates nothing. A comparison of something that the event does not
    /// have or of memory that is not there is not true, and neither is its opposite.
    /// </summary>
    public bool Evaluate(ref readonly VmEvent request, ref EvaluationContext context) => throw new NotImplementedException();
}
