using System.Runtime.InteropServices;

namespace Introspect.Hypervisor.Core.Platform;

/// <summary>What a port is bound to (the numbers of <c>EVTCHNSTAT_*</c>, and one that tells as closed).</summary>
internal enum PortState : byte
{
    /// <summary>Free.</summary>
    Closed = 0,

    /// <summary>Waits for a domain to bind to it.</summary>
    Unbound = 1,

    /// <summary>Connected to a port of another domain, or to one of a tool.</summary>
    Interdomain = 2,

    /// <summary>A virtual interrupt.</summary>
    Virq = 4,

    /// <summary>Sends to a vCPU of the domain itself.</summary>
    Ipi = 5,

    /// <summary>Port 0, never given out.</summary>
    Reserved = 6,
}

/// <summary>A port as plain state, 16 bytes.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct PortEntry
{
    public PortState State;

    /// <summary>Not 0: events on the port go to the hypervisor, not to the guest.</summary>
    public byte ConsumerIsXen;

    /// <summary>Domain that may bind, or is bound.</summary>
    public ushort RemoteDomain;

    /// <summary>Its port; the number of a virtual interrupt.</summary>
    public uint Remote;

    /// <summary>vCPU that is told.</summary>
    public uint Vcpu;
    private uint _pad;
}

/// <summary>The far end of a connected port: what a send reaches.</summary>
internal interface IEventChannelPeer
{
    /// <summary>Something was sent to this end. Called on the sender's thread, without locks held.</summary>
    void Signal();
}

/// <summary>
/// The vCPUs, as event channels need them. <see cref="Upcall"/> and <see cref="WakePoller"/> are called under the
/// table's lock: they wake somebody and return, and never wait for one who may be inside the table.
/// </summary>
internal interface IEventChannelHost
{
    /// <summary>How many vCPUs the domain has.</summary>
    uint VcpuCount { get; }

    /// <summary>The vCPU's upcall flag was just set: wake it if it blocks, and deliver the guest's callback.</summary>
    void Upcall(uint vcpuId);

    /// <summary>A port that the vCPU waits for in SCHEDOP_poll became pending: let it go on.</summary>
    void WakePoller(uint vcpuId);
}
