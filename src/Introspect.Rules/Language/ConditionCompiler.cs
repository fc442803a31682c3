namespace Introspect.Rules.Language;

/// <summary>Compiles what stands behind <c>when:</c>.</summary>
public static class ConditionCompiler
{
    /// <summary>Compiles a condition.</summary>
    /// <param name="source">Its text.</param>
    /// <param name="reasons">Reasons of the events that it is asked about.</param>
    /// <param name="scope">Macros, lists and symbols.</param>
    /// <param name="diagnostics">Takes every mistake.</param>
    /// <returns>Null when there was an error.</returns>
    public static CompiledCondition? Compile(SourceFragment source, VmEventReasonSet reasons, ExpressionScope scope, DiagnosticBag diagnostics)
    {
        ArgumentNullException.ThrowIfNull(source);
        ArgumentNullException.ThrowIfNull(scope);
        ArgumentNullException.ThrowIfNull(diagnostics);
        var mistakes = new DiagnosticBag();
        var node = Bind(source, reasons, scope, mistakes);
        CompiledCondition? condition = null;
        if (node is not null)
        {
            var facts = FactFinder.Find(node, reasons);
            condition = new(Emitter.Compile(node, reasons), reasons, facts, node.ReadsMemory);
            if (facts.IsNever && node is not ConstantTruth && scope.Domain is null && mistakes.All.Count == 0)
            {
                mistakes.Warning(source.Span, "the condition is never true: its parts exclude each other");
            }

            foreach (var (bits, other) in FactFinder.FindMixups(node, reasons))
            {
                var register = bits.Bits!.Register;
                mistakes.Warning(bits.Origin, $"this bit of {register} is looked for in writes of {other.ToString().ToUpperInvariant()}, too; add 'register == {register.ToLowerInvariant()}', or write set(…), cleared(…) or changed(…)");
            }
        }

        mistakes.CopyTo(diagnostics);
        return condition;
    }

    internal static TruthNode? Bind(SourceFragment source, VmEventReasonSet reasons, ExpressionScope scope, DiagnosticBag mistakes)
    {
        if (source.Text.AsSpan().IsWhiteSpace())
        {
            mistakes.Error(source.Span, "the condition is empty; write true for every event");
            return null;
        }

        var syntax = Parser.Parse(source, mistakes);
        var binder = new Binder(scope, reasons, mistakes);
        var node = binder.Condition(syntax);
        return binder.HasFailed || mistakes.HasErrors ? null : node;
    }
}
