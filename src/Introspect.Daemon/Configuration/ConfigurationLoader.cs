using System.Collections;
using Introspect.Daemon.Cli;
using Introspect.Rules.Plugins;
using Microsoft.Extensions.Configuration;
using YamlDotNet.Core;
using YamlDotNet.RepresentationModel;

namespace Introspect.Daemon.Configuration;

/// <summary>Finds and reads the configuration: its YAML files, and environment variables over them.</summary>
internal static class ConfigurationLoader
{
    /// <summary>The file that is read when none is named.</summary>
    public const string DefaultPath = "/etc/introspect/introspect.yaml";

    /// <summary>What environment variables begin with: <c>INTROSPECT_METRICS__LISTEN</c> is <c>metrics.listen</c>.</summary>
    public const string EnvironmentPrefix = "INTROSPECT_";

    /// <summary>Reads the configuration, or throws with every mistake of all files.</summary>
    /// <exception cref="ConfigurationMistakes">Something in the files or the environment is wrong.</exception>
    /// <exception cref="UserError">The file is not there or cannot be read.</exception>
    /// <param name="path">The main file.</param>
    /// <param name="environment">The environment's variables.</param>
    /// <param name="provePlugin">Has a plugin run and says what is wrong with it; null: plugins are only looked at.</param>
    public static DaemonConfiguration Load(string path, IDictionary environment, Func<PluginEntry, IReadOnlyList<OptionMistake>>? provePlugin = null)
    {
        var own = ConfigurationSources.OfConfiguration(path);
        var files = ConfigurationFiles.Of(path);
        var tree = new ConfigurationTree();
        var mistakes = new List<string>();
        foreach (var file in files)
        {
            if (Parse(file, isMain: file == path, mistakes) is { } root)
            {
                tree.Merge(file, root);
            }
        }

        mistakes.AddRange(tree.Mistakes);
        var variables = FromEnvironment(environment);
        var values = new ConfigurationBuilder().AddInMemoryCollection(tree.Values).AddInMemoryCollection(variables.Select(v => KeyValuePair.Create(v.Key, v.Value.Value))).Build();
        var (configuration, others, sources) = ConfigurationReader.Read(values, key => VariableOf(key, variables) ?? tree.PlaceOf(key)?.ToString() ?? path, FolderOf, isPart: mistakes.Count != 0, provePlugin);
        mistakes.AddRange(others);
        sources = own.With(sources);
        return configuration is not null && mistakes.Count == 0
            ? configuration with { Sources = sources, Files = [.. files.Concat(configuration.Domains.SelectMany(policy => policy.Rules?.Files ?? [])).Distinct()] }
            : throw new ConfigurationMistakes(path, mistakes) { Sources = sources };

        string FolderOf(string key) => Path.GetDirectoryName(Path.GetFullPath(VariableOf(key, variables) is null && tree.PlaceOf(key) is { File: var file } ? file : path)) ?? "/";
    }

    private static YamlMappingNode? Parse(string file, bool isMain, List<string> mistakes)
    {
        IList<YamlDocument> documents;
        try
        {
            documents = YamlText.Read(File.ReadAllText(file));
        }
        catch (YamlException e)
        {
            mistakes.Add($"{file}:{e.Start.Line}:{e.Start.Column}: not YAML: {UserError.OneLine(e.Message).TrimEnd('.')}; mend the line");
            return null;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            var why = e is FileNotFoundException or DirectoryNotFoundException ? "there is no such file" : "it cannot be read";
            if (isMain)
            {
                throw UserError.Failure($"configuration '{file}': {why}; name one with --config FILE", e);
            }

            mistakes.Add($"{file}: {why}; let the service read it, or take it away");
            return null;
        }

        if (documents.Count > 1)
        {
            mistakes.Add($"{file}:{documents[1].RootNode.Start.Line}: {documents.Count} documents; keep one");
            return null;
        }

        if (documents.Count == 0 || documents[0].RootNode is YamlScalarNode { Value: null or "" })
        {
            return null;
        }

        if (documents[0].RootNode is YamlMappingNode root)
        {
            return root;
        }

        mistakes.Add($"{file}:{documents[0].RootNode.Start.Line}: the file is no mapping; write 'section:' lines as docs/configuration.md shows");
        return null;
    }

    private static string? VariableOf(string path, Dictionary<string, (string Name, string? Value)> variables)
    {
        for (var at = path; at is { Length: > 0 }; at = ConfigurationPath.GetParentPath(at))
        {
            if (variables.TryGetValue(at, out var variable))
            {
                return variable.Name;
            }
        }

        return null;
    }

    // Only names with a section are ours: other INTROSPECT_ variables belong to tests and tools.
    private static Dictionary<string, (string Name, string? Value)> FromEnvironment(IDictionary environment)
    {
        var variables = new Dictionary<string, (string Name, string? Value)>(StringComparer.OrdinalIgnoreCase);
        foreach (DictionaryEntry entry in environment)
        {
            var name = (string)entry.Key;
            if (name.StartsWith(EnvironmentPrefix, StringComparison.OrdinalIgnoreCase) && name.Contains("__", StringComparison.Ordinal))
            {
                variables[name[EnvironmentPrefix.Length..].Replace("__", ConfigurationPath.KeyDelimiter, StringComparison.Ordinal)] = (name, (string?)entry.Value);
            }
        }

        return variables;
    }
}

/// <summary>Everything that is wrong with a configuration.</summary>
internal sealed class ConfigurationMistakes(string path, IReadOnlyList<string> mistakes)
    : Exception($"{path}: {mistakes.Count} mistake{(mistakes.Count == 1 ? "" : "s")}")
{
    /// <summary>The mistakes, each one line that begins with where it is: a file and a line, or a variable.</summary>
    public IReadOnlyList<string> Mistakes { get; } = mistakes;

    /// <summary>The file that was named.</summary>
    public string Path { get; } = path;

    /// <summary>What was read, or was to be: a change of it may mend the mistakes.</summary>
    public ConfigurationSources Sources { get; init; } = ConfigurationSources.None;
}
