using Introspect.Hypervisor.Linux;
using Introspect.Hypervisor.Ring;

namespace Introspect.Hypervisor.Core.Host;

/// <summary>
/// One thread that waits for the eventfds which clients raise, and notifies the event channel behind each: what a
/// hypercall does for a domain of real Xen.
/// </summary>
internal sealed class Doorbells : IDisposable
{
    // How often it is looked again before the thread sleeps: a monitor under load rings again soon.
    private const int LooksBeforeSleep = 64;

    private readonly Lock _gate = new();
    private readonly EventFd _wake = EventFd.Create();
    private readonly Action<string> _log;
    private readonly Thread _thread;
    private Bell[] _bells = [];
    private bool _stopped;

    public Doorbells(Action<string> log)
    {
        _log = log;
        _thread = new Thread(Run) { IsBackground = true, Name = "introspect doorbells" };
        _thread.Start();
    }

    /// <summary>From now on a signal of <paramref name="bell"/> notifies the channel.</summary>
    public void Add(EventFd bell, EventChannel channel)
    {
        lock (_gate)
        {
            _bells = [.. _bells, new(bell, channel)];
        }

        _wake.Signal();
    }

    /// <summary>Stops listening. When this returns, the channel is not being notified any more.</summary>
    public void Remove(EventFd bell)
    {
        lock (_gate)
        {
            _bells = [.. _bells.Where(b => b.Fd != bell)];
        }

        _wake.Signal();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        lock (_gate)
        {
            _stopped = true;
        }

        _wake.Signal();
        _thread.Join();
        _wake.Dispose();
    }

    private void Run()
    {
        var poller = new EventFdPoller();
        var looks = 0;
        while (true)
        {
            EventFd[] fds;
            Bell[] bells;
            lock (_gate)
            {
                if (_stopped)
                {
                    return;
                }

                bells = _bells;
            }

            fds = [_wake, .. bells.Select(static bell => bell.Fd)];
            looks = Listen(poller, fds, bells, looks);
        }
    }

    // Listens until the set changes. The arrays are made once for each change, so that ringing allocates nothing.
    private int Listen(EventFdPoller poller, EventFd[] fds, Bell[] bells, int looks)
    {
        while (true)
        {
            try
            {
                if (!poller.Wait(fds, block: looks == 0))
                {
                    looks = Math.Max(looks - 1, 0);
                    continue;
                }
            }
            catch (ObjectDisposedException)
            {
                return looks;
            }

            if (poller.WasReady(0))
            {
                fds[0].TryConsume();
                return looks;
            }

            looks = LooksBeforeSleep;
            for (var i = 0; i < bells.Length; i++)
            {
                if (poller.WasReady(i + 1))
                {
                    Ring(bells, i);
                }
            }
        }
    }

    private void Ring(Bell[] bells, int index)
    {
        // Under the lock, so that Remove waits for a notification in flight.
        lock (_gate)
        {
            if (_bells != bells)
            {
                return;
            }

            try
            {
                if (bells[index].Fd.TryConsume())
                {
                    bells[index].Channel.Notify();
                }
            }
#pragma warning disable CA1031 // Whatever goes wrong behind one client's channel must not end the others'.
            catch (Exception failure)
#pragma warning restore CA1031
            {
                _log($"event channel {bells[index].Channel.Port} could not be notified: {failure.Message}");
            }
        }
    }

    private readonly record struct Bell(EventFd Fd, EventChannel Channel);
}
