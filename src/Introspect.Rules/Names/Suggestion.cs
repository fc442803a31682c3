namespace Introspect.Rules.Names;

/// <summary>What somebody may have meant who misspelt a name.</summary>
internal static class Suggestion
{
    private const int LongestName = 64;

    /// <summary>The end of a sentence: <c>; did you mean 'x'?</c>, or nothing when no name is near.</summary>
    public static string For(string wrong, IEnumerable<string> known) => Nearest(wrong, known) is { } name ? $"; did you mean '{name}'?" : "";

    /// <summary>The known name that takes the fewest changes, where these are few for its length.</summary>
    public static string? Nearest(string wrong, IEnumerable<string> known)
    {
        if (wrong.Length is 0 or > LongestName)
        {
            return null;
        }

        string? best = null;
        var hasSameLetters = false;
        var least = Math.Max(1, wrong.TrimStart('-').Length / 3) + 1;
        foreach (var name in known)
        {
            if (Math.Abs(name.Length - wrong.Length) > least || name.Length > LongestName)
            {
                continue;
            }

            // Of two that are as near, the one with the letters in another order is what fingers make.
            var distance = Distance(wrong, name, least + 1);
            if (distance < least || (distance == least && best is not null && !hasSameLetters && HasSameLetters(wrong, name)))
            {
                (best, least, hasSameLetters) = (name, distance, HasSameLetters(wrong, name));
            }
        }

        return best;
    }

    // Inserted, deleted, replaced and swapped letters; upper and lower case are one.
    private static int Distance(string a, string b, int limit)
    {
        Span<int> rows = stackalloc int[3 * (LongestName + 1)];
        var width = b.Length + 1;
        var before = rows[..width];
        var above = rows[width..(2 * width)];
        var row = rows[(2 * width)..(3 * width)];
        for (var j = 0; j < width; j++)
        {
            above[j] = j;
        }

        for (var i = 1; i <= a.Length; i++)
        {
            row[0] = i;
            var least = i;
            for (var j = 1; j < width; j++)
            {
                var same = Same(a[i - 1], b[j - 1]);
                row[j] = Math.Min(Math.Min(above[j], row[j - 1]) + 1, above[j - 1] + (same ? 0 : 1));
                if (i > 1 && j > 1 && Same(a[i - 1], b[j - 2]) && Same(a[i - 2], b[j - 1]))
                {
                    row[j] = Math.Min(row[j], before[j - 2] + 1);
                }

                least = Math.Min(least, row[j]);
            }

            if (least >= limit)
            {
                return limit;
            }

            var free = before;
            before = above;
            above = row;
            row = free;
        }

        return above[^1];
    }

    private static bool HasSameLetters(string a, string b) =>
        a.Length == b.Length && a.ToLowerInvariant().Order().SequenceEqual(b.ToLowerInvariant().Order());

    private static bool Same(char a, char b) => char.ToLowerInvariant(a) == char.ToLowerInvariant(b);
}
