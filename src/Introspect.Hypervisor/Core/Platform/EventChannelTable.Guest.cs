using Introspect.Hypervisor.Abi;

namespace Introspect.Hypervisor.Core.Platform;

/// <summary>What the guest itself asks of its event channels.</summary>
internal sealed partial class EventChannelTable
{
    private const uint XenoprofVirq = 7;
    private const uint XenpmuVirq = 13;

    /// <summary>Connects a new port to an unbound one of another domain, or of this one (<c>EVTCHNOP_bind_interdomain</c>).</summary>
    public int BindInterdomain(EventChannelTable remote, uint remotePort, out uint port)
    {
        // The table of the lower domain number is locked first, so that two domains that bind to each other go on.
        var (first, second) = DomainId <= remote.DomainId ? (this, remote) : (remote, this);
        lock (first._lock)
        {
            lock (second._lock)
            {
                var error = Allocate(out port);
                if (error != 0)
                {
                    return error;
                }

                // Taken before the far end is looked at: a port cannot be bound to itself.
                _ports[port].State = PortState.Reserved;
                error = remote.Connect(remotePort, DomainId, port, new TablePeer(this, port));
                if (error != 0)
                {
                    _ports[port] = default;
                    return error;
                }

                _ports[port] = new PortEntry
                {
                    State = PortState.Interdomain,
                    RemoteDomain = remote.DomainId,
                    Remote = remotePort,
                };
                _peers[port] = new TablePeer(remote, remotePort);
                SetPending(port, 0);
                return 0;
            }
        }
    }

    /// <summary>Binds a virtual interrupt of a vCPU (<c>EVTCHNOP_bind_virq</c>).</summary>
    public int BindVirq(uint virq, uint vcpuId, out uint port)
    {
        port = 0;
        if (virq >= Virq.Count || (IsGlobal(virq) && vcpuId != 0))
        {
            return -(int)Errno.EINVAL;
        }

        if (vcpuId >= _host.VcpuCount)
        {
            return -(int)Errno.ENOENT;
        }

        lock (_lock)
        {
            ref var bound = ref _virqPorts[(vcpuId * Virq.Count) + virq];
            if (bound != 0)
            {
                return -(int)Errno.EEXIST;
            }

            var error = Allocate(out port);
            if (error == 0)
            {
                _ports[port] = new PortEntry { State = PortState.Virq, Remote = virq, Vcpu = vcpuId };
                bound = port;
            }

            return error;
        }
    }

    /// <summary>Gives out a port that sends to a vCPU of the domain (<c>EVTCHNOP_bind_ipi</c>).</summary>
    public int BindIpi(uint vcpuId, out uint port)
    {
        port = 0;
        if (vcpuId >= _host.VcpuCount)
        {
            return -(int)Errno.ENOENT;
        }

        lock (_lock)
        {
            var error = Allocate(out port);
            if (error == 0)
            {
                _ports[port] = new PortEntry { State = PortState.Ipi, Vcpu = vcpuId };
            }

            return error;
        }
    }

    /// <summary>Sends an event (<c>EVTCHNOP_send</c>).</summary>
    public int Send(uint port)
    {
        IEventChannelPeer? peer;
        lock (_lock)
        {
            if (!IsValid(port) || _ports[port].ConsumerIsXen != 0)
            {
                return -(int)Errno.EINVAL;
            }

            switch (_ports[port].State)
            {
                case PortState.Interdomain:
                    peer = _peers[port];
                    break;
                case PortState.Ipi:
                    SetPending(port, _ports[port].Vcpu);
                    return 0;
                case PortState.Unbound:
                    return 0;
                default:
                    return -(int)Errno.EINVAL;
            }
        }

        // The far end may be another domain's table: never under our own lock.
        peer?.Signal();
        return 0;
    }

    /// <summary>Closes a port (<c>EVTCHNOP_close</c>). <paramref name="byGuest"/>: the hypervisor's own are out of reach.</summary>
    public int Close(uint port, bool byGuest)
    {
        IEventChannelPeer? peer;
        lock (_lock)
        {
            if (!IsValid(port) || (byGuest && _ports[port].ConsumerIsXen != 0)
                || _ports[port].State is PortState.Closed or PortState.Reserved)
            {
                return -(int)Errno.EINVAL;
            }

            if (_ports[port].State == PortState.Virq)
            {
                var vcpuId = IsGlobal(_ports[port].Remote) ? 0 : _ports[port].Vcpu;
                _virqPorts[(vcpuId * Virq.Count) + _ports[port].Remote] = 0;
            }

            peer = _peers[port];
            Free(port);
        }

        (peer as TablePeer)?.Disconnect();
        (peer as IClosablePeer)?.OnClosed();
        return 0;
    }

    /// <summary>Tells what a port is (<c>EVTCHNOP_status</c>); <see cref="EvtchnStatus.Port"/> is the question.</summary>
    public int Query(ref EvtchnStatus status)
    {
        lock (_lock)
        {
            if (!IsValid(status.Port))
            {
                return -(int)Errno.EINVAL;
            }

            ref var entry = ref _ports[status.Port];
            if (entry.ConsumerIsXen != 0)
            {
                return -(int)Errno.EACCES;
            }

            status.Vcpu = entry.Vcpu;
            status.Status = entry.State == PortState.Reserved ? (uint)PortState.Closed : (uint)entry.State;
            switch (entry.State)
            {
                case PortState.Unbound:
                    status.UnboundDom = entry.RemoteDomain;
                    break;
                case PortState.Interdomain:
                    status.InterdomainDom = entry.RemoteDomain;
                    status.InterdomainPort = entry.Remote;
                    break;
                case PortState.Virq:
                    status.Virq = entry.Remote;
                    break;
            }

            return 0;
        }
    }

    /// <summary>Chooses the vCPU that a port tells (<c>EVTCHNOP_bind_vcpu</c>).</summary>
    public int BindVcpu(uint port, uint vcpuId)
    {
        if (vcpuId >= _host.VcpuCount)
        {
            return -(int)Errno.ENOENT;
        }

        lock (_lock)
        {
            if (!IsValid(port) || _ports[port].ConsumerIsXen != 0)
            {
                return -(int)Errno.EINVAL;
            }

            ref var entry = ref _ports[port];
            if (entry.State is not (PortState.Unbound or PortState.Interdomain)
                && !(entry.State == PortState.Virq && IsGlobal(entry.Remote)))
            {
                return -(int)Errno.EINVAL;
            }

            entry.Vcpu = vcpuId;
            return 0;
        }
    }

    /// <summary>Unmasks a port, and tells its vCPU when it was pending (<c>EVTCHNOP_unmask</c>).</summary>
    public int Unmask(uint port)
    {
        lock (_lock)
        {
            if (!IsValid(port))
            {
                return -(int)Errno.EINVAL;
            }

            var vcpuId = _ports[port].Vcpu;
            if (port < _shared.Layout.Ports && _shared.TestAndClearMask(port) && _shared.IsPending(port)
                && _shared.Select(vcpuId, port))
            {
                _host.Upcall(vcpuId);
            }

            return 0;
        }
    }

    /// <summary>Closes every port of the guest's (<c>EVTCHNOP_reset</c>).</summary>
    public void Reset()
    {
        for (var port = 1u; port < _ports.Length; port++)
        {
            _ = Close(port, byGuest: true);
        }
    }

    /// <summary>Virtual interrupts of the domain, not of a vCPU: those of the console, of control tools, of the host.</summary>
    private static bool IsGlobal(uint virq) => virq is not (Virq.Timer or Virq.Debug or XenoprofVirq or XenpmuVirq);

    /// <summary>The end of a connection between two domains' tables.</summary>
    private sealed class TablePeer(EventChannelTable table, uint port) : IEventChannelPeer
    {
        /// <inheritdoc/>
        public void Signal() => table.Signal(port);

        public void Disconnect() => table.Disconnect(port);
    }
}

/// <summary>A far end that wants to know when the guest closed the port.</summary>
internal interface IClosablePeer : IEventChannelPeer
{
    /// <summary>The guest closed the port.</summary>
    void OnClosed();
}
