using Introspect.Hypervisor.Linux;
using Introspect.Hypervisor.Ring;

namespace Introspect.Hypervisor.Core.Monitoring;

/// <summary>
/// The hypervisor's end of a monitor ring's event channel. A signal to it runs the ring's resume at once on the
/// signaller's thread, as a hypercall does; for a monitor in another process a thread waits on its behalf.
/// </summary>
internal sealed class MonitorPort : IDisposable
{
    private readonly Action _received;
    private readonly Lock _lock = new();
    private EventFd? _toMonitor;
    private EventFd? _fromMonitor;
    private CancellationTokenSource? _listening;
    private bool _closed;

    /// <param name="port">The port in the domain, which the monitor binds to.</param>
    /// <param name="received">Called for each signal of the monitor.</param>
    public MonitorPort(uint port, Action received) => (Port, _received) = (port, received);

    /// <summary>The port in the domain.</summary>
    public uint Port { get; }

    /// <summary>Signals the monitor. Before one bound the port nobody hears it.</summary>
    public void Notify()
    {
        lock (_lock)
        {
            _toMonitor?.Signal();
        }
    }

    /// <summary>Binds a monitor in this process.</summary>
    /// <returns>EINVAL: the port is bound already, or closed.</returns>
    public Errno Bind(uint localPort, out EventChannel? channel)
    {
        channel = null;
        lock (_lock)
        {
            if (_closed || _toMonitor is not null)
            {
                return Errno.EINVAL;
            }

            var signal = EventFd.Create();
            _toMonitor = signal.Duplicate();
            channel = new LocalChannel(this, localPort, signal);

            // Whoever binds finds a signal: one may have been sent when nobody was there to hear it.
            _toMonitor.Signal();
            return Errno.None;
        }
    }

    /// <summary>Binds a monitor in another process: it waits for the first descriptor and raises the second.</summary>
    /// <returns>EINVAL: the port is bound already, or closed.</returns>
    public Errno BindDescriptors(out EventFd? hypervisorToMonitor, out EventFd? monitorToHypervisor)
    {
        hypervisorToMonitor = monitorToHypervisor = null;
        lock (_lock)
        {
            if (_closed || _toMonitor is not null)
            {
                return Errno.EINVAL;
            }

            _toMonitor = EventFd.Create();
            _fromMonitor = EventFd.Create();
            _listening = new CancellationTokenSource();
            hypervisorToMonitor = _toMonitor.Duplicate();
            monitorToHypervisor = _fromMonitor.Duplicate();
            var listener = new Thread(Listen) { IsBackground = true, Name = $"event channel {Port}" };
            listener.Start((_fromMonitor, _listening.Token));
            _toMonitor.Signal();
            return Errno.None;
        }
    }

    /// <summary>The monitor's end is gone: the port can be bound again.</summary>
    public void Unbind()
    {
        lock (_lock)
        {
            _listening?.Cancel();
            _toMonitor?.Dispose();
            _listening = null;
            _toMonitor = _fromMonitor = null;
        }
    }

    /// <summary>Closes the port for good.</summary>
    public void Dispose()
    {
        lock (_lock)
        {
            _closed = true;
            Unbind();
        }
    }

    private void Listen(object? state)
    {
        var (fromMonitor, token) = ((EventFd, CancellationToken))state!;
        using (fromMonitor)
        {
            while (!token.IsCancellationRequested)
            {
                if (fromMonitor.Wait(Timeout.InfiniteTimeSpan, token))
                {
                    _received();
                }
            }
        }
    }

    private sealed class LocalChannel(MonitorPort port, uint localPort, EventFd signal) : EventChannel
    {
        private int _disposed;

        public override uint Port => localPort;

        public override void Notify()
        {
            ObjectDisposedException.ThrowIf(Volatile.Read(ref _disposed) != 0, this);
            port._received();
        }

        public override bool Wait(TimeSpan timeout, CancellationToken cancellationToken) => signal.Wait(timeout, cancellationToken);

        protected override void Dispose(bool disposing)
        {
            if (disposing && Interlocked.Exchange(ref _disposed, 1) == 0)
            {
                port.Unbind();
                signal.Dispose();
            }
        }
    }
}
