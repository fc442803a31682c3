using Introspect.Hypervisor.Abi;

namespace Introspect.Hypervisor.Xen;

/// <summary>Monitoring and memory access.</summary>
internal sealed unsafe partial class LibXenCtrl
{
    private delegate* unmanaged<nint, int> _vmEventVersion;
    private delegate* unmanaged<nint, uint, int> _monitorDisable;
    private delegate* unmanaged<nint, uint, int> _monitorResume;
    private delegate* unmanaged<nint, uint, uint*, int> _capabilities;
    private delegate* unmanaged<nint, uint, ushort, byte, byte, ulong, byte, int> _writeCtrlreg;
    private delegate* unmanaged<nint, uint, uint, byte, byte, int> _movToMsr;
    private delegate* unmanaged<nint, uint, byte, byte, byte, int> _guestRequest;
    private delegate* unmanaged<nint, uint, byte, byte, int> _debugExceptions;
    private delegate* unmanaged<nint, uint, byte, byte, int> _vmExit;
    private delegate* unmanaged<nint, uint, byte, int> _singleStep;
    private delegate* unmanaged<nint, uint, byte, int> _softwareBreakpoint;
    private delegate* unmanaged<nint, uint, byte, int> _cpuid;
    private delegate* unmanaged<nint, uint, byte, int> _descriptorAccess;
    private delegate* unmanaged<nint, uint, byte, int> _emulUnimplemented;
    private delegate* unmanaged<nint, uint, byte, int> _inguestPagefault;
    private delegate* unmanaged<nint, uint, byte, int> _io;
    private delegate* unmanaged<nint, uint, byte, int> _emulateEachRep;
    private delegate* unmanaged<nint, uint, uint, int> _accessRequired;
    private delegate* unmanaged<nint, uint, int, ulong, uint, int> _setAccess;
    private delegate* unmanaged<nint, uint, byte*, ulong*, uint, int> _setAccessMulti;
    private delegate* unmanaged<nint, uint, ulong, int*, int> _getAccess;

    /// <summary><c>xc_vm_event_get_version</c>.</summary>
    /// <returns>The version.</returns>
    public int GetVmEventVersion() => NativeResult.Of(_vmEventVersion(_handle));

    /// <summary><c>xc_monitor_disable</c>.</summary>
    public int DisableMonitor(ushort domain) => NativeResult.Of(_monitorDisable(_handle, domain));

    /// <summary><c>xc_monitor_resume</c>.</summary>
    public int ResumeMonitor(ushort domain) => NativeResult.Of(_monitorResume(_handle, domain));

    /// <summary><c>xc_monitor_get_capabilities</c>.</summary>
    public int GetCapabilities(ushort domain, out uint capabilities)
    {
        uint read = 0;
        var result = NativeResult.Of(_capabilities(_handle, domain, &read));
        capabilities = read;
        return result;
    }

    /// <summary><c>xc_monitor_emulate_each_rep</c>.</summary>
    public int EmulateEachRep(ushort domain, bool enable) => NativeResult.Of(_emulateEachRep(_handle, domain, Flag(enable)));

    /// <summary>Switches an event, by the function that there is for it.</summary>
    /// <returns>EOPNOTSUPP, as Xen has it: an event that this release does not know.</returns>
    public int SwitchEvent(ushort domain, in DomctlMonitorOp operation)
    {
        var enable = Flag(operation.Op == MonitorOperation.Enable);
        switch ((MonitorEventKind)operation.Event)
        {
            case MonitorEventKind.WriteCtrlreg:
                ref readonly var register = ref operation.MovToCr;
                return NativeResult.Of(_writeCtrlreg(_handle, domain, register.Index, enable, register.Sync, register.BitMask, register.OnChangeOnly));
            case MonitorEventKind.MovToMsr:
                return NativeResult.Of(_movToMsr(_handle, domain, operation.MovToMsr.Msr, enable, operation.MovToMsr.OnChangeOnly));
            case MonitorEventKind.GuestRequest:
                return NativeResult.Of(_guestRequest(_handle, domain, enable, operation.GuestRequest.Sync, operation.GuestRequest.AllowUserspace));
            case MonitorEventKind.DebugException:
                return NativeResult.Of(_debugExceptions(_handle, domain, enable, operation.DebugExceptionSync));
            case MonitorEventKind.VmExit:
                return _vmExit == null ? NotThere : NativeResult.Of(_vmExit(_handle, domain, enable, operation.VmExitSync));
            default:
                var simple = FindSimple((MonitorEventKind)operation.Event);
                return simple == null ? NotThere : NativeResult.Of(simple(_handle, domain, enable));
        }
    }

    /// <summary><c>xc_domain_set_access_required</c>.</summary>
    public int SetAccessRequired(ushort domain, bool required) => NativeResult.Of(_accessRequired(_handle, domain, Flag(required)));

    /// <summary><c>xc_set_mem_access</c>, with the access as this project numbers it.</summary>
    public int SetAccess(ushort domain, byte access, ulong first, uint count) =>
        NativeResult.Of(_setAccess(_handle, domain, _release.ToWire(access), first, count));

    /// <summary><c>xc_set_mem_access_multi</c>; the list of accesses is changed to this release's numbers.</summary>
    public int SetAccess(ushort domain, ReadOnlySpan<ulong> gfns, Span<byte> access)
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(access.Length, gfns.Length, nameof(access));
        foreach (ref var one in access)
        {
            one = _release.ToWire(one);
        }

        fixed (ulong* frames = gfns)
        fixed (byte* rights = access)
        {
            return NativeResult.Of(_setAccessMulti(_handle, domain, rights, frames, (uint)gfns.Length));
        }
    }

    /// <summary><c>xc_get_mem_access</c>.</summary>
    public int GetAccess(ushort domain, ulong gfn, out byte access)
    {
        var read = 0;
        var result = NativeResult.Of(_getAccess(_handle, domain, gfn, &read));
        access = _release.FromWire((byte)read);
        return result;
    }

    private const int NotThere = -(int)Errno.EOPNOTSUPP;

    private static byte Flag(bool value) => value ? (byte)1 : (byte)0;

    private delegate* unmanaged<nint, uint, byte, int> FindSimple(MonitorEventKind kind) => kind switch
    {
        MonitorEventKind.Singlestep => _singleStep,
        MonitorEventKind.SoftwareBreakpoint => _softwareBreakpoint,
        MonitorEventKind.Cpuid => _cpuid,
        MonitorEventKind.DescAccess => _descriptorAccess,
        MonitorEventKind.EmulUnimplemented => _emulUnimplemented,
        MonitorEventKind.InguestPagefault => _inguestPagefault,
        MonitorEventKind.Io => _io,
        _ => null,
    };

    private void FindMonitor()
    {
        _vmEventVersion = (delegate* unmanaged<nint, int>)_library.Find("xc_vm_event_get_version");
        _monitorDisable = (delegate* unmanaged<nint, uint, int>)_library.Find("xc_monitor_disable");
        _monitorResume = (delegate* unmanaged<nint, uint, int>)_library.Find("xc_monitor_resume");
        _capabilities = (delegate* unmanaged<nint, uint, uint*, int>)_library.Find("xc_monitor_get_capabilities");
        _writeCtrlreg = (delegate* unmanaged<nint, uint, ushort, byte, byte, ulong, byte, int>)_library.Find("xc_monitor_write_ctrlreg");
        _movToMsr = (delegate* unmanaged<nint, uint, uint, byte, byte, int>)_library.Find("xc_monitor_mov_to_msr");
        _guestRequest = (delegate* unmanaged<nint, uint, byte, byte, byte, int>)_library.Find("xc_monitor_guest_request");
        _debugExceptions = (delegate* unmanaged<nint, uint, byte, byte, int>)_library.Find("xc_monitor_debug_exceptions");
        _singleStep = (delegate* unmanaged<nint, uint, byte, int>)_library.Find("xc_monitor_singlestep");
        _softwareBreakpoint = (delegate* unmanaged<nint, uint, byte, int>)_library.Find("xc_monitor_software_breakpoint");
        _cpuid = (delegate* unmanaged<nint, uint, byte, int>)_library.Find("xc_monitor_cpuid");
        _descriptorAccess = (delegate* unmanaged<nint, uint, byte, int>)_library.Find("xc_monitor_descriptor_access");
        _emulUnimplemented = (delegate* unmanaged<nint, uint, byte, int>)_library.Find("xc_monitor_emul_unimplemented");
        _inguestPagefault = (delegate* unmanaged<nint, uint, byte, int>)_library.Find("xc_monitor_inguest_pagefault");
        _emulateEachRep = (delegate* unmanaged<nint, uint, byte, int>)_library.Find("xc_monitor_emulate_each_rep");
        _accessRequired = (delegate* unmanaged<nint, uint, uint, int>)_library.Find("xc_domain_set_access_required");
        _setAccess = (delegate* unmanaged<nint, uint, int, ulong, uint, int>)_library.Find("xc_set_mem_access");
        _setAccessMulti = (delegate* unmanaged<nint, uint, byte*, ulong*, uint, int>)_library.Find("xc_set_mem_access_multi");
        _getAccess = (delegate* unmanaged<nint, uint, ulong, int*, int>)_library.Find("xc_get_mem_access");
        _vmExit = _release.HasVmExit ? (delegate* unmanaged<nint, uint, byte, byte, int>)_library.Find("xc_monitor_vmexit") : null;
        _io = _release.HasIo ? (delegate* unmanaged<nint, uint, byte, int>)_library.Find("xc_monitor_io") : null;
    }
}
