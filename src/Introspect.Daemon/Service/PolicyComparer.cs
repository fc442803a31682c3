using Introspect.Daemon.Configuration;

namespace Introspect.Daemon.Service;

/// <summary>Whether two policies watch the same, so that a reload touches only the domains whose policy changed.</summary>
internal static class PolicyComparer
{
    /// <summary>True when a domain watched by one need not be attached anew for the other.</summary>
    public static bool AreSame(DomainPolicy a, DomainPolicy b) =>
        a.DenyProtectionClears == b.DenyProtectionClears
        && a.Fail == b.Fail
        && a.Selection.Events.ToHashSet().SetEquals(b.Selection.Events)
        && a.Selection.Memory.ToHashSet().SetEquals(b.Selection.Memory);
}
