using Introspect.Hypervisor.Abi;

namespace Introspect.Hypervisor.Xen;

/// <summary>
/// libxenctrl: the toolstack's calls of one release of Xen. Every call returns 0 or more, or a negated errno. The
/// signatures are those of xenctrl.h, which are the same from 4.14 to 4.22 except where <see cref="XenRelease"/> says so.
/// </summary>
internal sealed unsafe partial class LibXenCtrl : IDisposable
{
    private readonly SharedLibrary _library;
    private readonly XenRelease _release;
    private readonly delegate* unmanaged<nint, int> _close;
    private readonly delegate* unmanaged<nint, uint, int> _pause;
    private readonly delegate* unmanaged<nint, uint, int> _unpause;
    private readonly delegate* unmanaged<nint, uint, int> _destroy;
    private readonly delegate* unmanaged<nint, uint, ulong, int> _setMaxMem;
    private readonly delegate* unmanaged<nint, uint, uint, void*, int> _getInfoList;
    private readonly delegate* unmanaged<nint, uint, uint, DomctlVcpuInfo*, int> _vcpuInfo;
    private readonly delegate* unmanaged<nint, uint, byte*, uint, int> _getContext;
    private readonly delegate* unmanaged<nint, uint, byte*, uint, int> _setContext;
    private readonly delegate* unmanaged<nint, uint, ushort, ushort, void*, uint, int> _getContextPartial;
    private readonly delegate* unmanaged<nint, uint, uint, ulong*, int> _getParam;
    private readonly delegate* unmanaged<nint, uint, uint, ulong, int> _setParam;
    private readonly delegate* unmanaged<nint, uint, int, byte, byte, uint, byte, ulong, int> _injectTrap;
    private readonly delegate* unmanaged<nint, uint, ulong*, int> _maximumGfn;
    private readonly delegate* unmanaged<nint, uint, nuint, uint, uint, ulong*, int> _populate;
    private readonly delegate* unmanaged<nint, uint, nuint, uint, ulong*, int> _decrease;
    private nint _handle;

    /// <summary>Opens the library of a release, and the device behind it.</summary>
    public LibXenCtrl(ILibraryLoader loader, XenRelease release)
    {
        _release = release;
        _library = SharedLibrary.Open(loader, XenLibraryNames.Control(release));
        var open = (delegate* unmanaged<nint, nint, uint, nint>)_library.Find("xc_interface_open");
        _close = (delegate* unmanaged<nint, int>)_library.Find("xc_interface_close");
        _pause = (delegate* unmanaged<nint, uint, int>)_library.Find("xc_domain_pause");
        _unpause = (delegate* unmanaged<nint, uint, int>)_library.Find("xc_domain_unpause");
        _destroy = (delegate* unmanaged<nint, uint, int>)_library.Find("xc_domain_destroy");
        _setMaxMem = (delegate* unmanaged<nint, uint, ulong, int>)_library.Find("xc_domain_setmaxmem");
        _getInfoList = (delegate* unmanaged<nint, uint, uint, void*, int>)_library.Find("xc_domain_getinfolist");
        _vcpuInfo = (delegate* unmanaged<nint, uint, uint, DomctlVcpuInfo*, int>)_library.Find("xc_vcpu_getinfo");
        _getContext = (delegate* unmanaged<nint, uint, byte*, uint, int>)_library.Find("xc_domain_hvm_getcontext");
        _setContext = (delegate* unmanaged<nint, uint, byte*, uint, int>)_library.Find("xc_domain_hvm_setcontext");
        _getContextPartial = (delegate* unmanaged<nint, uint, ushort, ushort, void*, uint, int>)_library.Find("xc_domain_hvm_getcontext_partial");
        _getParam = (delegate* unmanaged<nint, uint, uint, ulong*, int>)_library.Find("xc_hvm_param_get");
        _setParam = (delegate* unmanaged<nint, uint, uint, ulong, int>)_library.Find("xc_hvm_param_set");
        _injectTrap = (delegate* unmanaged<nint, uint, int, byte, byte, uint, byte, ulong, int>)_library.Find("xc_hvm_inject_trap");
        _maximumGfn = (delegate* unmanaged<nint, uint, ulong*, int>)_library.Find("xc_domain_maximum_gpfn");
        _populate = (delegate* unmanaged<nint, uint, nuint, uint, uint, ulong*, int>)_library.Find("xc_domain_populate_physmap");
        _decrease = (delegate* unmanaged<nint, uint, nuint, uint, ulong*, int>)_library.Find("xc_domain_decrease_reservation");
        FindMonitor();

        // Reentrant unless told otherwise: any thread may use the handle.
        _handle = open(QuietLogger.Address, QuietLogger.Address, 0);
        if (_handle == 0)
        {
            throw NativeResult.Failure("opening /dev/xen/privcmd for the toolstack failed: run as root, on Xen as dom0");
        }
    }

    /// <summary>The name under which the library was found.</summary>
    public string Soname => _library.Soname;

    // SAFETY, here and below: spans are pinned for the call and are told with their lengths; structures are locals.

    /// <summary><c>xc_domain_pause</c>.</summary>
    public int Pause(ushort domain) => NativeResult.Of(_pause(_handle, domain));

    /// <summary><c>xc_domain_unpause</c>.</summary>
    public int Unpause(ushort domain) => NativeResult.Of(_unpause(_handle, domain));

    /// <summary><c>xc_domain_destroy</c>.</summary>
    public int Destroy(ushort domain) => NativeResult.Of(_destroy(_handle, domain));

    /// <summary><c>xc_domain_setmaxmem</c>.</summary>
    public int SetMaxMem(ushort domain, ulong kibibytes) => NativeResult.Of(_setMaxMem(_handle, domain, kibibytes));

    /// <summary><c>xc_domain_getinfolist</c>: domains from a number on, in this release's layout.</summary>
    /// <returns>How many there were.</returns>
    public int GetInfoList(uint first, uint most, Span<byte> records)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(records.Length, checked((int)most * _release.DomainInfoBytes), nameof(records));
        fixed (byte* buffer = records)
        {
            return NativeResult.Of(_getInfoList(_handle, first, most, buffer));
        }
    }

    /// <summary><c>xc_vcpu_getinfo</c>.</summary>
    public int GetVcpuInfo(ushort domain, ref DomctlVcpuInfo info)
    {
        fixed (DomctlVcpuInfo* structure = &info)
        {
            return NativeResult.Of(_vcpuInfo(_handle, domain, info.Vcpu, structure));
        }
    }

    /// <summary><c>xc_domain_hvm_getcontext</c>; an empty span asks for the size.</summary>
    /// <returns>Bytes.</returns>
    public int GetContext(ushort domain, Span<byte> context)
    {
        fixed (byte* buffer = context)
        {
            return NativeResult.Of(_getContext(_handle, domain, buffer, (uint)context.Length));
        }
    }

    /// <summary><c>xc_domain_hvm_setcontext</c>.</summary>
    public int SetContext(ushort domain, Span<byte> context)
    {
        fixed (byte* buffer = context)
        {
            return NativeResult.Of(_setContext(_handle, domain, buffer, (uint)context.Length));
        }
    }

    /// <summary><c>xc_domain_hvm_getcontext_partial</c>.</summary>
    public int GetContextPartial(ushort domain, uint type, uint instance, Span<byte> record)
    {
        if (type > ushort.MaxValue || instance > ushort.MaxValue)
        {
            return -(int)Errno.EINVAL;
        }

        fixed (byte* buffer = record)
        {
            return NativeResult.Of(_getContextPartial(_handle, domain, (ushort)type, (ushort)instance, buffer, (uint)record.Length));
        }
    }

    /// <summary><c>xc_hvm_param_get</c>.</summary>
    public int GetParam(ushort domain, uint index, out ulong value)
    {
        ulong read = 0;
        var result = NativeResult.Of(_getParam(_handle, domain, index, &read));
        value = read;
        return result;
    }

    /// <summary><c>xc_hvm_param_set</c>.</summary>
    public int SetParam(ushort domain, uint index, ulong value) => NativeResult.Of(_setParam(_handle, domain, index, value));

    /// <summary><c>xc_hvm_inject_trap</c>.</summary>
    public int InjectTrap(ushort domain, in DmOpInjectEvent trap) =>
        NativeResult.Of(_injectTrap(_handle, domain, unchecked((int)trap.VcpuId), trap.Vector, trap.Type, trap.ErrorCode, trap.InsnLength, trap.Cr2));

    /// <summary><c>xc_domain_maximum_gpfn</c>.</summary>
    public int GetMaximumGfn(ushort domain, out ulong gfn)
    {
        ulong read = 0;
        var result = NativeResult.Of(_maximumGfn(_handle, domain, &read));
        gfn = read;
        return result;
    }

    /// <summary><c>xc_domain_populate_physmap</c>.</summary>
    /// <returns>How many extents were populated.</returns>
    public int Populate(ushort domain, Span<ulong> extents, uint order, uint flags)
    {
        fixed (ulong* frames = extents)
        {
            return NativeResult.Of(_populate(_handle, domain, (nuint)extents.Length, order, flags, frames));
        }
    }

    /// <summary><c>xc_domain_decrease_reservation</c>.</summary>
    /// <returns>How many extents were taken.</returns>
    public int Decrease(ushort domain, Span<ulong> extents, uint order)
    {
        fixed (ulong* frames = extents)
        {
            return NativeResult.Of(_decrease(_handle, domain, (nuint)extents.Length, order, frames));
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        var handle = Interlocked.Exchange(ref _handle, 0);
        if (handle != 0)
        {
            _ = _close(handle);
        }
    }
}
