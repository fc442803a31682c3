namespace Introspect.Hypervisor.Core.Domains;

/// <summary>Which of a domain's event channel ports are taken. Port 0 is never given out.</summary>
internal sealed class PortTable
{
    /// <summary>Ports of the two-level event channel interface.</summary>
    public const uint Count = 4096;

    private readonly Lock _lock = new();
    private readonly bool[] _taken = new bool[Count];

    /// <summary>Takes the lowest free port.</summary>
    /// <returns>0 when every port is taken.</returns>
    public uint Allocate()
    {
        lock (_lock)
        {
            for (uint port = 1; port < Count; port++)
            {
                if (!_taken[port])
                {
                    _taken[port] = true;
                    return port;
                }
            }

            return 0;
        }
    }

    /// <summary>Gives a port back.</summary>
    public void Free(uint port)
    {
        lock (_lock)
        {
            _taken[port] = false;
        }
    }
}
