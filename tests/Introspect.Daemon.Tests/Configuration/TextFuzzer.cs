using System.Text;

namespace Introspect.Daemon.Tests.Configuration;

/// <summary>
/// Good texts of a format and the damaged ones that are made of them: characters, words and whole lines taken away,
/// put in, moved and repeated. An input is made from its number alone, so that any one of them can be made again.
/// </summary>
internal sealed class TextFuzzer(IReadOnlyList<string> good)
{
    // What formats give a meaning, and what comes near to it.
    private static readonly string[] Words =
    [
        ":", " ", "  ", "\t", "\n", "\r", "-", "- ", "?", "#", "'", "\"", "\\", "\\u", "[", "]", "{", "}", ",", "&a ", "*a", "!!int ", "!!binary ", "<<: ", "|", ">",
        "---\n", "...\n", "%YAML 1.2\n", "~", "null", "true", "no", "0", "-1", "0x", "1e999", "18446744073709551616", ".nan", "2026-01-01", "1s", "=", "(", ")", ";",
        "\u0000", "\u0085", "\u2028", "\ufeff", "\ud800", "\U0001f600",
    ];

    /// <summary>Makes an input.</summary>
    public string Make(int number)
    {
        var random = new Random(number);
        var text = new StringBuilder(good[random.Next(good.Count)]);
        for (var changes = random.Next(1, 6); changes > 0; changes--)
        {
            Change(text, random);
        }

        // As it is read from a file: half a character pair is none.
        return Encoding.UTF8.GetString(Encoding.UTF8.GetBytes(text.ToString()));
    }

    private static void Change(StringBuilder text, Random random)
    {
        // Where a text is empty there is only a place to put something.
        var at = random.Next(text.Length + 1);
        var length = Math.Min(random.Next(1, random.Next(8) == 0 ? 200 : 6), text.Length - at);
        switch (random.Next(8))
        {
            case 0:
                text.Remove(at, length);
                break;
            case 1:
                text.Insert(at, Words[random.Next(Words.Length)]);
                break;
            case 2 when length > 0:
                text[at] = (char)random.Next(random.Next(3) == 0 ? 0x10000 : 128);
                break;
            case 3 when length > 0:
                text.Insert(random.Next(text.Length + 1), text.ToString(at, length));
                break;
            case 4:
                MoveLine(text, random);
                break;
            case 5:
                text.Length = at;
                break;
            case 6:
                text.Insert(at, Words[random.Next(Words.Length)], random.Next(1, 300));
                break;
            default:
                text.Insert(at, random.Next(2) == 0 ? random.NextInt64().ToString(System.Globalization.CultureInfo.InvariantCulture) : " ");
                break;
        }
    }

    private static void MoveLine(StringBuilder text, Random random)
    {
        List<string> lines = [.. text.ToString().Split('\n')];
        var line = lines[random.Next(lines.Count)];
        if (random.Next(2) == 0)
        {
            lines.Remove(line);
        }

        lines.Insert(random.Next(lines.Count + 1), random.Next(2) == 0 ? line : new string(' ', random.Next(6)) + line.TrimStart());
        text.Clear().AppendJoin('\n', lines);
    }
}
