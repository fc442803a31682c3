using System.Runtime.InteropServices;

namespace Introspect.Hypervisor.Abi;

/// <summary>Commands of <c>__HYPERVISOR_domctl</c> (<c>XEN_DOMCTL_*</c>).</summary>
internal static class DomctlCommand
{
    public const uint CreateDomain = 1;
    public const uint DestroyDomain = 2;
    public const uint PauseDomain = 3;
    public const uint UnpauseDomain = 4;
    public const uint GetDomainInfo = 5;
    public const uint MaxMem = 11;
    public const uint SetVcpuContext = 12;
    public const uint GetVcpuContext = 13;
    public const uint GetVcpuInfo = 14;
    public const uint MaxVcpus = 15;
    public const uint SetDomainHandle = 17;
    public const uint SetDebugging = 18;
    public const uint HypercallInit = 22;
    public const uint SetTimeOffset = 24;
    public const uint ResumeDomain = 27;
    public const uint SendTrigger = 28;
    public const uint GetHvmContext = 33;
    public const uint SetHvmContext = 34;
    public const uint SetAddressSize = 35;
    public const uint GetAddressSize = 36;
    public const uint DebugOp = 54;
    public const uint GetHvmContextPartial = 55;
    public const uint VmEventOp = 56;
    public const uint MemSharingOp = 57;
    public const uint GetTscInfo = 59;
    public const uint SetTscInfo = 60;
    public const uint GetPageFrameInfo3 = 61;
    public const uint SetVcpuExtState = 62;
    public const uint GetVcpuExtState = 63;
    public const uint SetAccessRequired = 64;
    public const uint AuditP2m = 65;
    public const uint SetVirqHandler = 66;
    public const uint GetVcpuMsrs = 72;
    public const uint SetVcpuMsrs = 73;
    public const uint MonitorOp = 77;
    public const uint SoftReset = 79;
    public const uint GetCpuPolicy = 82;
    public const uint SetCpuPolicy = 83;
    public const uint VmtraceOp = 84;
    public const uint GetPagingMempoolSize = 85;
    public const uint SetPagingMempoolSize = 86;
    public const uint GdbsxPauseVcpu = 1001;
    public const uint GdbsxUnpauseVcpu = 1002;
}

/// <summary>Which interface version of domctl and sysctl each release of Xen speaks.</summary>
internal static class XenInterface
{
    /// <summary>The release whose structures this room has.</summary>
    public const int CoreMajor = 4;

    /// <summary>The release whose structures this room has.</summary>
    public const int CoreMinor = 17;

    /// <summary><c>XEN_DOMCTL_INTERFACE_VERSION</c> of that release.</summary>
    public const uint CoreDomctl = 0x15;

    /// <summary><c>XEN_SYSCTL_INTERFACE_VERSION</c> of that release.</summary>
    public const uint CoreSysctl = 0x15;

    /// <summary><c>XEN_DOMCTL_INTERFACE_VERSION</c> of Xen 4.<paramref name="minor"/>; 0 for a release not known here.</summary>
    public static uint DomctlVersion(int minor) => minor switch
    {
        6 or 7 => 0xb,
        8 => 0xc,
        9 => 0xd,
        10 => 0xe,
        11 => 0x10,
        12 => 0x11,
        13 or 14 => 0x12,
        15 => 0x13,
        16 => 0x14,
        17 => 0x15,
        18 => 0x16,
        19 or 20 or 21 => 0x17,
        22 => 0x18,
        _ => 0,
    };

    /// <summary><c>XEN_SYSCTL_INTERFACE_VERSION</c> of Xen 4.<paramref name="minor"/>; 0 for a release not known here.</summary>
    public static uint SysctlVersion(int minor) => minor switch
    {
        6 => 0xc,
        7 => 0xd,
        8 => 0xe,
        9 => 0xf,
        10 => 0x10,
        11 => 0x11,
        12 or 13 => 0x12,
        14 or 15 => 0x13,
        16 => 0x14,
        17 or 18 or 19 or 20 => 0x15,
        21 or 22 => 0x16,
        _ => 0,
    };

    /// <summary><c>VM_EVENT_INTERFACE_VERSION</c> of Xen 4.<paramref name="minor"/>; 0 for a release not known here.</summary>
    public static uint VmEventVersion(int minor) => minor switch
    {
        6 or 7 => 1,
        >= 8 and <= 10 => 2,
        11 => 3,
        12 => 4,
        13 => 5,
        14 => 6,
        >= 15 and <= 22 => 7,
        _ => 0,
    };
}

/// <summary><c>struct xen_domctl</c> of 4.17, 144 bytes.</summary>
[StructLayout(LayoutKind.Explicit, Size = SizeInBytes)]
internal struct XenDomctl
{
    public const int SizeInBytes = 144;

    [FieldOffset(0)] public uint Command;
    [FieldOffset(4)] public uint InterfaceVersion;
    [FieldOffset(8)] public ushort Domain;
    [FieldOffset(16)] public DomctlCreateDomain CreateDomain;
    [FieldOffset(16)] public DomctlGetDomainInfo GetDomainInfo;
    [FieldOffset(16)] public DomctlMaxMem MaxMem;
    [FieldOffset(16)] public DomctlMaxVcpus MaxVcpus;
    [FieldOffset(16)] public DomctlVcpuInfo VcpuInfo;
    [FieldOffset(16)] public DomctlSetDomainHandle SetDomainHandle;
    [FieldOffset(16)] public DomctlSetDebugging SetDebugging;
    [FieldOffset(16)] public DomctlSetTimeOffset SetTimeOffset;
    [FieldOffset(16)] public DomctlSendTrigger SendTrigger;
    [FieldOffset(16)] public DomctlAddressSize AddressSize;
    [FieldOffset(16)] public DomctlHvmContext HvmContext;
    [FieldOffset(16)] public DomctlHvmContextPartial HvmContextPartial;
    [FieldOffset(16)] public DomctlTscInfo TscInfo;
    [FieldOffset(16)] public DomctlDebugOp DebugOp;
    [FieldOffset(16)] public DomctlVmEventOp VmEventOp;
    [FieldOffset(16)] public DomctlMonitorOp MonitorOp;
    [FieldOffset(16)] public DomctlSetAccessRequired AccessRequired;
    [FieldOffset(16)] public DomctlGdbsxPauseVcpu GdbsxPauseVcpu;
}

/// <summary>Bits of <see cref="DomctlCreateDomain.Flags"/> (<c>XEN_DOMCTL_CDF_*</c>).</summary>
[Flags]
internal enum CreateDomainFlags : uint
{
    None = 0,
    Hvm = 1 << 0,
    Hap = 1 << 1,
    S3Integrity = 1 << 2,
    OosOff = 1 << 3,
    XsDomain = 1 << 4,
    Iommu = 1 << 5,
    NestedVirt = 1 << 6,
    Vpmu = 1 << 7,
    All = (1 << 8) - 1,
}

/// <summary>Bits of <see cref="ArchDomainConfig.EmulationFlags"/> (<c>XEN_X86_EMU_*</c>).</summary>
[Flags]
internal enum X86EmulationFlags : uint
{
    None = 0,
    Lapic = 1 << 0,
    Hpet = 1 << 1,
    Pm = 1 << 2,
    Rtc = 1 << 3,
    IoApic = 1 << 4,
    Pic = 1 << 5,
    Vga = 1 << 6,
    Iommu = 1 << 7,
    Pit = 1 << 8,
    UsePirq = 1 << 9,
    Vpci = 1 << 10,
    All = (1 << 11) - 1,
}

/// <summary><c>struct xen_arch_domainconfig</c> (x86).</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct ArchDomainConfig
{
    public X86EmulationFlags EmulationFlags;
    public uint MiscFlags;
}

/// <summary><c>struct xen_domctl_createdomain</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct DomctlCreateDomain
{
    public uint SsidRef;
    public fixed byte Handle[16];
    public CreateDomainFlags Flags;
    public uint IommuOpts;
    public uint MaxVcpus;
    public uint MaxEvtchnPort;
    public int MaxGrantFrames;
    public int MaxMaptrackFrames;
    public uint GrantOpts;
    public uint VmtraceSize;
    public uint CpupoolId;
    public ArchDomainConfig Arch;
}

/// <summary>Bits of <see cref="DomctlGetDomainInfo.Flags"/> (<c>XEN_DOMINF_*</c>); the shutdown code is in bits 16–23.</summary>
[Flags]
internal enum DomainInfoFlags : uint
{
    None = 0,
    Dying = 1 << 0,
    HvmGuest = 1 << 1,
    Shutdown = 1 << 2,
    Paused = 1 << 3,
    Blocked = 1 << 4,
    Running = 1 << 5,
    Debugged = 1 << 6,
    XsDomain = 1 << 7,
    Hap = 1 << 8,
}

/// <summary><c>struct xen_domctl_getdomaininfo</c> of 4.17.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct DomctlGetDomainInfo
{
    public const int ShutdownShift = 16;
    public const uint ShutdownMask = 255;

    /// <summary><see cref="MaxVcpuId"/> of a domain without vCPUs.</summary>
    public const uint InvalidMaxVcpuId = ~0u;

    public ushort Domain;
    private ushort _pad1;
    public DomainInfoFlags Flags;
    public ulong TotPages;
    public ulong MaxPages;
    public ulong OutstandingPages;
    public ulong ShrPages;
    public ulong PagedPages;
    public ulong SharedInfoFrame;
    public ulong CpuTime;
    public uint NrOnlineVcpus;
    public uint MaxVcpuId;
    public uint SsidRef;
    public fixed byte Handle[16];
    public uint Cpupool;
    public byte GpaddrBits;

    /// <summary>The core's own, in what is padding on Xen: pauses by control tools that were not undone.</summary>
    public byte PauseCount;
    private fixed byte _pad2[6];
    public ArchDomainConfig ArchConfig;

    /// <summary>The shutdown code; meaningful with <see cref="DomainInfoFlags.Shutdown"/>.</summary>
    public readonly ShutdownReason ShutdownReason => (ShutdownReason)(((uint)Flags >> ShutdownShift) & ShutdownMask);
}

/// <summary><c>struct xen_domctl_max_mem</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct DomctlMaxMem
{
    public ulong MaxMemKb;
}

/// <summary><c>struct xen_domctl_max_vcpus</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct DomctlMaxVcpus
{
    public uint Max;
}

/// <summary><c>struct xen_domctl_getvcpuinfo</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct DomctlVcpuInfo
{
    public uint Vcpu;
    public byte Online;
    public byte Blocked;
    public byte Running;
    private byte _pad;
    public ulong CpuTime;
    public uint Cpu;
}

/// <summary><c>struct xen_domctl_setdomainhandle</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct DomctlSetDomainHandle
{
    public fixed byte Handle[16];
}

/// <summary><c>struct xen_domctl_setdebugging</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct DomctlSetDebugging
{
    public byte Enable;
}

/// <summary><c>struct xen_domctl_settimeoffset</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct DomctlSetTimeOffset
{
    public long TimeOffsetSeconds;
}

/// <summary><c>struct xen_domctl_sendtrigger</c>; triggers: 0 NMI, 1 reset, 2 INIT, 3 power, 4 sleep.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct DomctlSendTrigger
{
    public uint Trigger;
    public uint Vcpu;
}

/// <summary><c>struct xen_domctl_address_size</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct DomctlAddressSize
{
    public uint Size;
}

/// <summary><c>struct xen_domctl_hvmcontext</c>; the buffer's handle 0 asks for the size.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct DomctlHvmContext
{
    public uint Size;
    private uint _pad;
    public ulong Buffer;
}

/// <summary><c>struct xen_domctl_hvmcontext_partial</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct DomctlHvmContextPartial
{
    public uint Type;
    public uint Instance;
    public ulong BufferSize;
    public ulong Buffer;
}

/// <summary><c>struct xen_domctl_tsc_info</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct DomctlTscInfo
{
    public uint TscMode;
    public uint GuestTscKhz;
    public uint Incarnation;
    private uint _pad;
    public ulong ElapsedNsec;
}

/// <summary><c>struct xen_domctl_debug_op</c>; operations: 0 single-step off, 1 single-step on.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct DomctlDebugOp
{
    public uint Op;
    public uint Vcpu;
}

/// <summary><c>struct xen_domctl_set_access_required</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct DomctlSetAccessRequired
{
    public byte AccessRequired;
}

/// <summary><c>struct xen_domctl_gdbsx_pauseunp_vcpu</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct DomctlGdbsxPauseVcpu
{
    public uint Vcpu;
}
