using System.Globalization;
using Microsoft.Extensions.Configuration;
using YamlDotNet.RepresentationModel;

namespace Introspect.Daemon.Configuration;

/// <summary>Where in the files something stands.</summary>
/// <param name="File">The file.</param>
/// <param name="Line">Line, from 1.</param>
internal readonly record struct ConfigurationPlace(string File, long Line)
{
    /// <inheritdoc/>
    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"{File}:{Line}");
}

/// <summary>
/// What several files say together, as paths with values: mappings are merged, a later value and a later list take the
/// place of an earlier one, and <c>domains</c> grows. Of each path it is known where it was written.
/// </summary>
internal sealed class ConfigurationTree
{
    /// <summary>The list that grows from file to file.</summary>
    public const string GrowingList = "domains";

    // Anchors and aliases can make a small file a deep or an endless tree.
    private const int MaxDepth = 16;
    private const int MaxValues = 10_000;

    private readonly Dictionary<string, string?> _values = new(StringComparer.OrdinalIgnoreCase);
    private readonly Dictionary<string, ConfigurationPlace> _places = new(StringComparer.OrdinalIgnoreCase);
    private readonly List<string> _mistakes = [];
    private int _grown;
    private string? _tooMuch;

    /// <summary>Paths in the notation of Microsoft.Extensions.Configuration, and their values.</summary>
    public IReadOnlyDictionary<string, string?> Values => _values;

    /// <summary>What no path can be made of.</summary>
    public IReadOnlyList<string> Mistakes => _mistakes;

    /// <summary>Adds what a file says.</summary>
    public void Merge(string file, YamlMappingNode root) => Merge(file, root, "", 0);

    /// <summary>Where a path, or what it is a part of, was written; null where nothing of it was.</summary>
    public ConfigurationPlace? PlaceOf(string path)
    {
        for (var at = path; at.Length != 0; at = ConfigurationPath.GetParentPath(at) ?? "")
        {
            if (_places.TryGetValue(at, out var place))
            {
                return place;
            }
        }

        return null;
    }

    private void Merge(string file, YamlNode node, string path, int depth)
    {
        var place = new ConfigurationPlace(file, node.Start.Line);
        if (depth > MaxDepth || _values.Count > MaxValues)
        {
            // Told once a file: what is too much comes again and again.
            if (_tooMuch != file)
            {
                _tooMuch = file;
                _mistakes.Add($"{place}: nested or repeated beyond reason; remove anchors that refer to themselves");
            }

            return;
        }

        switch (node)
        {
            case YamlMappingNode mapping:
                MergeMapping(file, mapping, path, depth);
                break;
            case YamlSequenceNode sequence:
                MergeSequence(file, sequence, path, depth);
                break;
            case YamlScalarNode scalar:
                // 'section:' with nothing behind it says nothing.
                if (scalar.Value is { Length: > 0 } || scalar.Style != YamlDotNet.Core.ScalarStyle.Plain)
                {
                    Forget(path);
                    Set(path, scalar.Value, place);
                }
                else if (_values.TryAdd(path, ""))
                {
                    _places.TryAdd(path, place);
                }

                break;
        }
    }

    private void MergeMapping(string file, YamlMappingNode mapping, string path, int depth)
    {
        if (path.Length != 0)
        {
            // An empty mapping is there all the same.
            _places.TryAdd(path, new(file, mapping.Start.Line));
            _values.TryAdd(path, "");
        }

        foreach (var (key, value) in mapping.Children)
        {
            if (key is YamlScalarNode { Value: { Length: > 0 } name } && !name.Contains(ConfigurationPath.KeyDelimiter, StringComparison.Ordinal))
            {
                var below = path.Length == 0 ? name : ConfigurationPath.Combine(path, name);
                Merge(file, value, below, depth + 1);

                // The line of the key, which a long value does not begin on.
                if (_places.TryGetValue(below, out var there) && there.File == file)
                {
                    _places[below] = new(file, key.Start.Line);
                }
            }
            else
            {
                _mistakes.Add($"{new ConfigurationPlace(file, key.Start.Line)}: {(key is YamlScalarNode ? $"'{key}'" : "a list or a mapping")} is no key; write a word");
            }
        }
    }

    private void MergeSequence(string file, YamlSequenceNode sequence, string path, int depth)
    {
        var place = new ConfigurationPlace(file, sequence.Start.Line);
        var offset = 0;
        if (path.Equals(GrowingList, StringComparison.OrdinalIgnoreCase))
        {
            offset = _grown;
            _grown += sequence.Children.Count;
        }
        else
        {
            Forget(path);
        }

        Set(path, "", place);
        for (var i = 0; i < sequence.Children.Count; i++)
        {
            Merge(file, sequence.Children[i], ConfigurationPath.Combine(path, (offset + i).ToString(CultureInfo.InvariantCulture)), depth + 1);
        }
    }

    private void Set(string path, string? value, ConfigurationPlace place)
    {
        _values[path] = value;
        _places[path] = place;
    }

    // A later file says it differently, and in other parts.
    private void Forget(string path)
    {
        var below = path + ConfigurationPath.KeyDelimiter;
        foreach (var old in _values.Keys.Where(key => key.StartsWith(below, StringComparison.OrdinalIgnoreCase)).ToArray())
        {
            _values.Remove(old);
            _places.Remove(old);
        }
    }
}
