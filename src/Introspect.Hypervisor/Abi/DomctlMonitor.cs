using System.Runtime.InteropServices;

namespace Introspect.Hypervisor.Abi;

/// <summary>What is asked of a ring (<c>XEN_VM_EVENT_*</c>).</summary>
internal enum VmEventOperation : uint
{
    Enable = 0,
    Disable = 1,
    Resume = 2,
    GetVersion = 3,
}

/// <summary>Which of a domain's rings is meant (<c>XEN_DOMCTL_VM_EVENT_OP_*</c>).</summary>
internal enum VmEventMode : uint
{
    None = 0,
    Paging = 1,
    Monitor = 2,
    Sharing = 3,
}

/// <summary><c>struct xen_domctl_vm_event_op</c>.</summary>
[StructLayout(LayoutKind.Explicit, Size = 12)]
internal struct DomctlVmEventOp
{
    [FieldOffset(0)] public VmEventOperation Op;
    [FieldOffset(4)] public VmEventMode Mode;

    /// <summary>Out, of ENABLE: the event channel's port.</summary>
    [FieldOffset(8)] public uint EnablePort;

    /// <summary>Out, of GET_VERSION.</summary>
    [FieldOffset(8)] public uint Version;
}

/// <summary>Monitor operations (<c>XEN_DOMCTL_MONITOR_OP_*</c>).</summary>
internal enum MonitorOperation : uint
{
    Enable = 0,
    Disable = 1,
    GetCapabilities = 2,
    EmulateEachRep = 3,
    ControlRegisters = 4,
}

/// <summary>Events that a monitor operation is about (<c>XEN_DOMCTL_MONITOR_EVENT_*</c>).</summary>
internal enum MonitorEventKind : uint
{
    WriteCtrlreg = 0,
    MovToMsr = 1,
    Singlestep = 2,
    SoftwareBreakpoint = 3,
    GuestRequest = 4,
    DebugException = 5,
    Cpuid = 6,
    PrivilegedCall = 7,
    Interrupt = 8,
    DescAccess = 9,
    EmulUnimplemented = 10,
    InguestPagefault = 11,

    /// <summary>Xen 4.17.</summary>
    VmExit = 12,

    /// <summary>Xen 4.18.</summary>
    Io = 13,
}

/// <summary><c>struct xen_domctl_monitor_op</c>.</summary>
[StructLayout(LayoutKind.Explicit, Size = 24)]
internal struct DomctlMonitorOp
{
    [FieldOffset(0)] public MonitorOperation Op;

    /// <summary>Which event; out, of GET_CAPABILITIES: one bit an event; in, of EMULATE_EACH_REP: 0 or 1.</summary>
    [FieldOffset(4)] public uint Event;

    [FieldOffset(8)] public MonitorMovToCr MovToCr;
    [FieldOffset(8)] public MonitorMovToMsr MovToMsr;
    [FieldOffset(8)] public MonitorGuestRequest GuestRequest;

    /// <summary><c>u.debug_exception.sync</c>.</summary>
    [FieldOffset(8)] public byte DebugExceptionSync;

    /// <summary><c>u.vmexit.sync</c>.</summary>
    [FieldOffset(8)] public byte VmExitSync;

    /// <summary>The core's own: 1 lets the vCPU go on after a port access's event. Xen has only sync ones, and zero here.</summary>
    [FieldOffset(8)] public byte IoAsync;
}

/// <summary><c>u.mov_to_cr</c> of <see cref="DomctlMonitorOp"/>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct MonitorMovToCr
{
    public byte Index;
    public byte Sync;
    public byte OnChangeOnly;
    private byte _pad1;
    private uint _pad2;

    /// <summary>Bits whose change is ignored.</summary>
    public ulong BitMask;

    /// <summary>The padding is not zero, which Xen refuses.</summary>
    public readonly bool HasPadding => _pad1 != 0 || _pad2 != 0;
}

/// <summary><c>u.mov_to_msr</c> of <see cref="DomctlMonitorOp"/>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct MonitorMovToMsr
{
    public uint Msr;
    public byte OnChangeOnly;
}

/// <summary><c>u.guest_request</c> of <see cref="DomctlMonitorOp"/>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct MonitorGuestRequest
{
    public byte Sync;
    public byte AllowUserspace;
}
