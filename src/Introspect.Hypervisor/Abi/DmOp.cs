using System.Runtime.InteropServices;

namespace Introspect.Hypervisor.Abi;

/// <summary>Operations of <c>__HYPERVISOR_dm_op</c> (<c>XEN_DMOP_*</c>).</summary>
internal static class DmOpCommand
{
    public const uint SetMemType = 12;
    public const uint InjectEvent = 13;
    public const uint InjectMsi = 14;
    public const uint RemoteShutdown = 16;
    public const uint NrVcpus = 20;
}

/// <summary><c>struct xen_dm_op</c>, 32 bytes.</summary>
[StructLayout(LayoutKind.Explicit, Size = SizeInBytes)]
internal struct XenDmOp
{
    public const int SizeInBytes = 32;

    [FieldOffset(0)] public uint Op;
    [FieldOffset(8)] public DmOpInjectEvent InjectEvent;

    /// <summary><c>u.remote_shutdown.reason</c>.</summary>
    [FieldOffset(8)] public uint RemoteShutdownReason;

    /// <summary><c>u.nr_vcpus.vcpus</c>.</summary>
    [FieldOffset(8)] public uint NrVcpus;
}

/// <summary><c>struct xen_dm_op_inject_event</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct DmOpInjectEvent
{
    public uint VcpuId;
    public byte Vector;

    /// <summary><c>XEN_DMOP_EVENT_*</c>: 0 external interrupt, 2 NMI, 3 hardware exception, 4 software interrupt, 5 ICEBP, 6 INT3 or INTO.</summary>
    public byte Type;
    public byte InsnLength;
    private byte _pad0;

    /// <summary>Error code, or ~0 for none.</summary>
    public uint ErrorCode;
    private uint _pad1;

    /// <summary>CR2 of a page fault, pending_dbg of a debug exception.</summary>
    public ulong Cr2;
}
