using System.Globalization;
using System.Text;

namespace Introspect.Rules.Names;

/// <summary>
/// Text of somebody else's on its way to a log or a terminal: what would steer the reader's terminal or change the order in which
/// text is read is shown as the bytes that it is, <c>\xNN</c> each.
/// </summary>
internal static class PrintableText
{
    /// <summary>Most characters of a line; what is longer ends with an ellipsis.</summary>
    public const int LongestLine = 4096;

    private const char Ellipsis = '…';

    /// <summary>Bytes that ought to be UTF-8.</summary>
    public static string Of(ReadOnlySpan<byte> bytes, int longest = int.MaxValue)
    {
        var text = new StringBuilder(Math.Min(bytes.Length, longest));
        while (!bytes.IsEmpty)
        {
            if (text.Length >= longest)
            {
                return text.Append(Ellipsis).ToString();
            }

            if (Rune.DecodeFromUtf8(bytes, out var rune, out var length) == System.Buffers.OperationStatus.Done && IsPrintable(rune))
            {
                text.Append(rune.ToString());
            }
            else
            {
                foreach (var value in bytes[..length])
                {
                    text.Append(CultureInfo.InvariantCulture, $"\\x{value:x2}");
                }
            }

            bytes = bytes[length..];
        }

        return text.ToString();
    }

    /// <summary>One line of bounded length.</summary>
    public static string Line(string text)
    {
        // Far beyond the end nothing is looked at. An end of a line in the text is a space.
        var line = (text.Length > LongestLine + 1 ? text[..(LongestLine + 1)] : text).ReplaceLineEndings(" ");
        return line.Length <= LongestLine && !line.Any(IsSuspicious) ? line : Of(Encoding.UTF8.GetBytes(line), LongestLine);
    }

    /// <summary>Several lines, none of which begins where a line of a log does.</summary>
    public static string Indented(string text)
    {
        const string Indent = "  ";
        return Indent + string.Join($"\n{Indent}", text.ReplaceLineEndings("\n").Split('\n').Select(Line));
    }

    private static bool IsPrintable(Rune rune) => rune.Value == '\t' || !Changes(Rune.GetUnicodeCategory(rune));

    // Half a character is for who looks at all of it.
    private static bool IsSuspicious(char c) => c != '\t' && (char.IsSurrogate(c) || Changes(char.GetUnicodeCategory(c)));

    private static bool Changes(UnicodeCategory category) =>
        category is UnicodeCategory.Control or UnicodeCategory.Format or UnicodeCategory.LineSeparator or UnicodeCategory.ParagraphSeparator;
}
