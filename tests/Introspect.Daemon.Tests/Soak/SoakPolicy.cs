namespace Introspect.Daemon.Tests.Soak;

/// <summary>One configuration of many that follow each other, right or wrong.</summary>
internal sealed record SoakPolicy
{
    /// <summary>Counted by a rule that every good configuration has.</summary>
    public const string EveryCpuid = "every_cpuid";

    private const string GoodDomains = """
        domains:
          - match: "soak-*"
            rules: [rules.yaml]
            events: { cpuid: true, msrs: [lstar], control_registers: [cr4], write: [0x20000], read: [0x21000] }

        """;

    /// <summary>The file of rules.</summary>
    public required string Rules { get; init; }

    /// <summary>The rule that only this configuration and those like it have; null: it must not come into force.</summary>
    public string? Marker { get; init; }

    /// <summary>What the refusal says.</summary>
    public string Mistake { get; init; } = "";

    /// <summary>The policies.</summary>
    public string Domains { get; init; } = GoodDomains;

    private int Level { get; init; } = 5;

    private string Pass { get; init; } = "pass";

    /// <summary>A configuration that must come into force.</summary>
    public static SoakPolicy Good(int number) => (number % 2) switch
    {
        0 => new() { Marker = "lstar_written", Rules = RulesWith("lstar_written, on: mov_to_msr, when: msr == LSTAR, do: count, priority: info"), Level = 1 + (number / 4 % 5) },
        _ => new() { Marker = "cr4_written", Rules = RulesWith("cr4_written, on: write_ctrlreg, when: register == CR4, do: count, priority: info"), Level = 1 + (number / 4 % 5) },
    };

    /// <summary>A configuration with a mistake: in its YAML, its keys, its rules, its plugins, or one that only a domain can tell.</summary>
    public static SoakPolicy Bad(int number) => (number % 5) switch
    {
        0 => Good(0) with { Marker = null, Domains = "domains: [ { match", Mistake = "yaml" },
        1 => Good(0) with { Marker = null, Domains = GoodDomains + "    evnets: {}\n", Mistake = "evnets" },
        2 => new() { Rules = RulesWith("wrong, on: write_ctrlreg, when: cleared(CR4.SMEPP)"), Mistake = "SMEPP" },
        3 => Good(0) with { Marker = null, Level = 11, Mistake = "level" },
        _ => Good(1) with { Marker = null, Pass = "refuse_domain", Mistake = "not to its taste" },
    };

    /// <summary>Plugins that do what they must not, and one that does nothing.</summary>
    public string Plugins(string folder) => $$"""
        plugins:
          - { path: {{folder}}, name: crashes, domains: [soak-0], timeout: 30s, config: { behaviour: crash, leaf: 0 } }
          - { path: {{folder}}, name: throws, domains: [soak-1], timeout: 30s, config: { behaviour: throw, leaf: 0 } }
          - { path: {{folder}}, name: hangs, domains: [soak-2], timeout: 200ms, config: { behaviour: hang, leaf: 0 } }
          - { path: {{folder}}, name: passes, domains: [soak-3], timeout: 30s, config: { behaviour: {{Pass}}, level: {{Level}} } }

        """;

    private static string RulesWith(string rule) => $$"""
        rules:
          - { rule: {{EveryCpuid}}, on: cpuid, priority: info, output: "CPUID at {rip}", rate: { alerts: 20/s, burst: 20 } }
          - { rule: {{rule}} }

        """;
}
