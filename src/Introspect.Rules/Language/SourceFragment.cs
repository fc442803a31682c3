namespace Introspect.Rules.Language;

/// <summary>
/// An expression's or a template's text, and where in a file each of its characters is. Usually it stands in the file as
/// it is; in a quoted YAML scalar with escapes it does not, and each character has a place of its own.
/// </summary>
public sealed class SourceFragment
{
    private readonly SourceText _file;
    private readonly int _start;
    private readonly int[]? _offsets;

    /// <summary>Text that stands in the file as it is.</summary>
    public SourceFragment(SourceSpan span)
    {
        ArgumentNullException.ThrowIfNull(span.Text);
        _file = span.Text;
        _start = span.Start;
        Text = span.Characters.ToString();
    }

    /// <summary>Text that stands in the file with escapes.</summary>
    /// <param name="text">The text without its escapes.</param>
    /// <param name="file">The file.</param>
    /// <param name="offsets">For each character of the text, and then for its end, the offset in the file.</param>
    public SourceFragment(string text, SourceText file, IReadOnlyList<int> offsets)
    {
        ArgumentNullException.ThrowIfNull(text);
        ArgumentNullException.ThrowIfNull(file);
        ArgumentNullException.ThrowIfNull(offsets);
        ArgumentOutOfRangeException.ThrowIfNotEqual(offsets.Count, text.Length + 1, nameof(offsets));
        _file = file;
        _offsets = [.. offsets];
        Text = text;
    }

    /// <summary>The text.</summary>
    public string Text { get; }

    /// <summary>Where all of it is in the file.</summary>
    public SourceSpan Span => SpanOf(0, Text.Length);

    /// <summary>A fragment that is a text of its own.</summary>
    public static SourceFragment Of(string name, string text)
    {
        var file = new SourceText(name, text);
        return new(file.Span(0, file.Length));
    }

    /// <summary>Where a part of it is in the file.</summary>
    public SourceSpan SpanOf(int start, int length)
    {
        start = Math.Clamp(start, 0, Text.Length);
        var end = Math.Clamp(start + length, start, Text.Length);
        return _offsets is null
            ? new(_file, _start + start, end - start)
            : new(_file, _offsets[start], Math.Max(0, _offsets[end] - _offsets[start]));
    }
}
