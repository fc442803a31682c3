using System.Runtime.InteropServices;

namespace Introspect.Hypervisor.Abi;

/// <summary>Commands of <c>__HYPERVISOR_sysctl</c> (<c>XEN_SYSCTL_*</c>).</summary>
internal static class SysctlCommand
{
    public const uint ReadConsole = 1;
    public const uint PhysInfo = 3;
    public const uint GetDomainInfoList = 6;
}

/// <summary>Bits of <see cref="SysctlPhysInfo.Capabilities"/> (<c>XEN_SYSCTL_PHYSCAP_*</c>).</summary>
[Flags]
internal enum PhysicalCapabilities : uint
{
    None = 0,
    Hvm = 1 << 0,
    Pv = 1 << 1,
    DirectIo = 1 << 2,
    Hap = 1 << 3,
    Shadow = 1 << 4,
    IommuHapPtShare = 1 << 5,
    Vmtrace = 1 << 6,
    Vpmu = 1 << 7,
    GnttabV1 = 1 << 8,
    GnttabV2 = 1 << 9,
}

/// <summary><c>struct xen_sysctl</c> of 4.17, 136 bytes.</summary>
[StructLayout(LayoutKind.Explicit, Size = SizeInBytes)]
internal struct XenSysctl
{
    public const int SizeInBytes = 136;

    [FieldOffset(0)] public uint Command;
    [FieldOffset(4)] public uint InterfaceVersion;
    [FieldOffset(8)] public SysctlReadConsole ReadConsole;
    [FieldOffset(8)] public SysctlPhysInfo PhysInfo;
    [FieldOffset(8)] public SysctlGetDomainInfoList GetDomainInfoList;
}

/// <summary><c>struct xen_sysctl_readconsole</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct SysctlReadConsole
{
    public byte Clear;
    public byte Incremental;
    private ushort _pad;
    public uint Index;
    public ulong Buffer;
    public uint Count;
}

/// <summary><c>struct xen_sysctl_physinfo</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct SysctlPhysInfo
{
    public uint ThreadsPerCore;
    public uint CoresPerSocket;
    public uint NrCpus;
    public uint MaxCpuId;
    public uint NrNodes;
    public uint MaxNodeId;
    public uint CpuKhz;
    public PhysicalCapabilities Capabilities;
    public uint ArchCapabilities;
    private uint _pad;
    public ulong TotalPages;
    public ulong FreePages;
    public ulong ScrubPages;
    public ulong OutstandingPages;
    public ulong MaxMfn;
    public fixed uint HwCap[8];
}

/// <summary><c>struct xen_sysctl_getdomaininfolist</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct SysctlGetDomainInfoList
{
    public ushort FirstDomain;
    private ushort _pad;
    public uint MaxDomains;
    public ulong Buffer;
    public uint NumDomains;
}
