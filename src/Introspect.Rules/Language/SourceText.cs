namespace Introspect.Rules.Language;

/// <summary>A file's text, to point into.</summary>
public sealed class SourceText
{
    private readonly string _text;
    private readonly int[] _lineStarts;

    /// <summary>Makes a text.</summary>
    /// <param name="name">Name of the file as diagnostics tell it.</param>
    /// <param name="text">The whole file.</param>
    public SourceText(string name, string text)
    {
        ArgumentNullException.ThrowIfNull(name);
        ArgumentNullException.ThrowIfNull(text);
        Name = name;
        _text = text;
        var starts = new List<int> { 0 };
        for (var i = 0; i < text.Length; i++)
        {
            if (text[i] == '\n')
            {
                starts.Add(i + 1);
            }
        }

        _lineStarts = [.. starts];
    }

    /// <summary>Name of the file.</summary>
    public string Name { get; }

    /// <summary>Characters in the file.</summary>
    public int Length => _text.Length;

    /// <summary>Number of lines.</summary>
    public int LineCount => _lineStarts.Length;

    /// <summary>Part of the text.</summary>
    public ReadOnlySpan<char> Slice(int start, int length) => _text.AsSpan(start, length);

    /// <summary>Line and column, both from 1. An offset behind the end is the end.</summary>
    public (int Line, int Column) PositionOf(int offset)
    {
        offset = Math.Clamp(offset, 0, _text.Length);
        var index = Array.BinarySearch(_lineStarts, offset);
        var line = index >= 0 ? index : ~index - 1;
        return (line + 1, offset - _lineStarts[line] + 1);
    }

    /// <summary>A line by its number from 1, without its end.</summary>
    public ReadOnlySpan<char> LineAt(int line)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(line, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(line, _lineStarts.Length);
        var start = _lineStarts[line - 1];
        var end = line == _lineStarts.Length ? _text.Length : _lineStarts[line] - 1;
        var text = _text.AsSpan(start, end - start);
        return text.EndsWith('\r') ? text[..^1] : text;
    }

    /// <summary>The span of some of the text.</summary>
    public SourceSpan Span(int start, int length) => new(this, start, length);
}

/// <summary>A place in a file.</summary>
/// <param name="Text">The file.</param>
/// <param name="Start">Offset of the first character.</param>
/// <param name="Length">Characters; 0 for a place between two.</param>
public readonly record struct SourceSpan(SourceText Text, int Start, int Length)
{
    /// <summary>Offset behind the last character.</summary>
    public int End => Start + Length;

    /// <summary>The characters themselves.</summary>
    public ReadOnlySpan<char> Characters => Text.Slice(Start, Length);

    /// <summary><c>file:line:column</c>.</summary>
    public override string ToString()
    {
        var (line, column) = Text.PositionOf(Start);
        return FormattableString.Invariant($"{Text.Name}:{line}:{column}");
    }
}
