using Introspect.Daemon.Configuration;
using Introspect.Hypervisor;
using Introspect.Rules.Handlers;
using Introspect.Rules.Plugins;

namespace Introspect.Daemon.Plugins;

/// <summary>A plugin in the configuration.</summary>
/// <param name="Entry">What runs.</param>
/// <param name="Domains">Which domains it gets a handler for: numbers, UUIDs, or names with <c>*</c> and <c>?</c>.</param>
/// <param name="Fail">What stands in for it when it fails.</param>
/// <param name="Budget">Time that it may take for an event before it counts as slow; null: as all handlers.</param>
internal sealed record PluginSpec(PluginEntry Entry, IReadOnlyList<string> Domains, FailPolicy Fail, TimeSpan? Budget)
{
    /// <summary>Where plugins are that are named without a path, each in a folder of its name.</summary>
    public const string DefaultFolder = "/usr/lib/introspect/plugins";

    /// <summary>True when the domain gets a handler.</summary>
    public bool Matches(DomainInfo domain) => Domains.Any(pattern => DomainPolicy.Matches(pattern, domain));

    /// <summary>True when a handler of the one can go on for the other.</summary>
    public bool IsSame(PluginSpec other) => Fail == other.Fail && Budget == other.Budget && Entry.IsSame(other.Entry);

    /// <summary>True when a domain has the same plugins by both lists.</summary>
    public static bool AreSameFor(DomainInfo domain, IReadOnlyList<PluginSpec> a, IReadOnlyList<PluginSpec> b)
    {
        var first = a.Where(spec => spec.Matches(domain)).ToList();
        var second = b.Where(spec => spec.Matches(domain)).ToList();
        return first.Count == second.Count && first.All(spec => second.Any(spec.IsSame));
    }
}
