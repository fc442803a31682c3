using System.Globalization;
using Introspect.Daemon.Cli;
using Microsoft.Extensions.Configuration;
using YamlDotNet.Core;
using YamlDotNet.RepresentationModel;

namespace Introspect.Daemon.Configuration;

/// <summary>A YAML file as a source of Microsoft.Extensions.Configuration: mappings and sequences become paths.</summary>
internal sealed class YamlConfigurationSource(string path) : IConfigurationSource
{
    /// <inheritdoc/>
    public IConfigurationProvider Build(IConfigurationBuilder builder) => new YamlConfigurationProvider(path);
}

/// <summary>Reads the file at every load, so that a reload is one call.</summary>
internal sealed class YamlConfigurationProvider(string path) : ConfigurationProvider
{
    // Anchors and aliases can make a small file a deep or an endless tree.
    private const int MaxDepth = 16;
    private const int MaxValues = 10_000;

    /// <inheritdoc/>
    public override void Load()
    {
        var values = new Dictionary<string, string?>(StringComparer.OrdinalIgnoreCase);
        var yaml = new YamlStream();
        try
        {
            using var reader = new StreamReader(path);
            yaml.Load(reader);
        }
        catch (YamlException e)
        {
            throw UserError.Usage($"{path}:{e.Start.Line}:{e.Start.Column}: not YAML: {e.Message}; mend the line", e);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            var why = e is FileNotFoundException or DirectoryNotFoundException ? "there is no such file" : "it cannot be read";
            throw UserError.Failure($"configuration '{path}': {why}; name one with --config FILE", e);
        }

        if (yaml.Documents.Count > 1)
        {
            throw UserError.Usage($"{path}: {yaml.Documents.Count} documents; keep one");
        }

        if (yaml.Documents.Count == 1)
        {
            if (yaml.Documents[0].RootNode is YamlMappingNode root)
            {
                Flatten(root, "", 0, values);
            }
            else if (yaml.Documents[0].RootNode is not YamlScalarNode { Value: null or "" })
            {
                throw UserError.Usage($"{path}: the file is no mapping; write 'section:' lines as docs/configuration.md shows");
            }
        }

        Data = values;
    }

    private void Flatten(YamlNode node, string prefix, int depth, Dictionary<string, string?> values)
    {
        if (depth > MaxDepth || values.Count > MaxValues)
        {
            throw UserError.Usage($"{path}:{node.Start.Line}: nested or repeated beyond reason; remove anchors that refer to themselves");
        }

        switch (node)
        {
            case YamlMappingNode mapping:
                foreach (var (key, value) in mapping.Children)
                {
                    Flatten(value, Join(prefix, ((YamlScalarNode)key).Value ?? ""), depth + 1, values);
                }

                // An empty mapping is there all the same.
                AddWhenEmpty(mapping.Children.Count, prefix, values);
                break;
            case YamlSequenceNode sequence:
                for (var i = 0; i < sequence.Children.Count; i++)
                {
                    Flatten(sequence.Children[i], Join(prefix, i.ToString(CultureInfo.InvariantCulture)), depth + 1, values);
                }

                AddWhenEmpty(sequence.Children.Count, prefix, values);
                break;
            case YamlScalarNode scalar:
                values[prefix] = scalar.Value;
                break;
        }
    }

    private static void AddWhenEmpty(int children, string prefix, Dictionary<string, string?> values)
    {
        if (children == 0 && prefix.Length != 0)
        {
            values[prefix] = "";
        }
    }

    private static string Join(string prefix, string key) => prefix.Length == 0 ? key : ConfigurationPath.Combine(prefix, key);
}
