namespace Introspect.Rules.Plugins;

/// <summary>A plugin cannot be had: one line that names what is wrong and the remedy.</summary>
public sealed class PluginException : Exception
{
    /// <summary>Makes the exception.</summary>
    public PluginException(string message)
        : base(message)
    {
    }

    /// <summary>Makes the exception of something that another exception caused.</summary>
    public PluginException(string message, Exception inner)
        : base(message, inner)
    {
    }
}

/// <summary>The settings of a plugin are wrong.</summary>
/// <param name="mistakes">All that is wrong.</param>
public sealed class PluginOptionsException(IReadOnlyList<OptionMistake> mistakes)
    : Exception(string.Join("; ", mistakes.Select(mistake => $"{mistake.Key}: {mistake.What}")))
{
    /// <summary>All that is wrong.</summary>
    public IReadOnlyList<OptionMistake> Mistakes { get; } = mistakes;
}

/// <summary>Something wrong with the settings of a plugin.</summary>
/// <param name="Key">Which key, below <c>config</c>: parts are separated by <c>:</c>; empty for all of it.</param>
/// <param name="Value">The value; null where there is none to show.</param>
/// <param name="What">What is wrong, and the remedy.</param>
public sealed record OptionMistake(string Key, string? Value, string What);
