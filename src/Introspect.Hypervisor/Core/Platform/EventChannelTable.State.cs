using System.Runtime.InteropServices;
using Introspect.Hypervisor.Abi;

namespace Introspect.Hypervisor.Core.Platform;

/// <summary>The table as plain bytes: how many ports are valid, what each vCPU polls, and the ports.</summary>
internal sealed partial class EventChannelTable
{
    /// <summary>Bytes of a saved table.</summary>
    public int StateBytes => sizeof(uint) + (_polled.Length * sizeof(int)) + MemoryMarshal.AsBytes(_ports.AsSpan()).Length;

    /// <summary>Saves the table. Far ends are not in it.</summary>
    public void SaveState(Span<byte> destination)
    {
        lock (_lock)
        {
            MemoryMarshal.Write(destination, in _validPorts);
            destination = destination[sizeof(uint)..];
            MemoryMarshal.AsBytes(_polled.AsSpan()).CopyTo(destination);
            MemoryMarshal.AsBytes(_ports.AsSpan()).CopyTo(destination[(_polled.Length * sizeof(int))..]);
        }
    }

    /// <summary>
    /// Takes a saved table over. The ports of the hypervisor itself stay this table's, as do far ends whose port says
    /// the same as before; a connection to somebody who is not there any more swallows what is sent.
    /// </summary>
    /// <returns>EINVAL: a vCPU or a port that does not exist.</returns>
    public Errno LoadState(ReadOnlySpan<byte> source)
    {
        var valid = MemoryMarshal.Read<uint>(source);
        var polled = MemoryMarshal.Cast<byte, int>(source[sizeof(uint)..])[.._polled.Length];
        var ports = MemoryMarshal.Cast<byte, PortEntry>(source[(sizeof(uint) + (_polled.Length * sizeof(int)))..])[.._ports.Length];
        if (valid is < GroupSize || valid > _ports.Length + GroupSize || !AreValid(ports))
        {
            return Errno.EINVAL;
        }

        lock (_lock)
        {
            _validPorts = Math.Max(valid, OwnPortsEnd());
            polled.CopyTo(_polled);
            Array.Clear(_virqPorts);
            for (var port = 1; port < _ports.Length; port++)
            {
                LoadPort(port, in ports[port]);
            }

            return Errno.None;
        }
    }

    private bool AreValid(ReadOnlySpan<PortEntry> ports)
    {
        foreach (ref readonly var port in ports)
        {
            if (port.Vcpu >= _host.VcpuCount || (port.State == PortState.Virq && port.Remote >= Virq.Count))
            {
                return false;
            }
        }

        return true;
    }

    private void LoadPort(int port, in PortEntry loaded)
    {
        ref var entry = ref _ports[port];
        if (entry.ConsumerIsXen != 0)
        {
            return;
        }

        var before = entry;
        entry = loaded.ConsumerIsXen != 0 ? default : loaded;
        if (entry.State != PortState.Interdomain || before.State != PortState.Interdomain
            || before.RemoteDomain != entry.RemoteDomain || before.Remote != entry.Remote)
        {
            _peers[port] = null;
        }

        if (entry.State == PortState.Virq)
        {
            _virqPorts[((IsGlobal(entry.Remote) ? 0 : entry.Vcpu) * Virq.Count) + entry.Remote] = (uint)port;
        }
    }

    // The end of the group in which the last port of the hypervisor's own is.
    private uint OwnPortsEnd()
    {
        var end = GroupSize;
        for (var port = 1u; port < _ports.Length; port++)
        {
            if (_ports[port].ConsumerIsXen != 0)
            {
                end = ((port / GroupSize) + 1) * GroupSize;
            }
        }

        return end;
    }
}
