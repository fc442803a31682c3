using Introspect.Daemon.Tests.Service;

namespace Introspect.Daemon.Tests.Control;

/// <summary>The running service, whose rules and symbols change on disk.</summary>
public sealed class RuleReloadTests
{
    [Fact]
    public async Task a_file_that_comes_into_a_folder_of_rules_is_taken_over_and_one_that_goes_is_let_go()
    {
        await using var service = await RunningService.StartAsync();
        Write(service, "rules/a.yaml", "rules: [ { rule: a, on: cpuid } ]");
        service.Write(service.Yaml.Replace("cpuid: true }", "cpuid: true }, rules: [rules]", StringComparison.Ordinal));
        await ServiceHarness.Until(() => Matches(service, "a") > 0);
        Write(service, "rules/b.yaml", "rules: [ { rule: b, on: cpuid } ]");
        await ServiceHarness.Until(() => Matches(service, "b") > 0);
        File.Delete(Path.Combine(service.Folder, "rules", "a.yaml"));
        await ServiceHarness.Until(() => Matches(service, "a") is null && Matches(service, "b") > 0);
    }

    [Fact]
    public async Task symbols_that_are_written_anew_are_those_of_the_rules()
    {
        await using var service = await RunningService.StartAsync();
        Write(service, "rules.yaml", "rules: [ { rule: where, on: cpuid, when: rip in sym(user_task), do: count }, { rule: ever, on: cpuid, do: count } ]");
        Write(service, "map", "ffffffff81000000 T user_task\n");
        service.Write(service.Yaml.Replace("cpuid: true }", "cpuid: true }, rules: [rules.yaml], symbols: map", StringComparison.Ordinal));
        await ServiceHarness.Until(() => Matches(service, "ever") > 0);
        Assert.Equal(0, Matches(service, "where"));
        Write(service, "map.new", "0000000000001000 T user_task\n");
        File.Move(Path.Combine(service.Folder, "map.new"), Path.Combine(service.Folder, "map"), overwrite: true);
        await ServiceHarness.Until(() => Matches(service, "where") > 0);
    }

    private static double? Matches(RunningService service, string rule) =>
        service.Value($"introspect_rule_matches_total{{domain=\"demo\",priority=\"warning\",rule=\"{rule}\"}}");

    private static void Write(RunningService service, string name, string text)
    {
        var path = Path.Combine(service.Folder, name);
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        File.WriteAllText(path, text);
    }
}
