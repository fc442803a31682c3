namespace Introspect.Hypervisor.Xen;

/// <summary>libxenevtchn: event channels.</summary>
internal sealed unsafe class LibXenEvtchn
{
    private readonly delegate* unmanaged<nint, uint, nint> _open;
    private readonly delegate* unmanaged<nint, int> _close;
    private readonly delegate* unmanaged<nint, int> _descriptor;
    private readonly delegate* unmanaged<nint, uint, uint, int> _bind;
    private readonly delegate* unmanaged<nint, uint, int> _unbind;
    private readonly delegate* unmanaged<nint, uint, int> _notify;
    private readonly delegate* unmanaged<nint, int> _pending;
    private readonly delegate* unmanaged<nint, uint, int> _unmask;

    /// <summary>Opens the library.</summary>
    public LibXenEvtchn(ILibraryLoader loader)
    {
        var library = SharedLibrary.Open(loader, XenLibraryNames.EventChannel);
        _open = (delegate* unmanaged<nint, uint, nint>)library.Find("xenevtchn_open");
        _close = (delegate* unmanaged<nint, int>)library.Find("xenevtchn_close");
        _descriptor = (delegate* unmanaged<nint, int>)library.Find("xenevtchn_fd");
        _bind = (delegate* unmanaged<nint, uint, uint, int>)library.Find("xenevtchn_bind_interdomain");
        _unbind = (delegate* unmanaged<nint, uint, int>)library.Find("xenevtchn_unbind");
        _notify = (delegate* unmanaged<nint, uint, int>)library.Find("xenevtchn_notify");
        _pending = (delegate* unmanaged<nint, int>)library.Find("xenevtchn_pending");
        _unmask = (delegate* unmanaged<nint, uint, int>)library.Find("xenevtchn_unmask");
    }

    // SAFETY: the signatures are those of xenevtchn.h, which only grew since Xen 4.7; a handle is used until it is closed.

    /// <summary>Opens the device.</summary>
    /// <returns>The handle.</returns>
    public nint Open() => _open(QuietLogger.Address, 0) is var handle and not 0
        ? handle
        : throw NativeResult.Failure("opening /dev/xen/evtchn failed: run as root, on Xen as dom0, with the module xen-evtchn loaded");

    /// <summary>Closes the device, and every port that is bound through it.</summary>
    public void Close(nint handle) => _ = _close(handle);

    /// <summary>What to poll for a signal.</summary>
    public int Descriptor(nint handle) => NativeResult.Of(_descriptor(handle));

    /// <summary>Binds a domain's port.</summary>
    /// <returns>The local port.</returns>
    public int Bind(nint handle, ushort domain, uint remotePort) => NativeResult.Of(_bind(handle, domain, remotePort));

    /// <summary>Lets a port go.</summary>
    public void Unbind(nint handle, uint port) => _ = _unbind(handle, port);

    /// <summary>Signals the other end.</summary>
    public int Notify(nint handle, uint port) => NativeResult.Of(_notify(handle, port));

    /// <summary>Takes a signal; blocks until there is one.</summary>
    /// <returns>The port.</returns>
    public int Pending(nint handle) => NativeResult.Of(_pending(handle));

    /// <summary>Lets the next signal come.</summary>
    public int Unmask(nint handle, uint port) => NativeResult.Of(_unmask(handle, port));
}
