using System.Runtime.InteropServices;

namespace Introspect.Hypervisor.Abi;

/// <summary>Commands of <c>__HYPERVISOR_event_channel_op</c> (<c>EVTCHNOP_*</c>).</summary>
internal static class EventChannelOp
{
    public const uint BindInterdomain = 0;
    public const uint BindVirq = 1;
    public const uint BindPirq = 2;
    public const uint Close = 3;
    public const uint Send = 4;
    public const uint Status = 5;
    public const uint AllocUnbound = 6;
    public const uint BindIpi = 7;
    public const uint BindVcpu = 8;
    public const uint Unmask = 9;
    public const uint Reset = 10;
    public const uint InitControl = 11;
    public const uint ExpandArray = 12;
    public const uint SetPriority = 13;

    /// <summary>Ports of the two-level layout with 64-bit words.</summary>
    public const int TwoLevelPorts = 4096;
}

/// <summary>Virtual interrupts (<c>VIRQ_*</c>).</summary>
internal static class Virq
{
    public const uint Timer = 0;
    public const uint Debug = 1;
    public const uint Console = 2;
    public const uint Count = 24;
}

/// <summary><c>struct evtchn_alloc_unbound</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct EvtchnAllocUnbound
{
    public ushort Dom;
    public ushort RemoteDom;
    public uint Port;
}

/// <summary><c>struct evtchn_bind_interdomain</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct EvtchnBindInterdomain
{
    public ushort RemoteDom;
    private ushort _pad;
    public uint RemotePort;
    public uint LocalPort;
}

/// <summary><c>struct evtchn_bind_virq</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct EvtchnBindVirq
{
    public uint Virq;
    public uint Vcpu;
    public uint Port;
}

/// <summary><c>struct evtchn_bind_ipi</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct EvtchnBindIpi
{
    public uint Vcpu;
    public uint Port;
}

/// <summary><c>struct evtchn_bind_vcpu</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct EvtchnBindVcpu
{
    public uint Port;
    public uint Vcpu;
}

/// <summary><c>struct evtchn_close</c>, <c>evtchn_send</c> and <c>evtchn_unmask</c>, which are one port each.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct EvtchnPort
{
    public uint Port;
}

/// <summary><c>struct evtchn_status</c>.</summary>
[StructLayout(LayoutKind.Explicit, Size = 24)]
internal struct EvtchnStatus
{
    [FieldOffset(0)] public ushort Dom;
    [FieldOffset(4)] public uint Port;

    /// <summary><c>EVTCHNSTAT_*</c>: 0 closed, 1 unbound, 2 interdomain, 3 pirq, 4 virq, 5 ipi.</summary>
    [FieldOffset(8)] public uint Status;
    [FieldOffset(12)] public uint Vcpu;

    /// <summary><c>u.unbound.dom</c>.</summary>
    [FieldOffset(16)] public ushort UnboundDom;

    /// <summary><c>u.interdomain.dom</c>.</summary>
    [FieldOffset(16)] public ushort InterdomainDom;

    /// <summary><c>u.interdomain.port</c>.</summary>
    [FieldOffset(20)] public uint InterdomainPort;

    /// <summary><c>u.virq</c>.</summary>
    [FieldOffset(16)] public uint Virq;
}

/// <summary><c>struct sched_shutdown</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct SchedShutdown
{
    public uint Reason;
}

/// <summary><c>struct sched_remote_shutdown</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct SchedRemoteShutdown
{
    public ushort DomainId;
    private ushort _pad;
    public uint Reason;
}

/// <summary><c>struct sched_poll</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct SchedPoll
{
    public ulong Ports;
    public uint NrPorts;
    private uint _pad;
    public ulong Timeout;
}

/// <summary><c>struct sched_pin_override</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct SchedPinOverride
{
    public int Pcpu;
}

/// <summary><c>struct xen_feature_info</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct XenFeatureInfo
{
    public uint SubmapIndex;
    public uint Submap;
}

/// <summary><c>struct vcpu_time_info</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct VcpuTimeInfo
{
    /// <summary>Odd while the rest is being written.</summary>
    public uint Version;
    private uint _pad0;
    public ulong TscTimestamp;
    public ulong SystemTime;
    public uint TscToSystemMul;
    public sbyte TscShift;
    public byte Flags;
    private fixed byte _pad1[2];
}

/// <summary><c>struct vcpu_info</c> (64-bit), 64 bytes.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct VcpuInfo
{
    public byte EvtchnUpcallPending;
    public byte EvtchnUpcallMask;
    private ushort _pad0;
    private uint _pad1;
    public ulong EvtchnPendingSel;

    /// <summary><c>arch.cr2</c>.</summary>
    public ulong ArchCr2;
    private ulong _archPad;
    public VcpuTimeInfo Time;
}

/// <summary><c>struct shared_info</c> (64-bit), 3136 bytes.</summary>
[StructLayout(LayoutKind.Explicit, Size = SizeInBytes)]
internal unsafe struct SharedInfo
{
    public const int SizeInBytes = 3136;

    /// <summary>vCPUs that have their <see cref="Abi.VcpuInfo"/> here (<c>XEN_LEGACY_MAX_VCPUS</c>).</summary>
    public const int LegacyMaxVcpus = 32;

    /// <summary><c>vcpu_info[]</c>, 64 bytes each.</summary>
    [FieldOffset(0)] public fixed byte VcpuInfo[LegacyMaxVcpus * 64];
    [FieldOffset(2048)] public fixed ulong EvtchnPending[64];
    [FieldOffset(2560)] public fixed ulong EvtchnMask[64];
    [FieldOffset(3072)] public uint WcVersion;
    [FieldOffset(3076)] public uint WcSec;
    [FieldOffset(3080)] public uint WcNsec;
    [FieldOffset(3084)] public uint WcSecHi;

    /// <summary><c>arch.max_pfn</c>.</summary>
    [FieldOffset(3088)] public ulong ArchMaxPfn;

    /// <summary><c>arch.nmi_reason</c>.</summary>
    [FieldOffset(3104)] public ulong ArchNmiReason;
}

/// <summary><c>struct vcpu_hvm_x86_32</c>, behind the mode in <c>struct vcpu_hvm_context</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct VcpuHvmX86_32
{
    public uint Eax, Ecx, Edx, Ebx, Esp, Ebp, Esi, Edi, Eip, Eflags;
    public uint Cr0, Cr3, Cr4;
    private uint _pad1;
    public ulong Efer;
    public uint CsBase, DsBase, SsBase, EsBase, TrBase;
    public uint CsLimit, DsLimit, SsLimit, EsLimit, TrLimit;
    public ushort CsAr, DsAr, SsAr, EsAr, TrAr;
    private ushort _pad2, _pad3, _pad4;
}

/// <summary><c>struct vcpu_hvm_x86_64</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct VcpuHvmX86_64
{
    public ulong Rax, Rcx, Rdx, Rbx, Rsp, Rbp, Rsi, Rdi, Rip, Rflags;
    public ulong Cr0, Cr3, Cr4, Efer;
}

/// <summary><c>struct vcpu_hvm_context</c>: the argument of VCPUOP_initialise of an HVM guest.</summary>
[StructLayout(LayoutKind.Explicit)]
internal struct VcpuHvmContext
{
    /// <summary>0: 32-bit registers, 1: 64-bit registers.</summary>
    [FieldOffset(0)] public uint Mode;
    [FieldOffset(8)] public VcpuHvmX86_32 X86_32;
    [FieldOffset(8)] public VcpuHvmX86_64 X86_64;
}
