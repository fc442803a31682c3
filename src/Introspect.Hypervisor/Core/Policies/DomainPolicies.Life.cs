namespace Introspect.Hypervisor.Core.Policies;

/// <summary>Saving, shutting down, profiling.</summary>
internal static partial class DomainPolicies
{
    /// <summary>
    /// It can be saved to a file, and restored from one. What the hardware domain knows of its machine (real
    /// interrupts, identity-mapped pages, its TSC) is true on that machine alone.
    /// </summary>
    public static bool MaySave(DomainRoles roles) => !IsHardware(roles);

    /// <summary>It can go to another machine.</summary>
    public static bool MayMigrate(DomainRoles roles) => MaySave(roles);

    /// <summary>Refuses to save the hardware domain.</summary>
    /// <exception cref="HypervisorException">EPERM: it is the hardware domain.</exception>
    public static void CheckSave(DomainId domain, DomainRoles roles)
    {
        if (!MaySave(roles))
        {
            throw new HypervisorException(
                Errno.EPERM,
                $"domain {domain} is the hardware domain, which belongs to its machine and cannot be saved or migrated: shut it down instead");
        }
    }

    /// <summary>Its shutdown is the machine's (<c>domain_shutdown</c>, <c>hwdom_shutdown</c>).</summary>
    public static bool EndsMachine(DomainRoles roles) => IsHardware(roles);

    /// <summary>It may become the owner of the machine's profiling. See <see cref="ProfilingOwner"/>.</summary>
    public static bool MayOwnProfiling(DomainRoles roles) => IsHardware(roles);
}
