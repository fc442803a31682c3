namespace Introspect.Hypervisor.Core.Policies;

/// <summary>
/// What hangs on a domain's roles: each decision once, by name, with the place where Xen 4.17 makes it. Decisions of
/// one kind are in one file of this class. See docs/domain-roles.md for the table.
/// </summary>
internal static partial class DomainPolicies
{
    private static bool IsHardware(DomainRoles roles) => (roles & DomainRoles.Hardware) != 0;

    private static bool IsControl(DomainRoles roles) => (roles & DomainRoles.Control) != 0;
}
