using System.Runtime.InteropServices;

namespace Introspect.Hypervisor.Core.Hypercalls.Guest;

/// <summary><c>struct sched_poll</c> of a 32-bit guest.</summary>
[StructLayout(LayoutKind.Sequential, Pack = 4)]
internal struct CompatSchedPoll
{
    public uint Ports;
    public uint NrPorts;
    public ulong Timeout;
}

/// <summary><c>struct xen_memory_map</c> of a 32-bit guest.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct CompatMemoryMap
{
    public uint NrEntries;
    public uint Buffer;
}

/// <summary><c>struct xen_add_to_physmap_batch</c> of a 32-bit guest.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct CompatAddToPhysmapBatch
{
    public ushort Domid;
    public ushort Space;
    public ushort Size;
    public ushort ForeignDomid;
    public uint Indexes;
    public uint Gpfns;
    public uint Errors;
}

/// <summary><c>struct vcpu_runstate_info</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct RunstateInfo
{
    public int State;
    public ulong EntryTime;
    public ulong Running, Runnable, Blocked, Offline;
}

/// <summary><c>struct vcpu_runstate_info</c> of a 32-bit guest.</summary>
[StructLayout(LayoutKind.Sequential, Pack = 4)]
internal struct CompatRunstateInfo
{
    public int State;
    public ulong EntryTime;
    public ulong Running, Runnable, Blocked, Offline;
}

/// <summary><c>struct vcpu_register_vcpu_info</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct RegisterVcpuInfo
{
    public ulong Mfn;
    public uint Offset;
    private uint _reserved;
}

/// <summary><c>struct vcpu_set_singleshot_timer</c>; 4 bytes shorter for 32-bit guests, who align it less.</summary>
[StructLayout(LayoutKind.Sequential, Pack = 4)]
internal struct SetSingleshotTimer
{
    public ulong TimeoutAbsolute;

    /// <summary>Bit 0: an error when the moment has passed, which Xen no longer heeds.</summary>
    public uint Flags;
}

/// <summary><c>struct gnttab_query_size</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct GrantQuerySize
{
    public ushort Domain;
    private ushort _pad0;
    public uint Frames;
    public uint MaximumFrames;
    public short Status;
    private ushort _pad1;
}

/// <summary><c>struct gnttab_get_version</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct GrantGetVersion
{
    public ushort Domain;
    private ushort _pad;
    public uint Version;
}

/// <summary><c>struct evtchn_init_control</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct EvtchnInitControl
{
    public ulong ControlGfn;
    public uint Offset;
    public uint Vcpu;
    public byte LinkBits;
    private byte _pad0;
    private ushort _pad1;
    private uint _pad2;
}
