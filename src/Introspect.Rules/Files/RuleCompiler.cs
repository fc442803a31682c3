using System.Globalization;
using Introspect.Hypervisor.Abi;
using Introspect.Rules.Handlers;
using Introspect.Rules.Language;
using Introspect.Rules.Running;

namespace Introspect.Rules.Files;

/// <summary>Makes a rule of a definition, and finds what the events of the rule cannot give or its verdict cannot do.</summary>
internal static class RuleCompiler
{
    /// <summary>MSRs of a rule: each is an event of its own.</summary>
    private const ulong MostMsrs = 256;

    /// <summary>Compiles a rule.</summary>
    /// <returns>Null when there was an error.</returns>
    public static Rule? Compile(RuleDefinition definition, ExpressionScope scope, DiagnosticBag diagnostics)
    {
        var errors = diagnostics.ErrorCount;
        var reasons = VmEventReasonSet.Of([.. definition.On.Select(clause => clause.Reason)]);
        if (reasons.IsEmpty)
        {
            // What a condition may name depends on the events; its grammar does not.
            foreach (var condition in definition.When.Concat(definition.Exceptions.Select(exception => exception.When)))
            {
                Parser.Parse(condition, diagnostics);
            }

            return null;
        }

        var conditions = definition.When.Select(source => ConditionCompiler.Compile(source, reasons, scope, diagnostics)).ToList();
        var exceptions = definition.Exceptions.Select(exception => ConditionCompiler.Compile(exception.When, reasons, scope, diagnostics)).ToList();
        var output = definition.Output is { } source ? OutputTemplate.Compile(source, reasons, scope, diagnostics) : null;
        if (diagnostics.ErrorCount != errors || conditions.Contains(null) || exceptions.Contains(null))
        {
            // The limits of the verdict can be told from what was read alone, too.
            VerdictLimits.CheckReasons(definition, diagnostics);
            return null;
        }

        var rule = new Rule(definition, conditions!, exceptions!, output) { Linear = LinearOf(definition, scope.Symbols, diagnostics) };
        CheckSources(rule, diagnostics);
        VerdictLimits.Check(rule, diagnostics);
        CheckRate(rule, diagnostics);
        if (scope.Domain is null)
        {
            // For a domain of its own a rule may well be about nothing: that domain has not what others have.
            RuleReach.WarnOfNone(rule, diagnostics);
            RuleReach.WarnOfDeadExceptions(rule, diagnostics);
        }

        return diagnostics.ErrorCount == errors ? rule : null;
    }

    private static void CheckSources(Rule rule, DiagnosticBag diagnostics)
    {
        foreach (var clause in rule.Definition.On)
        {
            if (clause.Reason == VmEventReason.MovToMsr && rule.FactsFor(clause.Reason) is { } write && write.Msrs.Count <= MostMsrs)
            {
                foreach (var number in write.Msrs.Numbers().Where(number => !HasBit(number)))
                {
                    diagnostics.Error(clause.Span, string.Create(CultureInfo.InvariantCulture, $"the rule is about MSR 0x{number:x}, of which the hypervisor cannot tell; it tells of 0-0x1fff, 0x40000000-0x40001fff and 0xc0000000-0xc0001fff"));
                }
            }
            else if (clause.Reason == VmEventReason.MovToMsr && rule.FactsFor(clause.Reason) is { } writes)
            {
                diagnostics.Error(clause.Span, writes.Msrs.IsEverything
                    ? "the rule does not say which MSRs it is about, and each is asked for by itself; add 'msr == LSTAR' or 'msr in $list' to 'when'"
                    : $"the rule is about {writes.Msrs.Count} MSRs, and each is asked for by itself; name at most {MostMsrs}");
            }

            if (clause.Reason == VmEventReason.MemAccess && clause.Frames is null && clause.Linear.Count == 0 && rule.FactsFor(clause.Reason) is { Gfns.IsEverything: true })
            {
                diagnostics.Error(clause.Span, "the rule does not say which pages it is about; add 'gfn in $list' to 'when', or write 'mem_access: { addresses: [0x1000..0x1fff] }' or 'mem_access: { linear: sym(NAME) }'");
            }
        }
    }

    private static NumberSet? LinearOf(RuleDefinition definition, ISymbolResolver? symbols, DiagnosticBag diagnostics)
    {
        if (definition.On.FirstOrDefault(clause => clause.Linear.Count > 0) is not { } clause)
        {
            return null;
        }

        var linear = clause.Linear.Aggregate(NumberSet.Empty, (all, range) => all.Union(range.Resolve(symbols, diagnostics)));
        if (LinearPages.PagesOf(linear) is var pages && pages > LinearPages.Most)
        {
            diagnostics.Error(clause.Linear[0].Span, $"the linear addresses are on {pages} pages, and each is looked up by itself; name at most {LinearPages.Most}");
            return NumberSet.Empty;
        }

        return linear;
    }

    // The hypervisor's map of MSRs has three parts.
    private static bool HasBit(ulong number) => (number & ~0xc0001fffUL) == 0 && number >> 30 != 2;

    private static void CheckRate(Rule rule, DiagnosticBag diagnostics)
    {
        if (rule.Definition.Rate.Events is not null && rule.Definition.Fail == FailPolicy.Closed)
        {
            diagnostics.Error(rule.Definition.RateSpan, "a rule that fails closed cannot leave its events alone for a while; remove 'events' here, or write 'fail: open'");
        }
    }
}
