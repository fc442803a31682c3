using System.Text;

namespace Introspect.Rules.Language;

/// <summary>How bad a mistake is.</summary>
public enum DiagnosticSeverity
{
    /// <summary>The rule cannot be used.</summary>
    Error,

    /// <summary>The rule can be used, and likely does not do what was meant.</summary>
    Warning,
}

/// <summary>A mistake in a rule file.</summary>
/// <param name="Severity">How bad it is.</param>
/// <param name="Span">Exactly what is wrong.</param>
/// <param name="Message">What is wrong with it, and what to write instead: one line.</param>
/// <param name="Suggestion">The name that may have been meant.</param>
public sealed record RuleDiagnostic(DiagnosticSeverity Severity, SourceSpan Span, string Message, string? Suggestion = null)
{
    private const int WidestLine = 120;
    private const int LeftOfCaret = 60;

    /// <summary><c>file:line:column: error: message; did you mean 'x'?</c></summary>
    public override string ToString()
    {
        var severity = Severity == DiagnosticSeverity.Error ? "error" : "warning";
        return $"{Span}: {severity}: {Message}{(Suggestion is null ? "" : $"; did you mean '{Suggestion}'?")}";
    }

    /// <summary>The same, with the line of the file and carets under the mistake.</summary>
    public string Render()
    {
        var (line, column) = Span.Text.PositionOf(Span.Start);
        var text = Span.Text.LineAt(line);
        var before = Math.Min(column - 1, text.Length);
        var marked = Math.Max(1, Math.Min(Span.Length, text.Length - before));

        // A line may be as long as the file: what is shown is around the mistake.
        var from = text.Length <= WidestLine ? 0 : Math.Max(0, before - LeftOfCaret);
        var shown = text[from..Math.Min(text.Length, from + WidestLine)];
        var output = new StringBuilder(ToString()).Append("\n  ");
        foreach (var c in shown)
        {
            // What a file says must not reach the terminal as a command.
            output.Append(c == '\t' || !IsUnprintable(c) ? c : '?');
        }

        output.Append("\n  ");
        foreach (var c in text[from..before])
        {
            output.Append(c == '\t' ? '\t' : ' ');
        }

        return output.Append('^', Math.Min(marked, Math.Max(1, shown.Length - (before - from)))).ToString();
    }

    private static bool IsUnprintable(char c) =>
        char.IsControl(c) || char.GetUnicodeCategory(c) is System.Globalization.UnicodeCategory.Format or System.Globalization.UnicodeCategory.LineSeparator or System.Globalization.UnicodeCategory.ParagraphSeparator;
}

/// <summary>The mistakes found so far: each once, in the order of finding. Of very many, the first are kept.</summary>
public sealed class DiagnosticBag
{
    /// <summary>How many mistakes are kept.</summary>
    public const int Capacity = 1000;

    private readonly List<RuleDiagnostic> _all = [];
    private readonly HashSet<RuleDiagnostic> _known = [];

    /// <summary>What was found.</summary>
    public IReadOnlyList<RuleDiagnostic> All => _all;

    /// <summary>True when one of them is an error.</summary>
    public bool HasErrors => ErrorCount > 0;

    /// <summary>How many errors were found, kept or not.</summary>
    public int ErrorCount { get; private set; }

    /// <summary>Tells an error.</summary>
    public void Error(SourceSpan span, string message, string? suggestion = null) => Add(new(DiagnosticSeverity.Error, span, message, suggestion));

    /// <summary>Tells a warning.</summary>
    public void Warning(SourceSpan span, string message, string? suggestion = null) => Add(new(DiagnosticSeverity.Warning, span, message, suggestion));

    /// <summary>Adds what was found elsewhere.</summary>
    public void Add(RuleDiagnostic diagnostic)
    {
        ArgumentNullException.ThrowIfNull(diagnostic);
        if (_all.Count < Capacity && !_known.Add(diagnostic))
        {
            return;
        }

        ErrorCount += diagnostic.Severity == DiagnosticSeverity.Error ? 1 : 0;
        if (_all.Count < Capacity)
        {
            _all.Add(diagnostic);
        }
    }

    /// <summary>Adds all of it to another.</summary>
    internal void CopyTo(DiagnosticBag other)
    {
        foreach (var diagnostic in _all)
        {
            other.Add(diagnostic);
        }
    }
}
