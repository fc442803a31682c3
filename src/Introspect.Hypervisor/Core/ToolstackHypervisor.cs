using System.Runtime.CompilerServices;
using Introspect.Hypervisor.Core.Hypercalls;

namespace Introspect.Hypervisor.Core;

/// <summary>The seam on a toolstack's door: what the core and real Xen have in common.</summary>
public abstract class ToolstackHypervisor : IHypervisor
{
    private readonly ToolstackCalls _calls;

    private protected ToolstackHypervisor(IToolstack toolstack, HypervisorInfo info)
    {
        _calls = new(toolstack);
        Info = info;
    }

    /// <inheritdoc/>
    public HypervisorInfo Info { get; }

    /// <summary>The door, for those who build domains.</summary>
    internal IToolstack Toolstack => _calls.Toolstack;

    /// <inheritdoc/>
    public IReadOnlyList<DomainInfo> ListDomains()
    {
        var domains = new List<DomainInfo>();
        foreach (var info in _calls.ListDomains())
        {
            try
            {
                domains.Add(CoreDomain.Describe(_calls, info));
            }
            catch (HypervisorException gone) when (gone.Error == Errno.ESRCH)
            {
                // It ended while it was being described.
            }
        }

        return domains;
    }

    /// <inheritdoc/>
    public IDomain Open(DomainRef domain)
    {
        if (domain.Id is { } id)
        {
            var info = _calls.GetDomainInfo(id.Value);
            return new CoreDomain(_calls, new(info.Domain));
        }

        foreach (var candidate in ListDomains())
        {
            if (domain.Matches(candidate))
            {
                return new CoreDomain(_calls, candidate.Id);
            }
        }

        throw new HypervisorException(Errno.ESRCH, $"there is no domain '{domain}': 'introspect list' shows those there are");
    }

    /// <inheritdoc/>
    public async IAsyncEnumerable<DomainChange> WatchAsync([EnumeratorCancellation] CancellationToken cancellationToken)
    {
        var known = new Dictionary<DomainId, DomainInfo>();
        using var signal = OpenChangeSignal();
        do
        {
            foreach (var change in Compare(known, ListDomains()))
            {
                yield return change;
            }
        }
        while (await signal.WaitAsync(cancellationToken).ConfigureAwait(false));
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Dispose(true);
        GC.SuppressFinalize(this);
    }

    /// <summary>What says that domains may have changed. A change after this call is not missed.</summary>
    private protected abstract IChangeSignal OpenChangeSignal();

    /// <summary>Lets go of the hypervisor.</summary>
    /// <param name="disposing">Not by a finalizer.</param>
    protected virtual void Dispose(bool disposing)
    {
        if (disposing)
        {
            _calls.Toolstack.Dispose();
        }
    }

    // A number that came back with another UUID is another domain; one that shut down has ended, though it is still there.
    internal static List<DomainChange> Compare(Dictionary<DomainId, DomainInfo> known, IReadOnlyList<DomainInfo> now)
    {
        var changes = new List<DomainChange>();
        var present = now.ToDictionary(static domain => domain.Id);
        foreach (var before in known.Values.ToList())
        {
            if (!present.TryGetValue(before.Id, out var after) || after.Uuid != before.Uuid)
            {
                if (!HasEnded(before))
                {
                    changes.Add(new(DomainChangeKind.Ended, before));
                }

                known.Remove(before.Id);
            }
        }

        foreach (var domain in now)
        {
            if (!known.TryGetValue(domain.Id, out var before))
            {
                changes.Add(new(DomainChangeKind.Appeared, domain));
            }
            else if (before.Name != domain.Name && !HasEnded(domain))
            {
                changes.Add(new(DomainChangeKind.Renamed, domain));
            }

            if (HasEnded(domain) && (before is null || !HasEnded(before)))
            {
                changes.Add(new(DomainChangeKind.Ended, domain));
            }

            known[domain.Id] = domain;
        }

        return changes;
    }

    private static bool HasEnded(DomainInfo domain) =>
        domain.State is DomainState.PowerOff or DomainState.Reboot or DomainState.Crash or DomainState.Dying;
}
