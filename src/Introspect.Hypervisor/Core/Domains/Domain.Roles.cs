using Introspect.Hypervisor.Core.Policies;

namespace Introspect.Hypervisor.Core.Domains;

/// <summary>A domain's roles: see docs/domain-roles.md for what hangs on them.</summary>
internal sealed partial class Domain
{
    /// <summary>It may manage other domains. Given when it is created, and kept.</summary>
    public bool IsControlDomain { get; }

    /// <summary>It manages the machine.</summary>
    public bool IsHardwareDomain => Machine.Hardware.IsHeldBy(this);

    /// <summary>Both predicates in one value, which the policies take.</summary>
    public DomainRoles Roles =>
        (IsControlDomain ? DomainRoles.Control : DomainRoles.None) | (IsHardwareDomain ? DomainRoles.Hardware : DomainRoles.None);
}
