using Introspect.Hypervisor.Linux;
using Introspect.Hypervisor.Ring;

namespace Introspect.Hypervisor.Core.Monitoring;

/// <summary>
/// The hypervisor's end of a monitor ring's event channel. A signal to it runs the ring's resume at once on the
/// signaller's thread, as a hypercall does; for a monitor in another process the host's thread signals.
/// </summary>
internal sealed class MonitorPort : IDisposable
{
    private readonly Action _received;
    private readonly Lock _lock = new();
    private EventFd? _toMonitor;
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

    /// <summary>Binds the monitor's end.</summary>
    /// <param name="localPort">Its number at the monitor's.</param>
    /// <param name="channel">The monitor's end: its <c>Notify</c> runs the resume; disposing it unbinds.</param>
    /// <param name="fromHypervisor">What the hypervisor raises for it, for a monitor that waits by itself; valid until the channel is disposed.</param>
    /// <returns>EINVAL: the port is bound already, or closed.</returns>
    public Errno Bind(uint localPort, out EventChannel? channel, out EventFd? fromHypervisor)
    {
        channel = null;
        fromHypervisor = null;
        lock (_lock)
        {
            if (_closed || _toMonitor is not null)
            {
                return Errno.EINVAL;
            }

            var signal = EventFd.Create();
            _toMonitor = signal.Duplicate();
            channel = new LocalChannel(this, localPort, signal);
            fromHypervisor = signal;

            // Whoever binds finds a signal: one may have been sent when nobody was there to hear it.
            _toMonitor.Signal();
            return Errno.None;
        }
    }

    /// <summary>The monitor's end is gone: the port can be bound again.</summary>
    public void Unbind()
    {
        lock (_lock)
        {
            _toMonitor?.Dispose();
            _toMonitor = null;
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
