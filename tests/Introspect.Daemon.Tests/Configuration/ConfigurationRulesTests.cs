using System.Collections;
using Introspect.Daemon.Configuration;

namespace Introspect.Daemon.Tests.Configuration;

/// <summary>Files of rules that a configuration names.</summary>
public sealed class ConfigurationRulesTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("introspect-config-").FullName;

    private string Main => Path.Combine(_folder, "introspect.yaml");

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public void files_and_folders_are_found_from_where_the_configuration_is()
    {
        Directory.CreateDirectory(Path.Combine(_folder, "rules"));
        Write("rules/a.yaml", "rules: [ { rule: a, on: cpuid } ]");
        Write("own.yaml", "rules: [ { rule: b, on: cpuid }, { rule: a, override: replace, enabled: false } ]");
        Write("introspect.yaml", "hypervisor: { demo: true }\ndomains: [ { match: '*', rules: [rules, own.yaml] } ]");
        var read = ConfigurationLoader.Load(Main, new Hashtable());
        var policy = Assert.Single(read.Domains);
        Assert.Equal(["b"], policy.Rules!.Names);
        Assert.True(policy.Selection.IsEmpty);
        Assert.Equal([Main, Path.Combine(_folder, "rules", "a.yaml"), Path.Combine(_folder, "own.yaml")], read.Files);
        Assert.Empty(read.Warnings);
    }

    [Fact]
    public void mistakes_in_rules_are_told_with_those_of_the_configuration()
    {
        Write("a.yaml", "rules:\n  - rule: a\n    on: cpiud\n");
        Write("introspect.yaml", "hypervisor: { demo: true }\ndomains: [ { match: x, rules: [a.yaml, none.yaml] }, { match: y, rules: a.yaml, events: { cpiud: true } } ]");
        var mistakes = Assert.Throws<ConfigurationMistakes>(() => ConfigurationLoader.Load(Main, new Hashtable())).Mistakes;
        Assert.Equal(3, mistakes.Count);
        Assert.StartsWith($"{Path.Combine(_folder, "a.yaml")}:3:9: error: 'cpiud' is no event", mistakes.Single(m => m.Contains("is no event", StringComparison.Ordinal)), StringComparison.Ordinal);
        Assert.Contains(mistakes, m => m.Contains("none.yaml", StringComparison.Ordinal) && m.Contains("there is no such file", StringComparison.Ordinal));
        Assert.Contains(mistakes, m => m.Contains("domains.1.events.cpiud", StringComparison.Ordinal));
    }

    private void Write(string name, string text) => File.WriteAllText(Path.Combine(_folder, name), text);
}
