using Introspect.Daemon.Plugins;
using Introspect.Rules.Handlers;
using Introspect.Rules.Plugins;
using Microsoft.Extensions.Configuration;

namespace Introspect.Daemon.Configuration;

/// <content>Plugins: each is looked at on disk, and then started, so that its settings are proven with all else.</content>
internal sealed partial class ConfigurationReader
{
    private static readonly string[] TakenNames = [Tracing.TraceHandler.HandlerName, "log", "rules", "protect-cr4"];

    private Func<PluginEntry, IReadOnlyList<OptionMistake>>? _provePlugin;

    private List<PluginSpec> ReadPlugins(IConfigurationSection section)
    {
        var plugins = new List<PluginSpec>();
        foreach (var item in Items(section))
        {
            var before = _mistakes.Count;
            var spec = ReadPlugin(item);
            if (spec is not null && plugins.Any(other => other.Entry.Name == spec.Entry.Name))
            {
                Mistake(item.Path, spec.Entry.Name, "is the name of two plugins; give one of them a 'name'");
            }

            if (spec is not null && _mistakes.Count == before)
            {
                ProvePlugin(item, spec.Entry);
                plugins.Add(spec);
            }
        }

        return plugins;
    }

    private PluginSpec? ReadPlugin(IConfigurationSection item)
    {
        RefuseOthers(item, "path", "name", "isolation", "domains", "config", "fail", "budget", "timeout", "memory_mib");
        var folder = ReadPluginFolder(item);
        var name = Text(item, "name") ?? folder?.Name;
        if (name is not null && (!PluginNames.IsName(name) || TakenNames.Contains(name)))
        {
            Mistake($"{item.Path}:name", name, $"cannot be a plugin's name, which is {PluginNames.Rule}, and none of {string.Join(", ", TakenNames)}");
        }

        var domains = Items(item.GetSection("domains")).Select(i => i.Value ?? "").ToArray();
        var isolation = Choice(item, "isolation", PluginIsolation.Process);
        var timeout = Duration(item, "timeout", TimeSpan.FromSeconds(1));
        var memory = (int)Number(item, "memory_mib", 256, 32, 1 << 20);
        var fail = Choice(item, "fail", FailPolicy.Open);
        var budget = Text(item, "budget") is null ? (TimeSpan?)null : Duration(item, "budget", TimeSpan.FromMilliseconds(5));
        return folder is null ? null : new(
            new()
            {
                Name = name!,
                Folder = folder,
                Isolation = isolation,
                Config = ValuesOf(item.GetSection("config")),
                AnswerTimeout = timeout,
                MemoryMiB = memory,
            },
            domains.Length == 0 ? ["*"] : domains,
            fail,
            budget);
    }

    // What has something below it is no value, though it may be given as an empty one.
    private static Dictionary<string, string?> ValuesOf(IConfigurationSection config)
    {
        var values = new Dictionary<string, string?>(StringComparer.OrdinalIgnoreCase);
        Add(config, "");
        return values;

        void Add(IConfigurationSection section, string path)
        {
            if (section.Value is { } value && (value.Length != 0 || (path.Length != 0 && !section.GetChildren().Any())))
            {
                values[path] = value;
            }

            foreach (var child in section.GetChildren())
            {
                Add(child, path.Length == 0 ? child.Key : ConfigurationPath.Combine(path, child.Key));
            }
        }
    }

    private PluginFolder? ReadPluginFolder(IConfigurationSection item)
    {
        var path = Text(item, "path");
        if (path is null)
        {
            Mistake($"{item.Path}:path", null, $"is missing; give the plugin's folder, or the name of one in {PluginSpec.DefaultFolder}");
            return null;
        }

        // A mere name is a plugin that is installed; what has a slash in it is looked for where the file is that says so.
        var full = PluginNames.IsName(path) ? Path.Combine(PluginSpec.DefaultFolder, path) : Path.GetFullPath(path, _folderOf($"{item.Path}:path"));
        try
        {
            return PluginFolder.Open(full);
        }
        catch (PluginException e)
        {
            Mistake($"{item.Path}:path", null, e.Message);
            return null;
        }
    }

    private void ProvePlugin(IConfigurationSection item, PluginEntry entry)
    {
        foreach (var mistake in _provePlugin?.Invoke(entry) ?? [])
        {
            // What is wrong with no key is wrong with the plugin.
            var path = mistake.Key.Length != 0 ? $"{item.Path}:config:{mistake.Key}" : mistake.Value is null ? $"{item.Path}:path" : $"{item.Path}:config";
            Mistake(path, mistake.Value, mistake.What);
        }
    }
}
