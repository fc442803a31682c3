using System.Runtime.Loader;
using System.Text.RegularExpressions;
using Introspect.Daemon.Plugins;
using Introspect.Daemon.Tests.Control;
using Introspect.Daemon.Tests.Service;
using Introspect.Rules.Plugins;
using Introspect.Rules.Tests.Mocks;

namespace Introspect.Daemon.Tests.Plugins;

/// <summary>The manual's steps, as a newcomer follows them: build the example, configure it, see it decide on the demo guest.</summary>
[Collection(PluginCollection.Name)]
public sealed partial class PluginManualTests(PluginManualTests.Example example) : IClassFixture<PluginManualTests.Example>
{
    private const string Manual = "plugins.md";

    [Theory]
    [InlineData("process")]
    [InlineData("none")]
    public async Task The_example_of_the_manual_decides_on_the_demo_guest_and_comes_and_goes_by_reload(string isolation)
    {
        var yaml = ConfigurationOf(isolation);
        await using var service = await RunningService.StartAsync(yaml);
        await ServiceHarness.Until(() => service.Value("introspect_rule_matches_total{domain=\"demo\",rule=\"cr3-guard\"}") > 3);
        await ServiceHarness.Until(() => service.ReadLog().Contains("Plugin cr3-guard: domain demo: ", StringComparison.Ordinal));
        Assert.Equal(1, service.Value("introspect_plugin_up{plugin=\"cr3-guard\"}"));
        Assert.Equal(0, service.Value("introspect_handler_failures_total{domain=\"demo\",handler=\"cr3-guard\"}"));

        // A mistake in its settings changes nothing.
        service.Write(service.Yaml.Replace("report_every: 1000", "report_every: 0", StringComparison.Ordinal));
        var (exitCode, _, error) = await service.Ask("reload");
        Assert.NotEqual(0, exitCode);
        Assert.Contains("plugins.0.config.report_every: '0' does not fit", error, StringComparison.Ordinal);
        var matches = service.Value("introspect_rule_matches_total{domain=\"demo\",rule=\"cr3-guard\"}");
        await ServiceHarness.Until(() => service.Value("introspect_rule_matches_total{domain=\"demo\",rule=\"cr3-guard\"}") > matches);

        // Other settings come into force without losing the domain, and the plugin goes as it came.
        service.Write(service.Yaml.Replace("deny: [0x112000]", "deny: []", StringComparison.Ordinal));
        Assert.Equal("", (await service.Ask("reload")).Error);
        Assert.Equal(1, service.Value("introspect_plugin_up{plugin=\"cr3-guard\"}"));
        service.Write(service.Yaml.Replace(yaml, "", StringComparison.Ordinal));
        Assert.Equal("", (await service.Ask("reload")).Error);
        Assert.Null(service.Value("introspect_plugin_up{plugin=\"cr3-guard\"}"));
        Assert.Equal(2, service.Value("introspect_handler_changes_total{domain=\"demo\"}"));
        Assert.True(SpinWait.SpinUntil(
            () =>
            {
                GC.Collect();
                GC.WaitForPendingFinalizers();
                return AssemblyLoadContext.All.All(context => context.Name != "plugin Cr3Guard");
            },
            TimeSpan.FromSeconds(60)));
        Assert.Equal(0, await service.StopAsync());
    }

    [Fact]
    public void The_template_is_a_plugin_as_it_is()
    {
        using var plugin = PluginInstance.Start(
            new() { Name = "my-plugin", Folder = PluginFolder.Open(example.Template), Config = new Dictionary<string, string?> { ["most_leaves"] = "8" } },
            PluginSet.ThisProgram,
            (_, _) => { });
        using var handler = plugin.CreateHandler(new MockDomain().GetInfo());
        Assert.Equal("my-plugin", handler.Name);
    }

    [Fact]
    public void The_manual_shows_the_example_as_it_is()
    {
        var manual = File.ReadAllText(Repository.PathOf("docs", Manual));
        var source = File.ReadAllText(Repository.PathOf("docs", "examples", "cr3-guard", "Cr3GuardPlugin.cs"));
        var shown = manual.Split("```csharp\n").Skip(1).Select(block => block.Split("```")[0].Trim()).ToList();
        Assert.NotEmpty(shown);
        Assert.All(shown, block => Assert.Contains(block, source, StringComparison.Ordinal));
    }

    private string ConfigurationOf(string isolation)
    {
        var yaml = File.ReadAllText(Repository.PathOf("docs", Manual)).Split("```yaml\n")[1].Split("```")[0];
        return "plugins:" + yaml.Split("plugins:")[1]
            .Replace("isolation: process", $"isolation: {isolation}", StringComparison.Ordinal)
            .Replace("path: cr3-guard", $"path: {example.Published}", StringComparison.Ordinal);
    }

    /// <summary>The example and the template, built outside of the tree by the manual's command.</summary>
    public sealed partial class Example : IDisposable
    {
        private readonly string _folder = Directory.CreateTempSubdirectory("introspect-example-").FullName;

        public Example()
        {
            Published = Publish(Repository.PathOf("docs", "examples", "cr3-guard"));
            Template = Publish(Repository.PathOf("deploy", "plugin-template"));
        }

        public string Published { get; }

        public string Template { get; }

        public void Dispose() => Directory.Delete(_folder, recursive: true);

        private string Publish(string source)
        {
            var copy = Directory.CreateDirectory(Path.Combine(_folder, Path.GetFileName(source))).FullName;
            foreach (var file in Directory.GetFiles(source))
            {
                File.Copy(file, Path.Combine(copy, Path.GetFileName(file)));
            }

            var target = Path.Combine(_folder, Path.GetFileName(source) + "-published");
            var command = PublishCommand().Match(File.ReadAllText(Repository.PathOf("docs", Manual))).Groups[1].Value
                .Replace("/usr/lib/introspect/plugins/cr3-guard", target, StringComparison.Ordinal);

            // What is installed is what was built with these tests; and nothing of the build must outlive it.
            var (exitCode, output, error) = Repository.Run(
                "dotnet",
                [.. command.Split(' '), copy, "-nodeReuse:false"],
                environment: new Dictionary<string, string> { ["IntrospectDir"] = AppContext.BaseDirectory, ["UseSharedCompilation"] = "false", ["MSBUILDDISABLENODEREUSE"] = "1" });
            Assert.True(exitCode == 0, output + error);
            return target;
        }

        [GeneratedRegex("^(?:sudo )?dotnet (publish .*)$", RegexOptions.Multiline)]
        private static partial Regex PublishCommand();
    }
}
