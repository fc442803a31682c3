using System.Globalization;

namespace Introspect.Daemon.Guests;

/// <summary>Takes the settings of a configuration one by one, and notes which of them nobody asked for.</summary>
/// <param name="settings">The settings.</param>
/// <param name="mistake">Told where something is wrong, and what.</param>
internal sealed class SettingReader(IReadOnlyDictionary<string, XlSetting> settings, Action<XlPlace, string> mistake)
{
    private readonly HashSet<string> _asked = [];

    /// <summary>Those that nobody asked for, by their names.</summary>
    public IEnumerable<XlSetting> Unknown => settings.Values.Where(setting => !_asked.Contains(setting.Key)).OrderBy(setting => setting.Key, StringComparer.Ordinal);

    /// <summary>A setting, or null.</summary>
    public XlSetting? Find(string key)
    {
        _asked.Add(key);
        return settings.GetValueOrDefault(key);
    }

    /// <summary>A text; null: there is none.</summary>
    public string? Text(string key)
    {
        if (Find(key) is not { } setting)
        {
            return null;
        }

        if (setting.Value is XlAtom atom)
        {
            return atom.Text;
        }

        mistake(setting.Value.Place, $"'{key}' is a list: write one text in quotes");
        return null;
    }

    /// <summary>A number within bounds; null: there is none.</summary>
    public long? Number(string key, long least, long most, string unit = "")
    {
        if (Text(key) is not { } text)
        {
            return null;
        }

        var atom = (XlAtom)settings[key].Value;
        if (atom.IsSum)
        {
            mistake(atom.Place, $"'{key}' is a number, to which nothing can be added: write '='");
        }
        else if (!TryNumber(text, out var number))
        {
            mistake(atom.Place, $"{key}: '{text}' is no number: write {least} to {most}{unit}, decimal, hexadecimal (0x) or octal (0)");
        }
        else if (number < least || number > most)
        {
            mistake(atom.Place, $"{key}: {text} is too {(number < least ? "small" : "large")}: write {least} to {most}{unit}");
        }
        else
        {
            return number;
        }

        return null;
    }

    /// <summary>A boolean, which is a number; null: there is none.</summary>
    public bool? Boolean(string key) => Number(key, long.MinValue, long.MaxValue) switch { null => null, var number => number != 0 };

    /// <summary>One of some words; null: there is none.</summary>
    public T? Word<T>(string key, IReadOnlyDictionary<string, T> words)
        where T : struct
    {
        if (Text(key) is not { } text)
        {
            return null;
        }

        if (words.TryGetValue(text, out var meaning))
        {
            return meaning;
        }

        mistake(settings[key].Value.Place, $"{key}: '{text}' is unknown: write {string.Join(", ", words.Keys)}");
        return null;
    }

    /// <summary>Tells of a mistake in a setting that is there.</summary>
    public void Refuse(string key, string what) => mistake(settings[key].Value.Place, what);

    /// <summary>Reads a number as C's strtol with base 0 does.</summary>
    public static bool TryNumber(string text, out long number)
    {
        var digits = text.AsSpan().TrimStart();
        var isNegative = digits.StartsWith("-");
        if (isNegative || digits.StartsWith("+"))
        {
            digits = digits[1..];
        }

        var numberBase = 10UL;
        if (digits.StartsWith("0x", StringComparison.OrdinalIgnoreCase))
        {
            numberBase = 16;
            digits = digits[2..];
        }
        else if (digits.Length > 1 && digits[0] == '0')
        {
            numberBase = 8;
            digits = digits[1..];
        }

        number = 0;
        var value = 0UL;
        foreach (var c in digits)
        {
            var digit = char.IsAsciiHexDigit(c) ? ulong.Parse([c], NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture) : ulong.MaxValue;
            if (digit >= numberBase || value > ((ulong)long.MaxValue - digit) / numberBase)
            {
                return false;
            }

            value = (value * numberBase) + digit;
        }

        number = isNegative ? -(long)value : (long)value;
        return !digits.IsEmpty;
    }
}
