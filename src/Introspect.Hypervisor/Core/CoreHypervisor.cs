using System.Runtime.CompilerServices;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Domains;
using Introspect.Hypervisor.Core.Host;
using Introspect.Hypervisor.Core.Hypercalls;
using Introspect.Hypervisor.Core.Hypercalls.Toolstack;

namespace Introspect.Hypervisor.Core;

/// <summary>The seam on the core: its domains in this process, or in a host's behind a socket.</summary>
public sealed class CoreHypervisor : IHypervisor
{
    /// <summary>How often <see cref="WatchAsync"/> looks.</summary>
    private static readonly TimeSpan WatchInterval = TimeSpan.FromMilliseconds(250);

    private readonly ToolstackCalls _calls;
    private readonly IDisposable? _owned;

    internal CoreHypervisor(IToolstack toolstack, IDisposable? owned = null)
    {
        _calls = new(toolstack);
        _owned = owned;
        Info = new("core", Version, toolstack.Connection);
    }

    /// <inheritdoc/>
    public HypervisorInfo Info { get; }

    /// <summary>The door, for those who build domains.</summary>
    internal IToolstack Toolstack => _calls.Toolstack;

    /// <summary>The interface version that the core speaks is this release's of Xen.</summary>
    private static string Version => $"{XenInterface.CoreMajor}.{XenInterface.CoreMinor}";

    /// <summary>Connects to a host's domains.</summary>
    /// <param name="socketPath">The socket that <c>introspect lab serve</c> listens on.</param>
    /// <exception cref="HypervisorException">Nobody listens there, or the host refuses this user.</exception>
    public static CoreHypervisor Connect(string socketPath)
    {
        ArgumentException.ThrowIfNullOrEmpty(socketPath);
        return new(new HostClient(socketPath));
    }

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
        using var timer = new PeriodicTimer(WatchInterval);
        do
        {
            foreach (var change in Compare(known, ListDomains()))
            {
                yield return change;
            }
        }
        while (await Tick(timer, cancellationToken).ConfigureAwait(false));
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _calls.Toolstack.Dispose();
        _owned?.Dispose();
    }

    /// <summary>A machine of its own in this process, which lives as long as the seam on it.</summary>
    internal static CoreHypervisor CreateInProcess(MachineOptions options)
    {
        var machine = new Machine(options);
        return new(new LocalToolstack(machine, ToolstackCaller.Control), machine);
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

    private static async ValueTask<bool> Tick(PeriodicTimer timer, CancellationToken cancellationToken)
    {
        try
        {
            return await timer.WaitForNextTickAsync(cancellationToken).ConfigureAwait(false);
        }
        catch (OperationCanceledException)
        {
            return false;
        }
    }
}
