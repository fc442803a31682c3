using Introspect.Hypervisor.Abi;
using Introspect.Rules.Language;
using Introspect.Rules.Running;

namespace Introspect.Rules.Files;

/// <summary>What can match a rule where no domain is known: what is explained of it, and a warning where nothing can.</summary>
internal static class RuleReach
{
    // No guest has more frames than a processor can address.
    private const ulong LastFrame = (1UL << 40) - 1;

    private static readonly NumberSet AllFrames = NumberSet.Of([new(0, LastFrame)]);

    /// <summary>The events that a rule is about. What it says of the domain is taken to be true.</summary>
    public static RuleFilter FilterOf(Rule rule) => new(rule, LastFrame, domain: null);

    /// <summary>
    /// Tells of a rule that no event can match. One that waits for a list to be filled or for symbols is as its author wants it.
    /// </summary>
    public static void WarnOfNone(Rule rule, DiagnosticBag diagnostics)
    {
        var reach = FilterOf(rule);
        if (reach.CanMatch || IsWaiting(rule))
        {
            return;
        }

        var (span, why) = WhyNone(rule, reach);
        if (why is not null)
        {
            diagnostics.Warning(span, $"{rule.Definition.Title} can match no event: {why}");
        }
    }

    /// <summary>Tells of exceptions that are never true, and so except nothing.</summary>
    public static void WarnOfDeadExceptions(Rule rule, DiagnosticBag diagnostics)
    {
        foreach (var (exception, condition) in rule.Definition.Exceptions.Zip(rule.Exceptions))
        {
            if (exception.Name.Length > 0 && condition is { Facts.IsNever: true, IsConstant: false, IsWaiting: false })
            {
                diagnostics.Warning(exception.When.Span, $"exception '{exception.Name}' of {rule.Definition.Title} is never true: its parts exclude each other");
            }
        }
    }

    private static bool IsWaiting(Rule rule) =>
        rule.Conditions.Any(condition => condition.IsWaiting) || rule.Definition.On.Any(clause => clause.Frames is { IsEmpty: true });

    private static (SourceSpan Span, string? Why) WhyNone(Rule rule, RuleFilter reach)
    {
        var facts = ConditionFacts.Nothing(VmEventReasonSet.All);
        for (var i = 0; i < rule.Conditions.Length; i++)
        {
            var span = rule.Definition.When[i].Span;
            if (rule.Conditions[i].Facts.IsNever)
            {
                return (span, (rule.Conditions[i].IsConstant, rule.Definition.IsEnabled) switch
                {
                    (true, true) => "its condition is false whatever the event; write 'enabled: false' to switch a rule off",
                    (true, false) => null,
                    _ => "the parts of its condition exclude each other",
                });
            }

            facts = facts.And(rule.Conditions[i].Facts);
            if (facts.IsNever)
            {
                return (span, $"this condition and those before it, in {rule.Definition.When[i - 1].Span}, exclude each other");
            }
        }

        // What the conditions leave is not what is watched: only accesses to memory are told to be watched by kind and place.
        var accesses = rule.Definition.On.First(clause => clause.Reason == VmEventReason.MemAccess);
        return (accesses.Span, !reach.HasAccessKinds ? "'access' has none of the kinds of access that its condition is about"
            : accesses.Frames is { } named && !named.Intersect(AllFrames).IsEmpty ? "its condition is about none of the pages that are named here"
            : "no guest has the pages that it is about");
    }
}
