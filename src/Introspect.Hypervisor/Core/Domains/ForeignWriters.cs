using Introspect.Hypervisor.Core.Memory;

namespace Introspect.Hypervisor.Core.Domains;

/// <summary>
/// Pages of a domain that somebody outside the guest has mapped writable. The guest's CPUs notice their own stores
/// to pages they decoded, and not those; so decoded code of such a page is dropped when its mapping goes, and
/// whenever the guest is let go on after a stop, which is when a monitor has just written.
/// </summary>
internal sealed class ForeignWriters(Domain domain)
{
    private readonly Lock _lock = new();
    private readonly Dictionary<ulong, int> _pages = [];
    private int _count;

    /// <summary>Pages are mapped writable from now on.</summary>
    public void Add(ReadOnlySpan<ulong> machineAddresses)
    {
        lock (_lock)
        {
            foreach (var address in machineAddresses)
            {
                _pages[address] = _pages.GetValueOrDefault(address) + 1;
            }

            Volatile.Write(ref _count, _pages.Count);
        }
    }

    /// <summary>A mapping went. What was decoded of its pages is dropped before this returns.</summary>
    public void Remove(ReadOnlySpan<ulong> machineAddresses)
    {
        lock (_lock)
        {
            foreach (var address in machineAddresses)
            {
                if (_pages.GetValueOrDefault(address) is var count && count > 1)
                {
                    _pages[address] = count - 1;
                }
                else
                {
                    _pages.Remove(address);
                }
            }

            Volatile.Write(ref _count, _pages.Count);
        }

        if (Tell(machineAddresses))
        {
            domain.WaitUntilVcpusLeft();
        }
    }

    /// <summary>The guest is about to go on.</summary>
    public void BeforeGoingOn()
    {
        if (Volatile.Read(ref _count) == 0)
        {
            return;
        }

        lock (_lock)
        {
            foreach (var address in _pages.Keys)
            {
                Tell([address]);
            }
        }
    }

    private bool Tell(ReadOnlySpan<ulong> machineAddresses)
    {
        var told = false;
        if (domain.Vcpus.Count == 0)
        {
            return false;
        }

        foreach (var address in machineAddresses)
        {
            if (domain.Machine.Memory.HasCode(address))
            {
                told = true;
                ReadOnlySpan<ulong> page = [address / MachineMemory.PageSize];
                foreach (var vcpu in domain.Vcpus)
                {
                    vcpu.PagesWritten(page);
                }
            }
        }

        return told;
    }
}
