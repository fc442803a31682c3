using Introspect.Rules.Files;
using Introspect.Rules.Language;

namespace Introspect.Daemon.Configuration;

/// <summary>
/// What a configuration was read from, each thing as it was just before it was read: so no change can come between the
/// looking and the reading.
/// </summary>
internal sealed class ConfigurationSources
{
    private enum Kind
    {
        Configuration,
        Rules,
        Symbols,
    }

    private readonly Dictionary<(Kind Kind, string Path), byte[]> _states;

    private ConfigurationSources(Dictionary<(Kind Kind, string Path), byte[]> states) => _states = states;

    /// <summary>Nothing.</summary>
    public static ConfigurationSources None { get; } = new([]);

    /// <summary>Files and folders of rules, as they are named.</summary>
    public IEnumerable<string> Rules => Of(Kind.Rules);

    /// <summary>Files of symbols.</summary>
    public IEnumerable<string> Symbols => Of(Kind.Symbols);

    /// <summary>The folders in which something can change, or come, or go.</summary>
    public IEnumerable<string> Folders => _states.Keys.Select(source => Path.GetDirectoryName(Path.GetFullPath(source.Path)) ?? "/")
        .Concat(Of(Kind.Configuration).Select(ConfigurationFiles.FolderOf))
        .Concat(Rules)
        .Where(Directory.Exists)
        .Distinct();

    /// <summary>The files that the name of a configuration stands for, as they are now.</summary>
    public static ConfigurationSources OfConfiguration(string path) => Look([(Kind.Configuration, path)]);

    /// <summary>A file or folder of rules, as it is now.</summary>
    public static ConfigurationSources OfRules(IEnumerable<string> paths) => Look(paths.Select(path => (Kind.Rules, path)));

    /// <summary>A file of symbols, as it is now.</summary>
    public static ConfigurationSources OfSymbols(string path) => Look([(Kind.Symbols, path)]);

    /// <summary>These and others; what is in both is as the others have it.</summary>
    public ConfigurationSources With(ConfigurationSources more) => new(_states.Concat(more._states).GroupBy(state => state.Key).ToDictionary(state => state.Key, state => state.Last().Value));

    /// <summary>The same sources as they are now.</summary>
    public ConfigurationSources Now() => Look(_states.Keys);

    /// <summary>True when nothing is other than there.</summary>
    public bool IsSame(ConfigurationSources other) =>
        _states.Count == other._states.Count && _states.All(state => other._states.TryGetValue(state.Key, out var bytes) && bytes.AsSpan().SequenceEqual(state.Value));

    private static ConfigurationSources Look(IEnumerable<(Kind Kind, string Path)> sources) => new(sources.Distinct().ToDictionary(source => source, source => source.Kind switch
    {
        Kind.Configuration => ConfigurationContents.Of(ConfigurationContents.FilesOf(source.Path)),
        Kind.Rules => ConfigurationContents.Of(RuleFileLoader.FilesOf(source.Path, new DiagnosticBag())),
        _ => ConfigurationContents.OfLarge(source.Path),
    }));

    private IEnumerable<string> Of(Kind kind) => _states.Keys.Where(source => source.Kind == kind).Select(source => source.Path);
}
