namespace Introspect.Hypervisor.Core.Memory;

/// <summary>
/// Pages of forks: they come and go at each reset, and are overwritten as a whole when they are taken. So a number of
/// them is kept as it is, which saves the host's giving them back and forth.
/// </summary>
internal sealed partial class MachineExtent
{
    // 16 MiB: what a fork that is reset over and over touches.
    private const int MaxStale = 4096;

    private readonly Stack<int> _stale = new();
    private ulong[]? _lent;

    /// <summary>Pages without a reference that still take host memory.</summary>
    public int StalePages
    {
        get
        {
            lock (_lock)
            {
                return _stale.Count;
            }
        }
    }

    /// <summary>References to a page.</summary>
    public int References(ulong machineAddress)
    {
        lock (_lock)
        {
            return _references[IndexOf(machineAddress)];
        }
    }

    /// <summary>Takes a page whose contents are anything: the caller overwrites all of it before anybody else sees it.</summary>
    public bool TryTakePageToOverwrite(out ulong machineAddress)
    {
        lock (_lock)
        {
            if (_released || !_stale.TryPop(out var index))
            {
                return TryTakePage(out machineAddress);
            }

            _references[index] = 1;
            _inUse++;
            machineAddress = AddressOf(index);
            return true;
        }
    }

    /// <summary>Drops a reference like <see cref="Release"/>, and keeps the page's host memory for the next one.</summary>
    public void ReleaseForReuse(ulong machineAddress)
    {
        lock (_lock)
        {
            var index = IndexOf(machineAddress);
            if (!_released && _references[index] == 1 && _stale.Count < MaxStale)
            {
                _references[index] = 0;
                _inUse--;
                _stale.Push(index);
                return;
            }
        }

        Release(machineAddress);
    }

    /// <summary>Notes that other domains have the page, too, from now on, and may decode code of it.</summary>
    /// <returns>True when they had it before: then their decoded code may be of old contents.</returns>
    public bool MarkLent(ulong machineAddress)
    {
        lock (_lock)
        {
            _lent ??= new ulong[(PageCount + 63) / 64];
            var index = IndexOf(machineAddress);
            ref var word = ref _lent[index / 64];
            var bit = 1UL << (index % 64);
            var was = (word & bit) != 0;
            word |= bit;
            return was;
        }
    }

    private ulong AddressOf(int index) => Address + ((ulong)index * MachineMemory.PageSize);
}
