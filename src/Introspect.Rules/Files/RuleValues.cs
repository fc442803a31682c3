using System.Diagnostics.CodeAnalysis;
using System.Globalization;
using Introspect.Rules.Language;
using Introspect.Rules.Names;

namespace Introspect.Rules.Files;

/// <summary>Reads values of nodes. What does not fit is told where it stands, with what would fit.</summary>
internal sealed class RuleValues(DiagnosticBag diagnostics)
{
    private const int LongestName = 64;

    /// <summary>Takes the mistakes.</summary>
    public DiagnosticBag Diagnostics { get; } = diagnostics;

    /// <summary>An enumeration's value as files write it.</summary>
    public static string NameOf<T>(T value)
        where T : struct, Enum =>
        string.Concat(value.ToString().Select((c, i) => char.IsAsciiLetterUpper(c) && i != 0 ? "_" + char.ToLowerInvariant(c) : char.ToLowerInvariant(c).ToString()));

    /// <summary>A time as files write it: <c>s</c>, <c>10s</c>, <c>500ms</c>.</summary>
    public static string Short(TimeSpan time)
    {
        var (count, unit) = time.Ticks % TimeSpan.TicksPerHour == 0 ? (time.Ticks / TimeSpan.TicksPerHour, "h")
            : time.Ticks % TimeSpan.TicksPerMinute == 0 ? (time.Ticks / TimeSpan.TicksPerMinute, "m")
            : time.Ticks % TimeSpan.TicksPerSecond == 0 ? (time.Ticks / TimeSpan.TicksPerSecond, "s")
            : (time.Ticks / TimeSpan.TicksPerMillisecond, "ms");
        return count == 1 ? unit : string.Create(CultureInfo.InvariantCulture, $"{count}{unit}");
    }

    /// <summary>Reads a number: decimal, hexadecimal with 0x, with _ between digits.</summary>
    public static bool TryNumber(string text, out ulong value)
    {
        var digits = text.Replace("_", "", StringComparison.Ordinal);
        return digits.StartsWith("0x", StringComparison.OrdinalIgnoreCase)
            ? ulong.TryParse(digits.AsSpan(2), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out value)
            : ulong.TryParse(digits, NumberStyles.None, CultureInfo.InvariantCulture, out value);
    }

    /// <summary>Reads a time: <c>500ms</c>, <c>10s</c>, <c>5m</c>, <c>1h</c>.</summary>
    public static bool TryDuration(string text, out TimeSpan duration)
    {
        var digits = text.AsSpan().TrimEnd("smh");
        TimeSpan? unit = text.AsSpan(digits.Length) switch
        {
            "ms" => TimeSpan.FromMilliseconds(1),
            "s" => TimeSpan.FromSeconds(1),
            "m" => TimeSpan.FromMinutes(1),
            "h" => TimeSpan.FromHours(1),
            _ => null,
        };
        var isNumber = uint.TryParse(digits, NumberStyles.None, CultureInfo.InvariantCulture, out var count);
        duration = unit * count ?? TimeSpan.Zero;
        return unit is not null && isNumber;
    }

    /// <summary>Tells an error.</summary>
    public void Error(SourceSpan span, string message, string? suggestion = null) => Diagnostics.Error(span, message, suggestion);

    /// <summary>Tells of keys that nothing reads.</summary>
    public void RefuseOthers(MappingNode mapping, string where, params ReadOnlySpan<string> known)
    {
        var names = known.ToArray();
        foreach (var (key, _) in mapping.Entries)
        {
            if (!names.Contains(key.Text))
            {
                Error(key.Span, $"'{key.Text}' is not known {where}; known are {string.Join(", ", names)}", Suggestion.Nearest(key.Text, names));
            }
        }
    }

    /// <summary>The node as a scalar that is not empty.</summary>
    public bool TryScalar(RuleNode node, string what, [NotNullWhen(true)] out ScalarNode? scalar)
    {
        scalar = node as ScalarNode;
        if (scalar is { IsEmpty: false })
        {
            return true;
        }

        Error(node.Span, $"{node.Kind} stands here where {what} must be");
        scalar = null;
        return false;
    }

    /// <summary>The node as a mapping.</summary>
    public bool TryMapping(RuleNode node, string what, [NotNullWhen(true)] out MappingNode? mapping)
    {
        mapping = node as MappingNode;
        if (mapping is null)
        {
            Error(node.Span, $"{node.Kind} stands here where {what} must be");
        }

        return mapping is not null;
    }

    /// <summary>The values of a list; one value is a list of one.</summary>
    public IReadOnlyList<ScalarNode> Scalars(RuleNode node, string what)
    {
        var scalars = new List<ScalarNode>();
        foreach (var item in Items(node))
        {
            if (TryScalar(item, what, out var scalar))
            {
                scalars.Add(scalar);
            }
        }

        return scalars;
    }

    /// <summary>The parts of a list; anything else is a list of one, and nothing is one of none.</summary>
    public static IReadOnlyList<RuleNode> Items(RuleNode node) => node switch
    {
        SequenceNode sequence => sequence.Items,
        ScalarNode { IsEmpty: true } => [],
        _ => [node],
    };

    /// <summary>True or false.</summary>
    public bool Flag(RuleNode node, bool otherwise)
    {
        switch ((node as ScalarNode)?.Text)
        {
            case "true" or "yes" or "on":
                return true;
            case "false" or "no" or "off":
                return false;
            default:
                Error(node.Span, $"{Shown(node)} is neither true nor false");
                return otherwise;
        }
    }

    /// <summary>One of an enumeration's values.</summary>
    public T Choice<T>(RuleNode node, T otherwise)
        where T : struct, Enum
    {
        var names = Array.ConvertAll(Enum.GetValues<T>(), NameOf);
        var text = (node as ScalarNode)?.Text ?? "";
        if (Array.IndexOf(names, text) is var index and >= 0)
        {
            return Enum.GetValues<T>()[index];
        }

        Error(node.Span, $"{Shown(node)} is none of {string.Join(", ", names)}", Suggestion.Nearest(text, names));
        return otherwise;
    }

    /// <summary>A whole number in a range.</summary>
    public bool TryNumber(RuleNode node, string what, ulong least, ulong most, out ulong value)
    {
        if (node is ScalarNode scalar && TryNumber(scalar.Text, out value) && value >= least && value <= most)
        {
            return true;
        }

        value = 0;
        Error(node.Span, string.Create(CultureInfo.InvariantCulture, $"{Shown(node)} is no {what} from {least} to {most}"));
        return false;
    }

    /// <summary>A time.</summary>
    public TimeSpan Duration(RuleNode node, TimeSpan otherwise)
    {
        if (node is ScalarNode scalar && TryDuration(scalar.Text, out var duration))
        {
            return duration;
        }

        Error(node.Span, $"{Shown(node)} is no time; write 500ms, 10s, 5m or 1h");
        return otherwise;
    }

    /// <summary>A name of a rule, a tag, an exception: what can be a label's value without surprising anybody.</summary>
    public bool TryName(RuleNode node, string what, out string name)
    {
        name = node is ScalarNode { IsEmpty: false } scalar ? scalar.Text : "";
        if (name.Length is > 0 and <= LongestName && char.IsAsciiLetterOrDigit(name[0]) && name.All(c => char.IsAsciiLetterOrDigit(c) || c is '_' or '-' or '.'))
        {
            return true;
        }

        Error(node.Span, string.Create(CultureInfo.InvariantCulture, $"{Shown(node)} is no name of {what}; write letters, digits, '_', '-' and '.', at most {LongestName}"));
        return false;
    }

    /// <summary>A node as a message names it.</summary>
    public static string Shown(RuleNode node) => node is ScalarNode { IsEmpty: false } scalar ? $"'{Cut(scalar.Text)}'" : node.Kind;

    private static string Cut(string text) => text.Length <= LongestName ? text.ReplaceLineEndings(" ") : text[..LongestName].ReplaceLineEndings(" ") + "…";
}
