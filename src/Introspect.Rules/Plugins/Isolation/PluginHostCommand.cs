namespace Introspect.Rules.Plugins.Isolation;

/// <summary>How a plugin's process is started; the path of the socket is added as the last argument.</summary>
/// <param name="FileName">The program.</param>
/// <param name="Arguments">What comes before the path.</param>
internal sealed record PluginHostCommand(string FileName, IReadOnlyList<string> Arguments)
{
    /// <summary>The word that makes the program a plugin's process.</summary>
    public const string Word = "plugin-host";
}
