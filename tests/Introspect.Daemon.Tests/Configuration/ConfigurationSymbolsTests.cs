using System.Collections;
using Introspect.Daemon.Configuration;
using Introspect.Daemon.Service;
using Introspect.Hypervisor;
using Introspect.Rules.Language;

namespace Introspect.Daemon.Tests.Configuration;

/// <summary>Symbols that policies name for their rules.</summary>
public sealed class ConfigurationSymbolsTests : IDisposable
{
    private const string Rules = "rules: [ { rule: a, on: cpuid, when: rip in sym(work) } ]";

    private readonly string _folder = Directory.CreateTempSubdirectory("introspect-symbols-").FullName;

    public ConfigurationSymbolsTests()
    {
        Write("map", "ffffffff81000000 T _text\nffffffff81001000 T work\nffffffff81002000 T rest\n");
        Write("rules.yaml", Rules);
    }

    private string Main => Path.Combine(_folder, "introspect.yaml");

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Theory]
    [InlineData("map", 0xffffffff81001000)]
    [InlineData("{ file: map }", 0xffffffff81001000)]
    [InlineData("{ file: map, base: 0xffffffff9a000000 }", 0xffffffff9a001000)]
    [InlineData("{ file: map, offset: 0x1000 }", 0xffffffff81002000)]
    [InlineData("{ file: map, offset: -0x1000 }", 0xffffffff81000000)]
    public void rules_know_the_symbols_of_the_file_where_the_guest_has_them(string symbols, ulong address)
    {
        var read = Load(symbols);
        Assert.Empty(read.Warnings);
        Assert.Equal([new NumberRange(address, address + 0xfff)], Assert.Single(read.Domains).Rules!.Symbols!.RangesOf("work"));
        Assert.Equal([Path.Combine(_folder, "map")], read.Sources.Symbols);
    }

    [Fact]
    public void without_symbols_there_is_a_warning()
    {
        var read = Load(null);
        Assert.Contains("no symbols of the guest are known here", Assert.Single(read.Warnings), StringComparison.Ordinal);
        Assert.Null(read.Domains[0].Symbols);
    }

    [Theory]
    [InlineData("none", "domains.0.symbols: symbols 'FOLDER/none': there is no such file")]
    [InlineData("{ file: none }", "domains.0.symbols.file: symbols 'FOLDER/none': there is no such file")]
    [InlineData("{ file: rules.yaml }", "domains.0.symbols.file: symbols 'FOLDER/rules.yaml': line 1 is no symbol")]
    [InlineData("{ base: 5 }", "domains.0.symbols.file: is missing; name a System.map")]
    [InlineData("{ file: map, bass: 5 }", "domains.0.symbols.bass: is not known; known here: file, base, offset")]
    [InlineData("{ file: map, base: here }", "domains.0.symbols.base: 'here' is no address")]
    [InlineData("{ file: map, offset: far }", "domains.0.symbols.offset: 'far' is no number")]
    [InlineData("{ file: map, offset: 1, base: 2 }", "domains.0.symbols.offset: '1' and base say the same in two ways")]
    [InlineData("{ file: other, base: 2 }", "domains.0.symbols.base: '2' cannot be applied: the file has none of _text, _stext, startup_64")]
    public void a_mistake_is_told_with_its_key(string symbols, string told)
    {
        Write("other", "ffffffff81001000 T work\n");
        Assert.Contains(told.Replace("FOLDER", _folder, StringComparison.Ordinal), string.Join('\n', Mistakes(symbols)), StringComparison.Ordinal);
    }

    [Fact]
    public void a_name_that_the_file_does_not_have_is_a_mistake_of_the_rule_in_its_place()
    {
        Write("rules.yaml", "rules:\n  - rule: a\n    on: cpuid\n    when: rip in sym(wrok)\n");
        Assert.Equal(
            $"{Path.Combine(_folder, "rules.yaml")}:4:22: error: the guest has no symbol 'wrok'; did you mean 'work'?",
            Assert.Single(Mistakes("map")));
    }

    [Fact]
    public void symbols_without_rules_are_a_mistake()
    {
        File.WriteAllText(Main, "hypervisor: { demo: true }\ndomains: [ { match: '*', events: { cpuid: true }, symbols: map } ]");
        var mistakes = Assert.Throws<ConfigurationMistakes>(() => ConfigurationLoader.Load(Main, new Hashtable())).Mistakes;
        Assert.Contains("domains.0.symbols: are for rules, and the policy has none", Assert.Single(mistakes), StringComparison.Ordinal);
    }

    [Fact]
    public void other_symbols_are_another_policy_and_the_same_are_not()
    {
        var domain = new DomainInfo(new(1), "web", Guid.NewGuid(), CpuVendor.Vmx, 1, new(0xffff), 1 << 28, DomainState.Running, 0);
        var first = Load("map").Domains[0];
        Assert.True(PolicyComparer.AreSame(first, Load("{ file: map }").Domains[0], domain));
        Assert.False(PolicyComparer.AreSame(first, Load("{ file: map, offset: 0x10 }").Domains[0], domain));
        Assert.False(PolicyComparer.AreSame(first, Load(null).Domains[0], domain));
        Write("map", "ffffffff81000000 T _text\nffffffff81001800 T work\nffffffff81002000 T rest\n");
        File.SetLastWriteTimeUtc(Path.Combine(_folder, "map"), DateTime.UnixEpoch);
        Assert.False(PolicyComparer.AreSame(first, Load("map").Domains[0], domain));
    }

    [Fact]
    public void a_file_of_symbols_a_new_file_of_rules_and_one_that_went_are_other_contents()
    {
        Directory.CreateDirectory(Path.Combine(_folder, "rules"));
        Write("rules/a.yaml", Rules);
        var before = Load("map", "rules").Sources;
        Assert.True(before.IsSame(before.Now()));

        Write("rules/b.yaml", "rules: []");
        var more = before.Now();
        Assert.False(before.IsSame(more));
        Write("rules/.b.yaml.swp", "");
        Write("rules/b.test.yaml", "");
        Assert.True(more.IsSame(before.Now()));
        File.Delete(Path.Combine(_folder, "rules", "b.yaml"));
        Assert.True(before.IsSame(before.Now()));

        File.SetLastWriteTimeUtc(Path.Combine(_folder, "map"), DateTime.UnixEpoch);
        Assert.False(before.IsSame(before.Now()));
        Assert.Contains(Path.Combine(_folder, "rules"), before.Folders);
    }

    [Fact]
    public void what_a_wrong_configuration_names_is_known_so_that_mending_it_is_noticed()
    {
        var mistakes = Record.Exception(() => Load("later.map", "later")) as ConfigurationMistakes;
        Assert.Equal([Path.Combine(_folder, "later")], mistakes!.Sources.Rules);
        Assert.Equal([Path.Combine(_folder, "later.map")], mistakes.Sources.Symbols);
    }

    private DaemonConfiguration Load(string? symbols, string rules = "rules.yaml")
    {
        File.WriteAllText(Main, $"hypervisor: {{ demo: true }}\ndomains: [ {{ match: '*', rules: [{rules}]{(symbols is null ? "" : $", symbols: {symbols}")} }} ]");
        return ConfigurationLoader.Load(Main, new Hashtable());
    }

    private IReadOnlyList<string> Mistakes(string symbols) => Assert.Throws<ConfigurationMistakes>(() => Load(symbols)).Mistakes;

    private void Write(string name, string text) => File.WriteAllText(Path.Combine(_folder, name), text);
}
