using Introspect.Hypervisor.Core.Policies;

namespace Introspect.Hypervisor.Core.Domains;

/// <summary>
/// The domain that is there from a machine's start: domain 0, which on the core is no guest but what is outside of
/// all guests. The toolstack is in it. It has control rights for good, and it is the hardware domain until another
/// one takes that over.
/// </summary>
internal sealed class BootDomain(HardwareRole hardware)
{
    /// <summary>Its number, which tells who calls and who is called, and never what somebody may do.</summary>
    public const ushort Number = 0;

    /// <summary>The roles that it has now.</summary>
    public DomainRoles Roles => DomainRoles.Control | (hardware.IsBootDomains ? DomainRoles.Hardware : DomainRoles.None);
}
