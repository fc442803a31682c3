using Introspect.Hypervisor.Core;
using Introspect.Hypervisor.Linux;

namespace Introspect.Hypervisor.Xen;

/// <summary>
/// Tells when domains come, end and go: xenstored says so at two special paths. A domain is introduced when it is
/// built, before the toolstack lets it run.
/// </summary>
internal sealed class XenDomainWatch : IChangeSignal
{
    // A look now and then though nothing was told: xenstored may have been started anew, and knows of no watches then.
    private static readonly TimeSpan LookAnyway = TimeSpan.FromSeconds(5);
    private static readonly string[] Paths = ["@introduceDomain", "@releaseDomain"];

    private readonly LibXenStore.Connection _store;
    private readonly DescriptorWaiter _waiter = new();

    public XenDomainWatch(LibXenStore library)
    {
        _store = library.Open();
        try
        {
            foreach (var path in Paths)
            {
                _store.Watch(path);
            }

        }
        catch
        {
            _store.Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    public async ValueTask<bool> WaitAsync(CancellationToken cancellationToken)
    {
        // A thread of its own: it sleeps in the kernel for seconds.
        await Task.Factory.StartNew(
            () => Wait(cancellationToken), CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default).ConfigureAwait(false);
        return !cancellationToken.IsCancellationRequested;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _store.Dispose();
        _waiter.Dispose();
    }

    private void Wait(CancellationToken cancellationToken)
    {
        if (_waiter.Wait(_store.Descriptor, DescriptorWaiter.None, LookAnyway, cancellationToken) != WaitResult.Signalled)
        {
            return;
        }

        while (_store.TryTakeWatch())
        {
        }
    }
}
