namespace Introspect.Hypervisor.Core.Policies;

/// <summary>
/// The one domain that profiles the machine and the others (Xen's <c>xenoprof_primary_profiler</c>). Nothing takes the
/// ownership back when the owner ends, so that only a domain gets it whose end is the machine's: the hardware domain.
/// </summary>
internal sealed class ProfilingOwner
{
    private readonly Lock _lock = new();
    private DomainId? _owner;

    /// <summary>The owner, or null.</summary>
    public DomainId? Owner
    {
        get
        {
            lock (_lock)
            {
                return _owner;
            }
        }
    }

    /// <summary>A domain begins to profile: true when it is the owner now, and false when it profiles itself alone.</summary>
    public bool Join(DomainId domain, DomainRoles roles)
    {
        lock (_lock)
        {
            if (_owner is null && DomainPolicies.MayOwnProfiling(roles))
            {
                _owner = domain;
            }

            return _owner == domain;
        }
    }
}
