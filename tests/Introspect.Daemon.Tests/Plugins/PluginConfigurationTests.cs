using System.Collections;
using Introspect.Daemon.Configuration;
using Introspect.Daemon.Plugins;
using Introspect.Rules.Handlers;
using Introspect.Rules.Plugins;

namespace Introspect.Daemon.Tests.Plugins;

/// <summary>Plugins in the configuration.</summary>
[Collection(PluginCollection.Name)]
public sealed class PluginConfigurationTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("introspect-plugin-").FullName;

    private string FilePath => Path.Combine(_folder, "introspect.yaml");

    [Fact]
    public void Every_key_of_a_plugin_is_read()
    {
        var read = Load($$"""
            - path: {{PluginBench.Folder}}
              name: watcher
              isolation: none
              domains: [web-*, "5"]
              fail: closed
              budget: 2ms
              timeout: 500ms
              memory_mib: 64
              config:
                level: 3
                nested: { ports: [80, 443] }
            - path: {{PluginBench.Folder}}
            """);
        var plugin = read.Plugins[0];
        Assert.Equal(("watcher", PluginIsolation.None, 64), (plugin.Entry.Name, plugin.Entry.Isolation, plugin.Entry.MemoryMiB));
        Assert.Equal((FailPolicy.Closed, TimeSpan.FromMilliseconds(2), TimeSpan.FromMilliseconds(500)), (plugin.Fail, plugin.Budget, plugin.Entry.AnswerTimeout));
        Assert.Equal(["web-*", "5"], plugin.Domains);
        Assert.Equal([("level", "3"), ("nested:ports:0", "80"), ("nested:ports:1", "443")], plugin.Entry.Config.Select(pair => (pair.Key, pair.Value ?? "")).Order());
        Assert.Equal(("test", PluginIsolation.Process, FailPolicy.Open, null), (read.Plugins[1].Entry.Name, read.Plugins[1].Entry.Isolation, read.Plugins[1].Fail, read.Plugins[1].Budget));
        Assert.Equal(["*"], read.Plugins[1].Domains);

        // A domain is watched for its plugins alone, too.
        Assert.Equal(read.Plugins, Assert.Single(read.Domains).Plugins);
    }

    [Theory]
    [InlineData("- name: x", "plugins.0.path: is missing; give the plugin's folder")]
    [InlineData("- path: no-such-plugin", "plugins.0.path: plugin '/usr/lib/introspect/plugins/no-such-plugin' is not there")]
    [InlineData("- path: /nowhere/at/all", "plugins.0.path: plugin '/nowhere/at/all' is not there; give the folder that the plugin was published to")]
    [InlineData("- path: FOLDER\n  isolated: true", "plugins.0.isolated: is not known; known here: path, name, isolation")]
    [InlineData("- path: FOLDER\n  isolation: thread", "plugins.0.isolation: 'thread' is none of process, none")]
    [InlineData("- path: FOLDER\n  timeout: 0s", "plugins.0.timeout: '0s' is no time; write seconds")]
    [InlineData("- path: FOLDER\n  memory_mib: 1", "plugins.0.memory_mib: '1' is no number from 32 to")]
    [InlineData("- path: FOLDER\n  name: trace", "plugins.0.name: 'trace' cannot be a plugin's name")]
    [InlineData("- path: FOLDER\n  name: My", "plugins.0.name: 'My' cannot be a plugin's name")]
    [InlineData("- path: FOLDER\n- path: FOLDER", "plugins.1: 'test' is the name of two plugins; give one of them a 'name'")]
    public void What_is_wrong_with_an_entry_is_told_with_its_key(string yaml, string told) =>
        Assert.Contains(told, Assert.Single(Mistakes(yaml)), StringComparison.Ordinal);

    [Fact]
    public void A_path_with_a_slash_is_one_from_where_the_file_is()
    {
        Assert.Contains($"plugins.0.path: plugin '{Path.Combine(_folder, "some", "folder")}' is not there", Assert.Single(Mistakes("- path: some/folder")), StringComparison.Ordinal);
        Directory.CreateSymbolicLink(Path.Combine(_folder, "linked"), PluginBench.Folder);
        Assert.Equal("test", Assert.Single(Load("- path: ./linked").Plugins).Entry.Name);

        // Of a file in conf.d that is the folder of that file.
        Directory.CreateDirectory(Path.Combine(_folder, "conf.d"));
        Directory.CreateSymbolicLink(Path.Combine(_folder, "conf.d", "mine"), PluginBench.Folder);
        File.WriteAllText(Path.Combine(_folder, "conf.d", "a.yaml"), "plugins: [ { path: ./mine } ]");
        Assert.StartsWith(Path.Combine(_folder, "conf.d", "mine") + "/", Assert.Single(Load("").Plugins).Entry.Folder.AssemblyPath, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("process")]
    [InlineData("none")]
    public void What_is_wrong_with_a_plugins_settings_is_told_with_all_else(string isolation)
    {
        using var plugins = new PluginSet(PluginSet.ThisProgram);
        var mistakes = Mistakes($$"""
            - path: FOLDER
              isolation: {{isolation}}
              config:
                level: 11
                behavior: crash
                nested: { ports: [80, many] }
            - path: FOLDER
              name: second
              isolation: {{isolation}}
              config:
                behaviour: explode
            """, "metrics: { lissten: x }", plugins.Prove);
        Assert.Collection(
            mistakes.Where(mistake => mistake.Contains("plugins.", StringComparison.Ordinal)).Order(StringComparer.Ordinal),
            mistake => AssertTold(mistake, "plugins.0.config.behavior: is not known; known here: behaviour, delay, leaf, level, nested"),
            mistake => AssertTold(mistake, "plugins.0.config.nested.ports.1: 'many' is no whole number from 0 to 65535"),
            mistake => AssertTold(mistake, "plugins.1.config.behaviour: 'explode' is none of pass, deny, crash"),
            mistake => AssertTold(mistake, "plugins.0.config.level: '11' does not fit: The field level must be between 1 and 10"));
        Assert.Contains(mistakes, mistake => mistake.Contains("metrics.lissten", StringComparison.Ordinal));
        Assert.Empty(plugins.Counts);

        void AssertTold(string mistake, string told)
        {
            Assert.Contains(told, mistake, StringComparison.Ordinal);
            Assert.StartsWith(FilePath + ":", mistake, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void A_plugin_goes_on_for_a_configuration_that_names_it_again()
    {
        using var plugins = new PluginSet(PluginSet.ThisProgram);
        var first = Load($"- path: {PluginBench.Folder}", plugins.Prove).Plugins[0].Entry;
        plugins.Keep([first]);
        var running = plugins.Find(first);
        var again = Load($"- path: {PluginBench.Folder}\n  fail: closed\n  config: {{}}", plugins.Prove).Plugins[0].Entry;
        Assert.NotNull(running);
        Assert.Same(running, plugins.Find(again));
        plugins.Keep([again]);
        Assert.True(Assert.Single(plugins.Counts).IsUp);

        var other = Load($"- path: {PluginBench.Folder}\n  config: {{ level: 2 }}", plugins.Prove).Plugins[0].Entry;
        Assert.NotSame(running, plugins.Find(other));
        plugins.KeepThose();
        Assert.Null(plugins.Find(other));
        Assert.Same(running, plugins.Find(first));
        plugins.Keep([]);
        Assert.Empty(plugins.Counts);
    }

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    private DaemonConfiguration Load(string plugins, Func<PluginEntry, IReadOnlyList<OptionMistake>>? prove = null, string more = "")
    {
        File.WriteAllText(FilePath, $"hypervisor: {{ demo: true }}\ndomains:\n  - match: \"*\"\n{more}\nplugins:\n{plugins.Replace("FOLDER", PluginBench.Folder, StringComparison.Ordinal)}\n");
        return ConfigurationLoader.Load(FilePath, new Hashtable(), prove);
    }

    private IReadOnlyList<string> Mistakes(string plugins, string more = "", Func<PluginEntry, IReadOnlyList<OptionMistake>>? prove = null) =>
        Assert.Throws<ConfigurationMistakes>(() => Load(plugins, prove, more)).Mistakes;
}
