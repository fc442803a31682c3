using Introspect.Hypervisor.Abi;

namespace Introspect.Hypervisor.Core.Platform;

/// <summary>
/// A domain's event channels in the two-level layout: ports are plain state here, pending and masked bits are in
/// the guest's shared page. Results are 0 or a negated errno, as the hypercalls give them.
/// </summary>
internal sealed partial class EventChannelTable
{
    /// <summary>Highest port by default, what a toolstack gives a domain that asks for nothing else.</summary>
    public const uint DefaultMaxPort = 1023;

    /// <summary>Ports become valid in groups of this size, as the first port of a group is given out.</summary>
    private const uint GroupSize = 64;

    private readonly Lock _lock = new();
    private readonly SharedInfoPage _shared;
    private readonly IEventChannelHost _host;
    private readonly PortEntry[] _ports;
    private readonly IEventChannelPeer?[] _peers;
    private readonly uint[] _virqPorts;
    private readonly Dictionary<uint, IEventChannelPeer> _xenEnds = [];

    // What a vCPU waits for in SCHEDOP_poll: a port, -1 for any of several, 0 for nothing.
    private readonly int[] _polled;
    private readonly uint _maxPort;
    private uint _validPorts = GroupSize;

    /// <summary>Makes an empty table.</summary>
    public EventChannelTable(ushort domainId, SharedInfoPage shared, IEventChannelHost host, uint maxPort = DefaultMaxPort)
    {
        DomainId = domainId;
        _shared = shared;
        _host = host;
        _maxPort = Math.Min(maxPort, EventChannelOp.TwoLevelPorts - 1);
        _ports = new PortEntry[_maxPort + 1];
        _peers = new IEventChannelPeer?[_maxPort + 1];
        _virqPorts = new uint[host.VcpuCount * Virq.Count];
        _polled = new int[host.VcpuCount];
        _ports[0].State = PortState.Reserved;
    }

    /// <summary>The domain whose table this is.</summary>
    public ushort DomainId { get; }

    /// <summary>Ports in use.</summary>
    public int ActivePorts
    {
        get
        {
            lock (_lock)
            {
                return _ports.Count(p => p.State is not (PortState.Closed or PortState.Reserved));
            }
        }
    }

    /// <summary>Gives out a port that a domain may bind to (<c>EVTCHNOP_alloc_unbound</c>).</summary>
    public int AllocateUnbound(ushort remoteDomain, out uint port)
    {
        lock (_lock)
        {
            var error = Allocate(out port);
            if (error == 0)
            {
                _ports[port] = new PortEntry { State = PortState.Unbound, RemoteDomain = remoteDomain };
            }

            return error;
        }
    }

    /// <summary>
    /// Gives out a port whose local end is the hypervisor (the monitor's ring has one): the guest can neither send
    /// nor close it, and what the far end sends goes to <paramref name="local"/>.
    /// </summary>
    public int AllocateUnboundForXen(ushort remoteDomain, uint vcpuId, IEventChannelPeer local, out uint port)
    {
        lock (_lock)
        {
            var error = Allocate(out port);
            if (error == 0)
            {
                _ports[port] = new PortEntry
                {
                    State = PortState.Unbound,
                    RemoteDomain = remoteDomain,
                    Vcpu = vcpuId,
                    ConsumerIsXen = 1,
                };
                _xenEnds[port] = local;
            }

            return error;
        }
    }

    /// <summary>
    /// Connects an unbound port to its far end, of which the caller is the owner: a tool, or another domain's
    /// table. Sends before this were dropped, so the caller had better take its end for signalled once.
    /// </summary>
    public int Connect(uint port, ushort remoteDomain, uint remotePort, IEventChannelPeer peer)
    {
        lock (_lock)
        {
            if (!IsValid(port) || _ports[port].State != PortState.Unbound || _ports[port].RemoteDomain != remoteDomain)
            {
                return -(int)Errno.EINVAL;
            }

            ref var entry = ref _ports[port];
            entry.State = PortState.Interdomain;
            entry.Remote = remotePort;
            _peers[port] = peer;
            return 0;
        }
    }

    /// <summary>The far end went away: the port waits for the same domain to bind again.</summary>
    public void Disconnect(uint port)
    {
        lock (_lock)
        {
            if (IsValid(port) && _ports[port].State == PortState.Interdomain)
            {
                _ports[port].State = PortState.Unbound;
                _ports[port].Remote = 0;
                _peers[port] = null;
            }
        }
    }

    /// <summary>Something arrived on a port: from its far end, or of a device of ours.</summary>
    public void Signal(uint port)
    {
        IEventChannelPeer? local;
        lock (_lock)
        {
            if (!IsValid(port) || _ports[port].State is PortState.Closed or PortState.Reserved)
            {
                return;
            }

            local = _ports[port].ConsumerIsXen != 0 ? _xenEnds.GetValueOrDefault(port) : null;
            if (local is null)
            {
                SetPending(port, _ports[port].Vcpu);
            }
        }

        local?.Signal();
    }

    /// <summary>The hypervisor signals the far end of one of its own ports.</summary>
    public void NotifyRemote(uint port)
    {
        IEventChannelPeer? peer;
        lock (_lock)
        {
            peer = IsValid(port) ? _peers[port] : null;
        }

        peer?.Signal();
    }

    /// <summary>Raises a virtual interrupt on a vCPU; nothing happens when the guest did not bind it.</summary>
    public void RaiseVirq(uint vcpuId, uint virq)
    {
        lock (_lock)
        {
            var port = _virqPorts[(vcpuId * Virq.Count) + virq];
            if (port != 0)
            {
                SetPending(port, _ports[port].Vcpu);
            }
        }
    }

    /// <summary>True when the port has an event that the guest did not clear; false also for ports that are not there.</summary>
    public bool IsPending(uint port)
    {
        lock (_lock)
        {
            return IsUsable(port) && _shared.IsPending(port);
        }
    }

    /// <summary>
    /// Starts a wait of SCHEDOP_poll. Returns 1 when a port is pending (the vCPU need not wait), 0 when it waits
    /// now, or a negated errno.
    /// </summary>
    public int StartPoll(uint vcpuId, ReadOnlySpan<uint> ports)
    {
        lock (_lock)
        {
            if (_shared.IsUpcallPending(vcpuId))
            {
                return 1;
            }

            foreach (var port in ports)
            {
                if (!IsUsable(port))
                {
                    return -(int)Errno.EINVAL;
                }

                if (_shared.IsPending(port))
                {
                    return 1;
                }
            }

            _polled[vcpuId] = ports.Length == 1 ? (int)ports[0] : -1;
            return 0;
        }
    }

    /// <summary>Ends a wait of SCHEDOP_poll: it timed out, or the vCPU was woken for another reason.</summary>
    public void EndPoll(uint vcpuId)
    {
        lock (_lock)
        {
            _polled[vcpuId] = 0;
        }
    }

    /// <summary>A vCPU has a new <c>vcpu_info</c>: everything is worth a look.</summary>
    public void OnVcpuInfoMoved(uint vcpuId)
    {
        if (_shared.SelectAll(vcpuId))
        {
            _host.Upcall(vcpuId);
        }
    }

    private uint PortLimit => Math.Min(_maxPort + 1, _shared.Layout.Ports);

    private bool IsValid(uint port) => port < Math.Min(_validPorts, _ports.Length);

    /// <summary>Valid, and within what the guest's bit arrays can hold.</summary>
    private bool IsUsable(uint port) => IsValid(port) && port < _shared.Layout.Ports;

    private int Allocate(out uint port)
    {
        for (port = 0; port < PortLimit; port++)
        {
            if (_ports[port].State == PortState.Closed)
            {
                while (port >= _validPorts)
                {
                    _validPorts += GroupSize;
                }

                return 0;
            }
        }

        port = 0;
        return -(int)Errno.ENOSPC;
    }

    private void Free(uint port)
    {
        _shared.ClearPending(port);
        _xenEnds.Remove(port);
        _peers[port] = null;
        _ports[port] = default;
    }

    private void SetPending(uint port, uint vcpuId)
    {
        if (port >= _shared.Layout.Ports || _shared.TestAndSetPending(port))
        {
            return;
        }

        if (!_shared.IsMasked(port) && _shared.Select(vcpuId, port))
        {
            _host.Upcall(vcpuId);
        }

        for (var poller = 0u; poller < _polled.Length; poller++)
        {
            if (_polled[poller] == -1 || (_polled[poller] != 0 && _polled[poller] == port))
            {
                _polled[poller] = 0;
                _host.WakePoller(poller);
            }
        }
    }
}
