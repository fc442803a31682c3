using Introspect.Rules.Language;
using YamlDotNet.Core;
using YamlDotNet.Core.Events;

namespace Introspect.Rules.Files;

/// <summary>
/// Finds for each character of a YAML scalar where it stands in the file, so that a mistake in an expression of several
/// lines, or with escapes in it, is shown where it was written.
/// </summary>
internal static class ScalarText
{
    /// <summary>The text of a scalar with its places.</summary>
    public static SourceFragment Fragment(SourceText file, string characters, Scalar scalar)
    {
        var start = (int)Math.Clamp(scalar.Start.Index, 0, characters.Length);
        var end = (int)Math.Clamp(scalar.End.Index, start, characters.Length);
        var quoted = scalar.Style is ScalarStyle.SingleQuoted or ScalarStyle.DoubleQuoted ? 1 : 0;
        var from = Math.Min(end, start + quoted);
        if (characters.AsSpan(from, end - from).StartsWith(scalar.Value, StringComparison.Ordinal))
        {
            return new(file.Span(from, scalar.Value.Length));
        }

        var places = scalar.Style switch
        {
            ScalarStyle.DoubleQuoted => Escaped(characters, from, end, scalar.Value),
            ScalarStyle.Literal or ScalarStyle.Folded => Block(characters, start, end, scalar.Value),
            _ => Flow(characters, from, end, scalar.Value),
        };
        return new(scalar.Value, file, places);
    }

    // Lines are folded to spaces, and '' is one quote.
    private static int[] Flow(string raw, int at, int end, string value)
    {
        var places = new int[value.Length + 1];
        for (var i = 0; i < value.Length; i++)
        {
            places[i] = at;
            if (at >= end)
            {
                continue;
            }

            if (value[i] is ' ' or '\n' && IsFold(raw, at, end))
            {
                at = SkipFold(raw, at, end, value, i);
            }
            else
            {
                at += raw[at] == '\'' && at + 1 < end && raw[at + 1] == '\'' && value[i] == '\'' ? 2 : 1;
            }
        }

        places[^1] = Math.Min(at, end);
        return places;
    }

    private static int[] Escaped(string raw, int at, int end, string value)
    {
        var places = new int[value.Length + 1];
        for (var i = 0; i < value.Length; i++)
        {
            while (at + 1 < end && raw[at] == '\\' && raw[at + 1] is '\r' or '\n')
            {
                // An escaped line end is nothing at all.
                at = SkipWhite(raw, at + 1, end);
            }

            places[i] = Math.Min(at, end);
            if (at >= end)
            {
                continue;
            }

            if (raw[at] == '\\' && at + 1 < end)
            {
                at += raw[at + 1] switch { 'x' => 4, 'u' => 6, 'U' => 10, _ => 2 };
                if (char.IsHighSurrogate(value[i]) && i + 1 < value.Length)
                {
                    places[++i] = places[i - 1];
                }
            }
            else if (value[i] is ' ' or '\n' && IsFold(raw, at, end))
            {
                at = SkipFold(raw, at, end, value, i);
            }
            else
            {
                at++;
            }
        }

        places[^1] = Math.Min(at, end);
        return places;
    }

    private static int[] Block(string raw, int start, int end, string value)
    {
        var places = new int[value.Length + 1];
        var at = LineAfter(raw, start, end);
        var indent = IndentOf(raw, at, end);
        at = SkipIndent(raw, at, end, indent);
        for (var i = 0; i < value.Length; i++)
        {
            // Line ends that the value does not have: carriage returns, and the first of those that fold to one.
            while (at < end && raw[at] == '\r')
            {
                at++;
            }

            places[i] = Math.Min(at, end);
            if (at >= end)
            {
                continue;
            }

            if (raw[at] != '\n')
            {
                at++;
                continue;
            }

            at = SkipIndent(raw, at + 1, end, indent);
            while (i + 1 < value.Length && value[i + 1] != '\n' && at < end && raw[at] is '\n' or '\r')
            {
                at = SkipIndent(raw, at + 1, end, indent);
            }
        }

        places[^1] = Math.Min(at, end);
        return places;
    }

    // Trailing blanks of a line that is folded are dropped, too.
    private static bool IsFold(string raw, int at, int end)
    {
        while (at < end && raw[at] is ' ' or '\t')
        {
            at++;
        }

        return at < end && raw[at] is '\r' or '\n';
    }

    private static int SkipFold(string raw, int at, int end, string value, int index)
    {
        if (index + 1 < value.Length && value[index + 1] == '\n')
        {
            // One line end of several that stay.
            at = raw.IndexOf('\n', at, end - at) is var line and >= 0 ? line + 1 : end;
            return at;
        }

        return SkipWhite(raw, at, end);
    }

    private static int SkipWhite(string raw, int at, int end)
    {
        while (at < end && char.IsWhiteSpace(raw[at]))
        {
            at++;
        }

        return at;
    }

    private static int LineAfter(string raw, int at, int end) => raw.IndexOf('\n', at, end - at) is var line and >= 0 ? line + 1 : end;

    private static int IndentOf(string raw, int at, int end)
    {
        while (at < end)
        {
            var indent = 0;
            while (at + indent < end && raw[at + indent] == ' ')
            {
                indent++;
            }

            if (at + indent < end && raw[at + indent] is not '\r' and not '\n')
            {
                return indent;
            }

            at = LineAfter(raw, at, end);
        }

        return 0;
    }

    private static int SkipIndent(string raw, int at, int end, int indent)
    {
        for (var i = 0; i < indent && at < end && raw[at] == ' '; i++)
        {
            at++;
        }

        return at;
    }
}
