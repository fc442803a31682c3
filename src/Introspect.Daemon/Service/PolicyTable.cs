using Introspect.Daemon.Configuration;
using Introspect.Hypervisor;

namespace Introspect.Daemon.Service;

/// <summary>
/// Which policy is for which domain: the first that matches. A number means the domain that has it when it is first seen;
/// that domain is known by its UUID from then on, since a reboot, a restore and a migration give it another number.
/// </summary>
internal sealed class PolicyTable
{
    // What a toolstack calls a domain that is still arriving.
    private const string Incoming = "--incoming";

    private readonly Dictionary<DomainId, Guid> _numbers;

    /// <summary>Makes a table.</summary>
    /// <param name="policies">The policies, in order.</param>
    /// <param name="earlier">A table of before, whose numbers mean what they meant.</param>
    public PolicyTable(IReadOnlyList<DomainPolicy> policies, PolicyTable? earlier = null)
    {
        Policies = policies;
        _numbers = earlier is null ? [] : new(earlier._numbers);
    }

    /// <summary>The policies.</summary>
    public IReadOnlyList<DomainPolicy> Policies { get; }

    /// <summary>The policy for a domain; null where there is none.</summary>
    public DomainPolicy? Find(DomainInfo domain)
    {
        var named = domain.Name.EndsWith(Incoming, StringComparison.Ordinal) ? domain with { Name = domain.Name[..^Incoming.Length] } : domain;
        return Policies.FirstOrDefault(policy => DomainNumber(policy) is { } number ? IsMeant(number, domain) : policy.Matches(named) || policy.Matches(domain));
    }

    private static DomainId? DomainNumber(DomainPolicy policy) => policy.Match == "*" ? null : DomainRef.Parse(policy.Match).Id;

    private bool IsMeant(DomainId number, DomainInfo domain)
    {
        // Without a UUID there is nothing to know it by.
        if (domain.Uuid == Guid.Empty)
        {
            return domain.Id == number;
        }

        if (!_numbers.TryGetValue(number, out var uuid))
        {
            if (domain.Id != number)
            {
                return false;
            }

            _numbers.Add(number, uuid = domain.Uuid);
        }

        return domain.Uuid == uuid;
    }
}
