using Introspect.Daemon.Configuration;
using Introspect.Daemon.Plugins;
using Introspect.Hypervisor;

namespace Introspect.Daemon.Service;

/// <summary>Whether two policies watch the same, so that a reload touches only the domains whose policy changed.</summary>
internal static class PolicyComparer
{
    /// <summary>True when a domain watched by one need not be attached anew for the other.</summary>
    public static bool AreSame(DomainPolicy a, DomainPolicy b, DomainInfo domain) =>
        a.DenyProtectionClears == b.DenyProtectionClears
        && a.Fail == b.Fail
        && (ReferenceEquals(a.Rules, b.Rules) || (a.Rules is { } rules && b.Rules is { } others && rules.HasTextsOf(others)))
        && a.Symbols == b.Symbols
        && PluginSpec.AreSameFor(domain, a.Plugins, b.Plugins)
        && a.Selection.Events.ToHashSet().SetEquals(b.Selection.Events)
        && a.Selection.Memory.ToHashSet().SetEquals(b.Selection.Memory);
}
