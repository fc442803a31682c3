using System.Buffers;
using System.Runtime.CompilerServices;
using Introspect.Hypervisor.Abi;

namespace Introspect.Rules.Language;

/// <summary>A template as code. It can be used from several threads at once, each with a context of its own.</summary>
public sealed class CompiledTemplate
{
    private readonly TemplatePart[] _parts;
    private readonly VmEventReasonSet _reasons;

    internal CompiledTemplate(TemplatePart[] parts, VmEventReasonSet reasons) => (_parts, _reasons) = (parts, reasons);

    /// <summary>Writes the text for an event. What has no value is a question mark. Allocates nothing itself.</summary>
    public void Format(ref readonly VmEvent request, ref EvaluationContext context, IBufferWriter<char> output)
    {
        ArgumentNullException.ThrowIfNull(output);
        var isOurs = _reasons.Contains(request.Reason);
        foreach (var part in _parts)
        {
            if (isOurs || part is TemplatePart.Literal)
            {
                part.Write(ref Unsafe.AsRef(in request), ref context, output);
            }
            else
            {
                output.Write("?");
            }
        }
    }
}

/// <summary>A piece of a template.</summary>
internal abstract class TemplatePart
{
    public abstract void Write(ref VmEvent request, ref EvaluationContext context, IBufferWriter<char> output);

    public sealed class Literal(string text) : TemplatePart
    {
        public override void Write(ref VmEvent request, ref EvaluationContext context, IBufferWriter<char> output) => output.Write(text);
    }

    public sealed class Number(NumberBody body, TemplateFormat format) : TemplatePart
    {
        public override void Write(ref VmEvent request, ref EvaluationContext context, IBufferWriter<char> output)
        {
            context.IsUnknown = false;
            var value = body(ref request, ref context);
            if (context.IsUnknown)
            {
                output.Write("?");
            }
            else
            {
                format.Write(value, output);
            }
        }
    }

    public sealed class Text(TextBody body) : TemplatePart
    {
        public override void Write(ref VmEvent request, ref EvaluationContext context, IBufferWriter<char> output)
        {
            context.IsUnknown = false;
            var value = body(ref request, ref context);
            output.Write(context.IsUnknown ? "?" : value);
        }
    }

    public sealed class Truth(TruthBody body) : TemplatePart
    {
        public override void Write(ref VmEvent request, ref EvaluationContext context, IBufferWriter<char> output) =>
            output.Write(body(ref request, ref context) ? "true" : "false");
    }
}
