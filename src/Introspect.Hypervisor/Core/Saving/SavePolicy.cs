using Introspect.Hypervisor.Core.Domains;
using Introspect.Hypervisor.Core.Policies;

namespace Introspect.Hypervisor.Core.Saving;

/// <summary>Which domains can be saved.</summary>
internal static class SavePolicy
{
    /// <summary>Refuses a domain that cannot be saved as it is now.</summary>
    /// <exception cref="HypervisorException">
    /// EPERM: it is not to be saved at all; EBUSY: a monitor or forks need it where it is; EINVAL: it has ended.
    /// </exception>
    public static void Check(Domain domain)
    {
        DomainPolicies.CheckSave(domain.Id, domain.Roles);
        if (domain.IsDying || (domain.IsShutDown && domain.ShutdownReason != Abi.ShutdownReason.Suspend))
        {
            throw new HypervisorException(Errno.EINVAL, $"domain {domain.Id} has ended ({domain.ShutdownReason}), and there is nothing to save: start it again");
        }

        if (domain.ForkCount != 0)
        {
            throw new HypervisorException(Errno.EBUSY, $"domain {domain.Id} has {domain.ForkCount} forks, which live on its memory: destroy them first");
        }

        if (domain.MonitorRing is not null)
        {
            throw new HypervisorException(Errno.EBUSY, $"domain {domain.Id} is monitored, and events on their way are no part of it: end the monitor first, or use 'introspect recover' where it died");
        }
    }

    /// <summary>Refuses a domain of which a vCPU stands in the middle of something that has no place in a saved state.</summary>
    /// <exception cref="HypervisorException">EBUSY: it waited for a ring, or for another vCPU.</exception>
    public static void CheckStill(Domain domain)
    {
        foreach (var vcpu in domain.Vcpus)
        {
            if (vcpu.IsDescheduled)
            {
                throw new HypervisorException(Errno.EBUSY, $"vCPU {vcpu.Id} of domain {domain.Id} is in the middle of an exit: unpause the domain and try again");
            }
        }
    }
}
