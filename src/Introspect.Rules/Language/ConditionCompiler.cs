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
    public static CompiledCondition? Compile(SourceFragment source, VmEventReasonSet reasons, ExpressionScope scope, DiagnosticBag diagnostics) => throw new NotImplementedException();
}
