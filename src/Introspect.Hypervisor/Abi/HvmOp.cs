using System.Runtime.InteropServices;

namespace Introspect.Hypervisor.Abi;

/// <summary>Commands of <c>__HYPERVISOR_hvm_op</c> (<c>HVMOP_*</c>).</summary>
internal static class HvmOp
{
    public const uint SetParam = 0;
    public const uint GetParam = 1;
    public const uint FlushTlbs = 5;
    public const uint PagetableDying = 9;
    public const uint GetTime = 10;
    public const uint GetMemType = 15;
    public const uint SetEvtchnUpcallVector = 23;
    public const uint GuestRequestVmEvent = 24;
    public const uint AltP2m = 25;
}

/// <summary>Parameters of an HVM domain (<c>HVM_PARAM_*</c>).</summary>
internal static class HvmParam
{
    public const uint CallbackIrq = 0;
    public const uint StorePfn = 1;
    public const uint StoreEvtchn = 2;
    public const uint IoreqPfn = 5;
    public const uint BufIoreqPfn = 6;
    public const uint Viridian = 9;
    public const uint TimerMode = 10;
    public const uint HpetEnabled = 11;
    public const uint IdentPt = 12;
    public const uint AcpiSState = 14;
    public const uint Vm86Tss = 15;
    public const uint VptAlign = 16;
    public const uint ConsolePfn = 17;
    public const uint ConsoleEvtchn = 18;
    public const uint AcpiIoportsLocation = 19;
    public const uint PagingRingPfn = 27;
    public const uint MonitorRingPfn = 28;
    public const uint SharingRingPfn = 29;
    public const uint TripleFaultReason = 31;
    public const uint IoreqServerPfn = 32;
    public const uint NrIoreqServerPages = 33;
    public const uint VmGenerationIdAddr = 34;
    public const uint AltP2m = 35;
    public const uint X87FipWidth = 36;
    public const uint Vm86TssSized = 37;
    public const uint McaCap = 38;

    /// <summary>How many there are (<c>HVM_NR_PARAMS</c>).</summary>
    public const uint Count = 39;

    /// <summary>How <see cref="CallbackIrq"/> says it, in bits 56–63.</summary>
    public const int CallbackTypeShift = 56;
    public const ulong CallbackTypeGsi = 0;
    public const ulong CallbackTypePciIntx = 1;
    public const ulong CallbackTypeVector = 2;
}

/// <summary>Bits of <see cref="HvmParam.Viridian"/> (<c>HVMPV_*</c>).</summary>
[Flags]
internal enum ViridianFeatures : ulong
{
    None = 0,
    BaseFreq = 1 << 0,
    NoFreq = 1 << 1,
    TimeRefCount = 1 << 2,
    ReferenceTsc = 1 << 3,
    HcallRemoteTlbFlush = 1 << 4,
    ApicAssist = 1 << 5,
    CrashCtl = 1 << 6,
    Synic = 1 << 7,
    Stimer = 1 << 8,
    HcallIpi = 1 << 9,
    ExProcessorMasks = 1 << 10,
    NoVpLimit = 1 << 11,
    CpuHotplug = 1 << 12,
    All = (1 << 13) - 1,
}

/// <summary>Values of <see cref="HvmParam.AltP2m"/> (<c>XEN_ALTP2M_*</c>).</summary>
internal enum AltP2mMode : ulong
{
    Disabled = 0,
    Mixed = 1,
    External = 2,
    Limited = 3,
}

/// <summary><c>struct xen_hvm_param</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct HvmParamArgument
{
    public ushort Domid;
    private ushort _pad;
    public uint Index;
    public ulong Value;
}

/// <summary><c>hvmmem_type_t</c>.</summary>
internal enum HvmMemType : ushort
{
    /// <summary><c>HVMMEM_ram_rw</c>.</summary>
    RamRw = 0,

    /// <summary><c>HVMMEM_ram_ro</c>.</summary>
    RamRo = 1,

    /// <summary><c>HVMMEM_mmio_dm</c>: nothing is there, or a device.</summary>
    MmioDm = 2,
}

/// <summary><c>struct xen_hvm_get_mem_type</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct HvmGetMemType
{
    public ushort Domid;

    /// <summary>Out.</summary>
    public HvmMemType MemType;
    private uint _pad;
    public ulong Pfn;
}

/// <summary><c>struct xen_hvm_get_time</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct HvmGetTime
{
    public ulong Now;
}

/// <summary><c>struct xen_hvm_evtchn_upcall_vector</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct HvmEvtchnUpcallVector
{
    public uint Vcpu;
    public byte Vector;
}

/// <summary>Commands of <see cref="HvmOp.AltP2m"/> (<c>HVMOP_altp2m_*</c>).</summary>
internal static class AltP2mCommand
{
    /// <summary><c>HVMOP_ALTP2M_INTERFACE_VERSION</c>.</summary>
    public const uint InterfaceVersion = 1;

    /// <summary>Where <c>u.set_mem_access_multi.opaque</c> is: the one field that its continuation writes.</summary>
    public const uint OpaqueOffset = 24;

    public const uint GetDomainState = 1;
    public const uint SetDomainState = 2;
    public const uint VcpuEnableNotify = 3;
    public const uint CreateP2m = 4;
    public const uint DestroyP2m = 5;
    public const uint SwitchP2m = 6;
    public const uint SetMemAccess = 7;
    public const uint ChangeGfn = 8;
    public const uint SetMemAccessMulti = 9;
    public const uint SetSuppressVe = 10;
    public const uint GetSuppressVe = 11;
    public const uint GetMemAccess = 12;
    public const uint VcpuDisableNotify = 13;
    public const uint GetP2mIdx = 14;
    public const uint SetSuppressVeMulti = 15;
    public const uint SetVisibility = 16;
}

/// <summary><c>struct xen_hvm_altp2m_op</c>, 80 bytes.</summary>
[StructLayout(LayoutKind.Explicit, Size = 80)]
internal struct HvmAltP2mOp
{
    [FieldOffset(0)] public uint Version;
    [FieldOffset(4)] public uint Command;
    [FieldOffset(8)] public ushort Domain;

    /// <summary><c>u.domain_state.state</c>.</summary>
    [FieldOffset(16)] public byte DomainState;
    [FieldOffset(16)] public AltP2mEnableNotify EnableNotify;

    /// <summary><c>u.disable_notify.vcpu_id</c>.</summary>
    [FieldOffset(16)] public uint DisableNotifyVcpu;
    [FieldOffset(16)] public AltP2mView View;
    [FieldOffset(16)] public AltP2mMemAccess MemAccess;
    [FieldOffset(16)] public AltP2mSetMemAccessMulti SetMemAccessMulti;
    [FieldOffset(16)] public AltP2mChangeGfn ChangeGfn;
    [FieldOffset(16)] public AltP2mSuppressVe SuppressVe;
    [FieldOffset(16)] public AltP2mSuppressVeMulti SuppressVeMulti;
    [FieldOffset(16)] public AltP2mVcpuIndex VcpuP2mIndex;
    [FieldOffset(16)] public AltP2mVisibility Visibility;
}

/// <summary><c>struct xen_hvm_altp2m_vcpu_enable_notify</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct AltP2mEnableNotify
{
    public uint VcpuId;
    private uint _pad;
    public ulong Gfn;
}

/// <summary><c>struct xen_hvm_altp2m_view</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct AltP2mView
{
    public ushort View;
    public ushort DefaultAccess;
}

/// <summary><c>struct xen_hvm_altp2m_mem_access</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct AltP2mMemAccess
{
    public ushort View;
    public ushort Access;
    private uint _pad;
    public ulong Gfn;
}

/// <summary><c>struct xen_hvm_altp2m_set_mem_access_multi</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct AltP2mSetMemAccessMulti
{
    public ushort View;
    private ushort _pad;
    public uint Nr;
    public ulong Opaque;
    public ulong PfnList;
    public ulong AccessList;
}

/// <summary><c>struct xen_hvm_altp2m_change_gfn</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct AltP2mChangeGfn
{
    public ushort View;
    private ushort _pad1;
    private uint _pad2;
    public ulong OldGfn;
    public ulong NewGfn;
}

/// <summary><c>struct xen_hvm_altp2m_suppress_ve</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct AltP2mSuppressVe
{
    public ushort View;
    public byte SuppressVe;
    private byte _pad1;
    private uint _pad2;
    public ulong Gfn;
}

/// <summary><c>struct xen_hvm_altp2m_suppress_ve_multi</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct AltP2mSuppressVeMulti
{
    public ushort View;
    public byte SuppressVe;
    private byte _pad1;
    public int FirstError;
    public ulong FirstGfn;
    public ulong LastGfn;
    public ulong FirstErrorGfn;
}

/// <summary><c>struct xen_hvm_altp2m_get_vcpu_p2m_idx</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct AltP2mVcpuIndex
{
    public uint VcpuId;
    public ushort AltP2mIndex;
}

/// <summary><c>struct xen_hvm_altp2m_set_visibility</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct AltP2mVisibility
{
    public ushort AltP2mIndex;
    public byte Visible;
    private byte _pad;
}
