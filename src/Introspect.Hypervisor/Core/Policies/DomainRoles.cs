namespace Introspect.Hypervisor.Core.Policies;

/// <summary>What a domain is for, beside being a guest. Neither role follows from a number, nor from the other one.</summary>
[Flags]
internal enum DomainRoles
{
    /// <summary>An ordinary domain.</summary>
    None = 0,

    /// <summary>It may manage other domains (<c>is_control_domain</c>). There may be several.</summary>
    Control = 1 << 0,

    /// <summary>It manages the machine (<c>is_hardware_domain</c>). There is at most one.</summary>
    Hardware = 1 << 1,

    /// <summary>It does both, as domain 0 does where nothing is disaggregated.</summary>
    Both = Control | Hardware,
}
