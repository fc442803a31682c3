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
        var node = Bind(source, reasons, scope, mistakes, out var isWaiting);
        CompiledCondition? condition = null;
        if (node is not null)
        {
            condition = new(Emitter.Compile(node, reasons), reasons, FactFinder.Find(node, reasons), node, isWaiting);
            foreach (var (bits, other) in FactFinder.FindMixups(node, reasons))
            {
                var register = bits.Bits!.Register;
                mistakes.Warning(bits.Origin, $"this bit of {register} is looked for in writes of {other.ToString().ToUpperInvariant()}, too; add 'register == {register.ToLowerInvariant()}', or write set(…), cleared(…) or changed(…)");
            }
        }

        mistakes.CopyTo(diagnostics);
        return condition;
    }

    private static TruthNode? Bind(SourceFragment source, VmEventReasonSet reasons, ExpressionScope scope, DiagnosticBag mistakes, out bool isWaiting)
    {
        isWaiting = false;
        if (source.Text.AsSpan().IsWhiteSpace())
        {
            mistakes.Error(source.Span, "the condition is empty; write true for every event");
            return null;
        }

        var syntax = Parser.Parse(source, mistakes);
        var binder = new Binder(scope, reasons, mistakes);
        var node = binder.Condition(syntax);
        isWaiting = binder.IsWaiting;
        return binder.HasFailed || mistakes.HasErrors ? null : node;
    }
}
