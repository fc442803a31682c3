using System.Runtime.InteropServices;
using Introspect.Hypervisor.Linux;

namespace Introspect.Hypervisor.Ring;

/// <summary>An event channel made of two eventfds, one for each direction, so that its ends may be in two processes.</summary>
internal sealed class EventFdChannel : EventChannel
{
    private readonly EventFdSignaller _toRemote;
    private readonly EventFd _fromRemote;
    private readonly SafeHandle? _lifeline;
    private readonly Action? _unbind;
    private int _disposed;

    /// <param name="port">Local port number.</param>
    /// <param name="toRemote">Raised by <see cref="Notify"/>; owned from now on.</param>
    /// <param name="fromRemote">Waited for; owned from now on.</param>
    /// <param name="lifeline">A socket whose hang-up means that the other end is gone; stays its owner's.</param>
    /// <param name="unbind">Called once, at disposal.</param>
    public EventFdChannel(uint port, EventFd toRemote, EventFd fromRemote, SafeHandle? lifeline = null, Action? unbind = null)
    {
        Port = port;
        _toRemote = new(toRemote);
        _fromRemote = fromRemote;
        _lifeline = lifeline;
        _unbind = unbind;
    }

    /// <inheritdoc/>
    public override uint Port { get; }

    /// <summary>The two ends of one channel.</summary>
    public static (EventFdChannel Local, EventFdChannel Remote) CreatePair(uint localPort, uint remotePort)
    {
        var up = EventFd.Create();
        var down = EventFd.Create();

        // Each end owns its own descriptors, so that one may close while the other still signals.
        return (new(localPort, up, down), new(remotePort, down.Duplicate(), up.Duplicate()));
    }

    /// <inheritdoc/>
    /// <remarks>One thread at a time.</remarks>
    public override void Notify() => _toRemote.Signal();

    /// <inheritdoc/>
    public override bool Wait(TimeSpan timeout, CancellationToken cancellationToken) =>
        _fromRemote.Wait(timeout, _lifeline, cancellationToken) switch
        {
            WaitResult.Signalled => true,
            WaitResult.HungUp => throw new HypervisorException(Errno.ENOTCONN, $"the hypervisor behind event channel {Port} is gone"),
            _ => false,
        };

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (disposing && Interlocked.Exchange(ref _disposed, 1) == 0)
        {
            _unbind?.Invoke();
            _toRemote.Dispose();
            _fromRemote.Dispose();
        }
    }
}
