using Introspect.Hypervisor.Linux;
using Introspect.Hypervisor.Ring;

namespace Introspect.Hypervisor.Xen;

/// <summary>The end of a domain's event channel in this domain.</summary>
internal sealed class XenEventChannel : EventChannel
{
    private readonly LibXenEvtchn _library;
    private readonly nint _handle;
    private readonly DescriptorWaiter _waiter = new();
    private readonly int _descriptor;
    private int _disposed;

    private XenEventChannel(LibXenEvtchn library, nint handle, uint port)
    {
        _library = library;
        _handle = handle;
        _descriptor = library.Descriptor(handle);
        Port = port;
    }

    /// <inheritdoc/>
    public override uint Port { get; }

    /// <summary>
    /// A wake-up is the interrupt, a change of threads and three system calls. As long as the ring is never found empty none
    /// of them is needed: until it is unmasked, the port stays silent whatever Xen sends.
    /// </summary>
    public override bool SleepIsDear => true;

    /// <summary>Binds a domain's port, through a device handle of its own.</summary>
    /// <returns>0, or a negated errno.</returns>
    public static int Bind(LibXenEvtchn library, ushort domain, uint remotePort, out EventChannel? channel)
    {
        channel = null;
        var handle = library.Open();
        var port = library.Bind(handle, domain, remotePort);
        if (port < 0)
        {
            library.Close(handle);
            return port;
        }

        channel = new XenEventChannel(library, handle, (uint)port);
        return 0;
    }

    /// <inheritdoc/>
    public override void Notify() => Check(_library.Notify(_handle, Port), "signalling");

    /// <inheritdoc/>
    public override bool Wait(TimeSpan timeout, CancellationToken cancellationToken)
    {
        if (_waiter.Wait(_descriptor, DescriptorWaiter.None, timeout, cancellationToken) != WaitResult.Signalled)
        {
            return false;
        }

        // Unmasked before the ring is looked at: what comes from now on signals anew.
        var port = Check(_library.Pending(_handle), "taking a signal of");
        Check(_library.Unmask(_handle, (uint)port), "unmasking");
        return true;
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (disposing && Interlocked.Exchange(ref _disposed, 1) == 0)
        {
            _library.Unbind(_handle, Port);
            _library.Close(_handle);
            _waiter.Dispose();
        }
    }

    private int Check(int result, string what) =>
        result >= 0 ? result : throw new HypervisorException((Errno)(-result), $"{what} event channel {Port} failed");
}
