namespace Introspect.Rules.Plugins;

/// <summary>Where a plugin's code runs.</summary>
internal enum PluginIsolation
{
    /// <summary>In a process of its own, which may crash, hang and leak.</summary>
    Process,

    /// <summary>In the monitor's process: an event costs less, and what goes wrong goes wrong there.</summary>
    None,
}

/// <summary>A plugin as the operator wants it.</summary>
internal sealed record PluginEntry
{
    /// <summary>What it goes by in logs, metrics and records.</summary>
    public required string Name { get; init; }

    /// <summary>The plugin on disk.</summary>
    public required PluginFolder Folder { get; init; }

    /// <summary>Where its code runs.</summary>
    public PluginIsolation Isolation { get; init; }

    /// <summary>The values of its settings, by path.</summary>
    public IReadOnlyDictionary<string, string?> Config { get; init; } = new Dictionary<string, string?>();

    /// <summary>In a process of its own: after such a silence on an event the process hangs, and is killed.</summary>
    public TimeSpan AnswerTimeout { get; init; } = TimeSpan.FromSeconds(1);

    /// <summary>In a process of its own: most memory of its managed objects.</summary>
    public int MemoryMiB { get; init; } = 256;

    /// <summary>True when what runs for one entry can go on for the other.</summary>
    public bool IsSame(PluginEntry other) =>
        this with { Config = other.Config } == other
        && Config.Count == other.Config.Count
        && Config.All(pair => other.Config.TryGetValue(pair.Key, out var value) && value == pair.Value);
}

/// <summary>How a plugin fares.</summary>
/// <param name="Name">Its name.</param>
/// <param name="IsUp">It can be asked.</param>
/// <param name="Restarts">Times that its process was started anew.</param>
/// <param name="Crashes">Times that its process ended by itself.</param>
/// <param name="Hangs">Times that its process did not answer, and was killed.</param>
internal sealed record PluginCounts(string Name, bool IsUp, long Restarts, long Crashes, long Hangs);
