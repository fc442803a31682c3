using Introspect.Hypervisor.Linux;

namespace Introspect.Hypervisor.Core.Memory;

/// <summary>
/// A run of machine pages with one memory file behind them: a domain's RAM, or pages of the hypervisor's own.
/// Pages are counted: the physmap holds one reference to a page that is in it, each foreign mapping and the
/// monitor ring hold one more, and a page whose last reference goes is zeroed and can be taken again.
/// </summary>
internal sealed partial class MachineExtent
{
    private readonly MachineMemory _memory;
    private readonly Lock _lock = new();
    private readonly ushort[] _references;
    private readonly Stack<int> _returned = new();
    private long _neverTaken;
    private long _inUse;
    private bool _released;

    internal MachineExtent(MachineMemory memory, ulong address, long pageCount, MemoryFile file)
    {
        _memory = memory;
        Address = address;
        PageCount = pageCount;
        File = file;
        _references = new ushort[pageCount];
    }

    /// <summary>Machine address of the first page.</summary>
    public ulong Address { get; }

    /// <summary>Pages.</summary>
    public long PageCount { get; }

    /// <summary>Bytes.</summary>
    public ulong Bytes => (ulong)PageCount * MachineMemory.PageSize;

    /// <summary>The memory file; a page's offset in it is its machine address less <see cref="Address"/>.</summary>
    public MemoryFile File { get; }

    /// <summary>Pages with at least one reference.</summary>
    public long PagesInUse
    {
        get
        {
            lock (_lock)
            {
                return _inUse;
            }
        }
    }

    /// <summary>True when the machine address is in this extent.</summary>
    public bool Contains(ulong machineAddress) => machineAddress - Address < Bytes;

    /// <summary>Takes a zeroed page, with one reference; pages that were never taken come first and in order.</summary>
    public bool TryTakePage(out ulong machineAddress)
    {
        lock (_lock)
        {
            machineAddress = 0;
            int index;
            if (_released)
            {
                return false;
            }

            if (_neverTaken < PageCount)
            {
                index = (int)_neverTaken++;
            }
            else if (!_returned.TryPop(out index))
            {
                if (!_stale.TryPop(out index))
                {
                    return false;
                }

                _memory.RestOfPage(AddressOf(index)).Clear();
            }

            _references[index] = 1;
            _inUse++;
            machineAddress = AddressOf(index);
            return true;
        }
    }

    /// <summary>Adds a reference to a page that has one.</summary>
    /// <returns>False when the page has none: it is free.</returns>
    public bool TryReference(ulong machineAddress)
    {
        lock (_lock)
        {
            ref var count = ref _references[IndexOf(machineAddress)];
            if (count is 0 or ushort.MaxValue)
            {
                return false;
            }

            count++;
            return true;
        }
    }

    /// <summary>Drops a reference. The page is zeroed and free after the last one.</summary>
    public void Release(ulong machineAddress)
    {
        lock (_lock)
        {
            var index = IndexOf(machineAddress);
            if (_references[index] == 0)
            {
                throw new InvalidOperationException($"Machine page 0x{machineAddress:x} has no reference to drop.");
            }

            if (--_references[index] != 0)
            {
                return;
            }

            _inUse--;
            if (!_released)
            {
                File.PunchHole((long)index * MachineMemory.PageSize, MachineMemory.PageSize);
                _returned.Push(index);
                return;
            }

            if (_inUse != 0)
            {
                return;
            }
        }

        _memory.Free(this);
    }

    /// <summary>
    /// The owner lets go of the extent: no page is given out any more, and the memory is freed as soon as the last
    /// reference to a page of it is dropped.
    /// </summary>
    public void ReleaseOwner()
    {
        lock (_lock)
        {
            if (_released)
            {
                return;
            }

            _released = true;
            if (_inUse != 0)
            {
                while (_stale.TryPop(out var index))
                {
                    File.PunchHole((long)index * MachineMemory.PageSize, MachineMemory.PageSize);
                }

                return;
            }
        }

        _memory.Free(this);
    }

    private int IndexOf(ulong machineAddress)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(machineAddress - Address, Bytes, nameof(machineAddress));
        return (int)((machineAddress - Address) / MachineMemory.PageSize);
    }
}
