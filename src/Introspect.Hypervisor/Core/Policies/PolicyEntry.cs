namespace Introspect.Hypervisor.Core.Policies;

/// <summary>A policy as a person reads it: docs/domain-roles.md has them all, and <c>introspect domain describe</c> shows them.</summary>
/// <param name="Name">What is decided.</param>
/// <param name="Site">Where Xen 4.17 decides it.</param>
/// <param name="IsWired">A domain that runs on the core meets it; else the core has nothing that it is about.</param>
/// <param name="Decide">The decision.</param>
internal sealed record PolicyEntry(string Name, string Site, bool IsWired, Func<DomainRoles, string> Decide)
{
    /// <summary>The roles there are, in the order of the columns of tables.</summary>
    public static IReadOnlyList<DomainRoles> Columns { get; } = [DomainRoles.None, DomainRoles.Control, DomainRoles.Hardware, DomainRoles.Both];

    /// <summary>A decision of two answers.</summary>
    public static PolicyEntry YesOrNo(string name, string site, bool isWired, Func<DomainRoles, bool> decide) =>
        new(name, site, isWired, roles => decide(roles) ? "yes" : "no");
}
