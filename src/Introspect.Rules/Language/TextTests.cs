namespace Introspect.Rules.Language;

/// <summary>Comparisons of texts. None allocates.</summary>
internal static class TextTests
{
    public static bool Test(TextComparison comparison, string left, string right, bool ignoreCase)
    {
        var rule = ignoreCase ? StringComparison.OrdinalIgnoreCase : StringComparison.Ordinal;
        return comparison switch
        {
            TextComparison.Equal => left.Equals(right, rule),
            TextComparison.StartsWith => left.StartsWith(right, rule),
            TextComparison.EndsWith => left.EndsWith(right, rule),
            TextComparison.Contains => left.Contains(right, rule),
            _ => Matches(left, right, ignoreCase),
        };
    }

    public static bool IsOneOf(string text, string[] values, bool ignoreCase)
    {
        foreach (var value in values)
        {
            if (text.Equals(value, ignoreCase ? StringComparison.OrdinalIgnoreCase : StringComparison.Ordinal))
            {
                return true;
            }
        }

        return false;
    }

    /// <summary>
    /// Matches the whole text with a pattern in which <c>*</c> is any characters and <c>?</c> any one. Only the last star
    /// is ever tried again, so that no pattern takes more than length times length steps.
    /// </summary>
    public static bool Matches(ReadOnlySpan<char> text, ReadOnlySpan<char> pattern, bool ignoreCase)
    {
        int at = 0, p = 0, star = -1, retry = 0;
        while (at < text.Length)
        {
            if (p < pattern.Length && pattern[p] == '*')
            {
                star = p++;
                retry = at;
            }
            else if (p < pattern.Length && (pattern[p] == '?' || Same(pattern[p], text[at], ignoreCase)))
            {
                p++;
                at++;
            }
            else if (star >= 0)
            {
                p = star + 1;
                at = ++retry;
            }
            else
            {
                return false;
            }
        }

        return pattern[p..].TrimStart('*').IsEmpty;
    }

    private static bool Same(char a, char b, bool ignoreCase) => a == b || (ignoreCase && char.ToUpperInvariant(a) == char.ToUpperInvariant(b));
}
