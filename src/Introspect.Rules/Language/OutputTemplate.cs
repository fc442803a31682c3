using System.Buffers;
using Introspect.Hypervisor.Abi;

namespace Introspect.Rules.Language;

/// <summary>Compiles what stands behind <c>output:</c>: text with <c>{expression}</c> or <c>{expression:format}</c> in it.</summary>
public static class OutputTemplate
{
    /// <summary>Compiles a template.</summary>
    /// <param name="source">Its text.</param>
    /// <param name="reasons">Reasons of the events that it is for.</param>
    /// <param name="scope">Macros, lists and symbols.</param>
    /// <param name="diagnostics">Takes every mistake.</param>
    /// <returns>Null when there was an error.</returns>
    public static CompiledTemplate? Compile(SourceFragment source, VmEventReasonSet reasons, ExpressionScope scope, DiagnosticBag diagnostics) => throw new NotImplementedException();
}

/// <summary>A template as code.</summary>
public sealed class CompiledTemplate
{
    /// <summary>Writes the text for an event. What has no value is a question mark. Allocates nothing itself.</summary>
    public void Format(ref readonly VmEvent request, ref EvaluationContext context, IBufferWriter<char> output) => throw new NotImplementedException();
}
