using System.Collections.Concurrent;
using System.Threading.Channels;
using Introspect.Hypervisor;

namespace Introspect.Daemon.Tests.Fakes;

/// <summary>A hypervisor whose domains a test makes, ends and refuses.</summary>
internal sealed class FakeHypervisor : IHypervisor
{
    private readonly ConcurrentDictionary<ushort, FakeDomain> _domains = new();
    private readonly ConcurrentBag<Channel<DomainChange>> _watchers = [];

    public HypervisorInfo Info { get; } = new("fake", "1.0", "in-process");

    public bool IsDisposed { get; private set; }

    public FakeDomain Add(ushort id, string name = "guest", CpuVendor vendor = CpuVendor.Vmx)
    {
        var domain = new FakeDomain(new(id), name, vendor);
        _domains[id] = domain;
        Tell(new(DomainChangeKind.Appeared, domain.GetInfo()));
        return domain;
    }

    public void End(ushort id, DomainState state = DomainState.PowerOff)
    {
        var domain = _domains[id];
        domain.State = state;
        Tell(new(DomainChangeKind.Ended, domain.GetInfo()));
    }

    public void Lose(Exception cause)
    {
        foreach (var watcher in _watchers)
        {
            watcher.Writer.TryComplete(cause);
        }
    }

    /// <summary>Called when the domains were listed, before they are given.</summary>
    public Action OnListed { get; set; } = () => { };

    public IReadOnlyList<DomainInfo> ListDomains()
    {
        DomainInfo[] domains = [.. _domains.Values.OrderBy(d => d.Id.Value).Select(d => d.GetInfo())];
        OnListed();
        return domains;
    }

    public IDomain Open(DomainRef domain) =>
        _domains.Values.FirstOrDefault(d => domain.Matches(d.GetInfo())) ?? throw new HypervisorException(Errno.ESRCH, $"no domain {domain}");

    public async IAsyncEnumerable<DomainChange> WatchAsync([System.Runtime.CompilerServices.EnumeratorCancellation] CancellationToken cancellationToken)
    {
        var changes = Channel.CreateUnbounded<DomainChange>();
        _watchers.Add(changes);
        foreach (var info in ListDomains())
        {
            var ended = info.State is DomainState.PowerOff or DomainState.Crash;
            yield return new(ended ? DomainChangeKind.Ended : DomainChangeKind.Appeared, info);
        }

        await foreach (var change in changes.Reader.ReadAllAsync(cancellationToken).ConfigureAwait(false))
        {
            yield return change;
        }
    }

    public void Dispose() => IsDisposed = true;

    private void Tell(DomainChange change)
    {
        foreach (var watcher in _watchers)
        {
            watcher.Writer.TryWrite(change);
        }
    }
}
