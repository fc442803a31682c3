using Introspect.Hypervisor.Core.Policies;

namespace Introspect.Hypervisor.Core.Domains;

/// <summary>
/// Who has the role of the hardware domain. The boot domain has it from the start; the domain that was named
/// (<c>hardware_dom=</c>), or that is created with the role, takes it over, once and for good: when that domain is
/// destroyed nobody has it any more.
/// </summary>
internal sealed class HardwareRole
{
    private readonly ushort? _named;
    private Domain? _holder;

    /// <param name="named">The domain that is to take the role over when it is created; null, or the boot domain's number: only one that asks for it does.</param>
    /// <exception cref="HypervisorException">EINVAL: no domain can have that number.</exception>
    public HardwareRole(DomainId? named)
    {
        if (named is { Value: >= DomainId.FirstReserved } reserved)
        {
            throw new HypervisorException(Errno.EINVAL, $"the hardware domain cannot be domain {reserved}: give a number below {DomainId.FirstReserved}");
        }

        _named = named?.Value;
    }

    /// <summary>The boot domain has the role still.</summary>
    public bool IsBootDomains => Volatile.Read(ref _holder) is null;

    /// <summary>True for the domain that took the role over.</summary>
    public bool IsHeldBy(Domain domain) => Volatile.Read(ref _holder) == domain;

    /// <summary>True when the creation of a domain is about the role: it is the one that was named, or it asks for the role.</summary>
    public bool Concerns(DomainId id, DomainRoles asked) => id.Value == _named || (asked & DomainRoles.Hardware) != 0;

    /// <summary>Says whether the role can still be taken over.</summary>
    /// <exception cref="HypervisorException">EINVAL: a domain took it over before.</exception>
    public void CheckFree(DomainId id)
    {
        if (Volatile.Read(ref _holder) is { } holder)
        {
            throw new HypervisorException(
                Errno.EINVAL,
                $"domain {id} cannot become the hardware domain: domain {holder.Id} took the role over, which can be done once");
        }
    }

    /// <summary>A domain that is being created takes the role over, so that what is made for it is made for a hardware domain.</summary>
    public void Take(Domain domain)
    {
        CheckFree(domain.Id);
        Volatile.Write(ref _holder, domain);
    }

    /// <summary>The domain that took the role over could not be created after all: the boot domain has it as before.</summary>
    public void GiveBack(Domain domain) => Interlocked.CompareExchange(ref _holder, null, domain);
}
