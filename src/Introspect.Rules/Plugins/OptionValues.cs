using System.Globalization;

namespace Introspect.Rules.Plugins;

/// <summary>Single values of settings: which types there are, and how they are written.</summary>
internal static class OptionValues
{
    private static readonly (string Suffix, double Milliseconds)[] Units = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("", 1000)];

    /// <summary>True for types that one value is read into.</summary>
    public static bool IsKnown(Type type) =>
        type.IsEnum || type == typeof(string) || type == typeof(bool) || type == typeof(TimeSpan) || type == typeof(double)
        || type == typeof(Guid) || IsInteger(type);

    /// <summary>Reads a value.</summary>
    /// <param name="type">A type that <see cref="IsKnown"/>.</param>
    /// <param name="text">As it is written.</param>
    /// <param name="value">The value.</param>
    /// <param name="what">What is wrong with the text.</param>
    public static bool TryRead(Type type, string text, out object? value, out string what)
    {
        what = "";
        if (type == typeof(string))
        {
            value = text;
            return true;
        }

        if (type == typeof(bool))
        {
            bool? flag = text.ToLowerInvariant() switch { "true" or "yes" or "on" => true, "false" or "no" or "off" => false, _ => null };
            return Done(flag, "is neither true nor false", out value, out what);
        }

        if (type == typeof(TimeSpan))
        {
            return Done(Duration(text), "is no time; write seconds, or a number with ms, s, m or h", out value, out what);
        }

        if (type == typeof(double))
        {
            return Done<double>(double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out var number) && double.IsFinite(number) ? number : null, "is no number", out value, out what);
        }

        if (type == typeof(Guid))
        {
            return Done<Guid>(Guid.TryParse(text, out var uuid) ? uuid : null, "is no UUID", out value, out what);
        }

        return type.IsEnum ? Choice(type, text, out value, out what) : Integer(type, text, out value, out what);
    }

    private static bool IsInteger(Type type) => Type.GetTypeCode(type) is >= TypeCode.SByte and <= TypeCode.UInt64 && !type.IsEnum;

    private static bool Integer(Type type, string text, out object? value, out string what)
    {
        var (least, most) = Type.GetTypeCode(type) switch
        {
            TypeCode.SByte => ((Int128)sbyte.MinValue, (Int128)sbyte.MaxValue),
            TypeCode.Byte => (0, byte.MaxValue),
            TypeCode.Int16 => (short.MinValue, short.MaxValue),
            TypeCode.UInt16 => (0, ushort.MaxValue),
            TypeCode.Int32 => (int.MinValue, int.MaxValue),
            TypeCode.UInt32 => (0, uint.MaxValue),
            TypeCode.Int64 => (long.MinValue, long.MaxValue),
            _ => (0, ulong.MaxValue),
        };
        var digits = text.Replace("_", "", StringComparison.Ordinal);
        var isRead = digits.StartsWith("0x", StringComparison.OrdinalIgnoreCase)
            ? Int128.TryParse(digits.AsSpan(2), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out var number) && digits.Length <= 18
            : Int128.TryParse(digits, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out number);
        var fits = isRead && number >= least && number <= most;
        value = fits ? (number >= 0 ? Convert.ChangeType((ulong)number, type, CultureInfo.InvariantCulture) : Convert.ChangeType((long)number, type, CultureInfo.InvariantCulture)) : null;
        what = fits ? "" : $"is no whole number from {least} to {most}";
        return fits;
    }

    private static bool Choice(Type type, string text, out object? value, out string what)
    {
        var names = Enum.GetNames(type);
        var name = Array.Find(names, name => PluginNames.SnakeCase(name).Equals(text, StringComparison.OrdinalIgnoreCase) || name.Equals(text, StringComparison.OrdinalIgnoreCase));
        value = name is null ? null : Enum.Parse(type, name);
        what = name is null ? $"is none of {string.Join(", ", names.Select(PluginNames.SnakeCase))}" : "";
        return name is not null;
    }

    private static TimeSpan? Duration(string text)
    {
        foreach (var (suffix, milliseconds) in Units)
        {
            var digits = text.EndsWith(suffix, StringComparison.Ordinal) ? text[..^suffix.Length].TrimEnd() : "";
            if (double.TryParse(digits, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var number) && number * milliseconds < TimeSpan.MaxValue.TotalMilliseconds / 2)
            {
                return TimeSpan.FromMilliseconds(number * milliseconds);
            }
        }

        return null;
    }

    private static bool Done<T>(T? read, string mistake, out object? value, out string what)
        where T : struct
    {
        value = read;
        what = read is null ? mistake : "";
        return read is not null;
    }
}
