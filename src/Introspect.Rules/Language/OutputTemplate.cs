using System.Text;
using Introspect.Rules.Names;

namespace Introspect.Rules.Language;

/// <summary>Compiles what stands behind <c>output:</c>: text with <c>{expression}</c> or <c>{expression:format}</c> in it.</summary>
public static class OutputTemplate
{
    /// <summary>Places for expressions that a template may have.</summary>
    private const int MostPlaces = 200;

    /// <summary>Compiles a template.</summary>
    /// <param name="source">Its text.</param>
    /// <param name="reasons">Reasons of the events that it is for.</param>
    /// <param name="scope">Macros, lists and symbols.</param>
    /// <param name="diagnostics">Takes every mistake.</param>
    /// <returns>Null when there was an error.</returns>
    public static CompiledTemplate? Compile(SourceFragment source, VmEventReasonSet reasons, ExpressionScope scope, DiagnosticBag diagnostics)
    {
        ArgumentNullException.ThrowIfNull(source);
        ArgumentNullException.ThrowIfNull(scope);
        ArgumentNullException.ThrowIfNull(diagnostics);
        var mistakes = new DiagnosticBag();
        var compiler = new Compiler(source, reasons, scope, mistakes);
        var parts = Parser.HasBearableLength(source, mistakes) ? compiler.Parts() : [];
        mistakes.CopyTo(diagnostics);
        return compiler.HasFailed || mistakes.HasErrors ? null : new([.. parts], reasons);
    }

    private sealed class Compiler(SourceFragment source, VmEventReasonSet reasons, ExpressionScope scope, DiagnosticBag mistakes)
    {
        private readonly string _text = source.Text;
        private readonly List<TemplatePart> _parts = [];
        private readonly StringBuilder _literal = new();
        private int _places;

        public bool HasFailed { get; private set; }

        public List<TemplatePart> Parts()
        {
            var at = 0;
            while (at < _text.Length)
            {
                var c = _text[at];
                if (c is '{' or '}' && at + 1 < _text.Length && _text[at + 1] == c)
                {
                    _literal.Append(c);
                    at += 2;
                }
                else if (c == '{')
                {
                    EndLiteral();
                    at = Place(at);
                }
                else
                {
                    if (c == '}')
                    {
                        mistakes.Error(source.SpanOf(at, 1), "there is no open one for this '}'; a brace in the text is written }}");
                    }

                    _literal.Append(c);
                    at++;
                }
            }

            EndLiteral();
            return _parts;
        }

        private void EndLiteral()
        {
            if (_literal.Length > 0)
            {
                _parts.Add(new TemplatePart.Literal(_literal.ToString()));
                _literal.Clear();
            }
        }

        // Reads from an open brace on, and returns what comes behind its close one.
        private int Place(int open)
        {
            if (++_places > MostPlaces)
            {
                mistakes.Error(source.SpanOf(open, 1), $"a template has at most {MostPlaces} places for expressions");
                return _text.Length;
            }

            var end = Parser.ParsePlace(source, open + 1, mistakes, out var syntax);
            var close = end < 0 ? -1 : _text.IndexOf('}', end);
            if (close < 0)
            {
                mistakes.Error(source.SpanOf(open, 1), "this '{' is not closed; a brace in the text is written {{");
                return _text.Length;
            }

            Add(syntax, end, close);
            return close + 1;
        }

        private void Add(Syntax syntax, int end, int close)
        {
            var binder = new Binder(scope, reasons, mistakes);
            var node = binder.IsTruth(syntax) ? binder.Condition(syntax) : binder.Value(syntax);
            if (binder.HasFailed || node is null || mistakes.HasErrors)
            {
                HasFailed = true;
                return;
            }

            var format = _text[end] == ':' ? _text[(end + 1)..close].Trim() : null;
            var formatSpan = source.SpanOf(end + 1, close - end - 1);
            switch (node)
            {
                case NumberNode number:
                    var written = format is null ? TemplateFormat.Usual(number) : TemplateFormat.Find(format, number, scope.Symbols);
                    if (written is null)
                    {
                        mistakes.Error(formatSpan, $"'{format}' is no format; write x, x8, d, b, time, name, symbol or a register whose bits have names", Suggestion.Nearest(format!, TemplateFormat.Names));
                        return;
                    }

                    _parts.Add(new TemplatePart.Number(Emitter.Compile(number, reasons), written));
                    break;
                case var _ when format is not null:
                    mistakes.Error(formatSpan, "a format is for numbers; this is none");
                    break;
                case TextNode text:
                    _parts.Add(new TemplatePart.Text(Emitter.Compile(text, reasons)));
                    break;
                case TruthNode truth:
                    _parts.Add(new TemplatePart.Truth(Emitter.Compile(truth, reasons)));
                    break;
            }
        }
    }
}
