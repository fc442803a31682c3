using System.Collections;
using Introspect.Daemon.Cli;
using Microsoft.Extensions.Configuration;

namespace Introspect.Daemon.Configuration;

/// <summary>Finds and reads the configuration: one YAML file, and environment variables over it.</summary>
internal static class ConfigurationLoader
{
    /// <summary>The file that is read when none is named.</summary>
    public const string DefaultPath = "/etc/introspect/introspect.yaml";

    /// <summary>What environment variables begin with: <c>INTROSPECT_METRICS__LISTEN</c> is <c>metrics.listen</c>.</summary>
    public const string EnvironmentPrefix = "INTROSPECT_";

    /// <summary>Reads the configuration, or throws with every mistake.</summary>
    /// <exception cref="ConfigurationMistakes">The values are wrong.</exception>
    /// <exception cref="UserError">The file is not there or is no YAML.</exception>
    public static DaemonConfiguration Load(string path, IDictionary environment)
    {
        var root = new ConfigurationBuilder()
            .Add(new YamlConfigurationSource(path))
            .AddInMemoryCollection(FromEnvironment(environment))
            .Build();
        var (configuration, mistakes) = ConfigurationReader.Read(root);
        return configuration ?? throw new ConfigurationMistakes(path, mistakes);
    }

    // Only names with a section are ours: other INTROSPECT_ variables belong to tests and tools.
    private static IEnumerable<KeyValuePair<string, string?>> FromEnvironment(IDictionary environment)
    {
        foreach (DictionaryEntry entry in environment)
        {
            var name = (string)entry.Key;
            if (name.StartsWith(EnvironmentPrefix, StringComparison.OrdinalIgnoreCase) && name.Contains("__", StringComparison.Ordinal))
            {
                var key = name[EnvironmentPrefix.Length..].Replace("__", ConfigurationPath.KeyDelimiter, StringComparison.Ordinal);
                yield return new(key, (string?)entry.Value);
            }
        }
    }
}

/// <summary>Everything that is wrong with a configuration.</summary>
internal sealed class ConfigurationMistakes(string path, IReadOnlyList<string> mistakes)
    : Exception($"{path}: {mistakes.Count} mistake{(mistakes.Count == 1 ? "" : "s")}")
{
    /// <summary>The mistakes, each one line.</summary>
    public IReadOnlyList<string> Mistakes { get; } = mistakes;

    /// <summary>The file.</summary>
    public string Path { get; } = path;
}
