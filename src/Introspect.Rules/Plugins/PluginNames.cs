namespace Introspect.Rules.Plugins;

/// <summary>Names of plugins.</summary>
internal static class PluginNames
{
    public const int MostCharacters = 63;

    /// <summary>What a name must be, for people.</summary>
    public const string Rule = "lower-case letters, digits, '-' and '_', beginning with a letter, at most 63";

    /// <summary>True when the text can be a name in metrics, logs and file names.</summary>
    public static bool IsName(string text) =>
        text.Length is > 0 and <= MostCharacters
        && char.IsAsciiLetterLower(text[0])
        && text.All(static c => char.IsAsciiLetterLower(c) || char.IsAsciiDigit(c) || c is '-' or '_');

    /// <summary>Turns <c>DenyWrites</c> into <c>deny_writes</c>.</summary>
    public static string SnakeCase(string name) =>
        string.Concat(name.Select((c, i) => !char.IsAsciiLetterUpper(c) ? c.ToString() : (i == 0 ? "" : "_") + char.ToLowerInvariant(c)));
}
