using Introspect.Hypervisor.Core.Memory;

namespace Introspect.Hypervisor.Core.Domains;

/// <summary>
/// The machine pages that a domain owns: how many it may have, where they come from, and their way into and out of
/// the physmap. The first demand makes one extent for all that the domain may have, so that a guest's RAM is one
/// memory file, which takes host memory only where it is touched; what is allowed later comes from further ones.
/// </summary>
internal sealed partial class DomainRam
{
    private const long MinExtentPages = 64;
    private const long MaxExtentPages = 1L << 22;

    private readonly MachineMemory _memory;
    private readonly string _name;
    private readonly Lock _lock = new();
    private readonly List<MachineExtent> _extents = [];
    private long _maxPages;
    private long _totalPages;

    public DomainRam(MachineMemory memory, string name) => (_memory, _name) = (memory, name);

    /// <summary>Pages that the domain may have (<c>XEN_DOMCTL_max_mem</c>).</summary>
    public long MaxPages
    {
        get => Volatile.Read(ref _maxPages);
        set => Volatile.Write(ref _maxPages, value);
    }

    /// <summary>Pages that it has.</summary>
    public long TotalPages => Volatile.Read(ref _totalPages);

    /// <summary>Memory files of the RAM.</summary>
    public IReadOnlyList<MachineExtent> Extents
    {
        get
        {
            lock (_lock)
            {
                return [.. _extents];
            }
        }
    }

    /// <summary>Gives a frame a fresh page (<c>XENMEM_populate_physmap</c>).</summary>
    /// <param name="physmap">The domain's p2m.</param>
    /// <param name="gfn">Frame.</param>
    /// <returns>False when the domain has all that it may have, or the frame cannot be.</returns>
    public bool TryPopulate(Physmap physmap, ulong gfn)
    {
        if (gfn >= physmap.EntryCount)
        {
            return false;
        }

        ulong page;
        lock (_lock)
        {
            if (_totalPages >= _maxPages || !TryTake(out page))
            {
                return false;
            }

            _totalPages++;
        }

        var old = physmap.Map(gfn, page, P2mType.RamRw);
        NoteOwnFrame(gfn);
        if (old.IsPresent)
        {
            Drop(old);
        }

        return true;
    }

    /// <summary>Takes the page of a frame away from the domain (<c>XENMEM_decrease_reservation</c>). It lives on while others map it.</summary>
    /// <returns>False when there is none.</returns>
    public bool TryDepopulate(Physmap physmap, ulong gfn)
    {
        var old = physmap.Unmap(gfn);
        if (!old.IsPresent)
        {
            return false;
        }

        Drop(old);
        return true;
    }

    /// <summary>Moves a page of the domain's to another frame (<c>XENMAPSPACE_gmfn</c>).</summary>
    /// <returns>EINVAL: no RAM at the first frame, or no such second frame.</returns>
    public Errno Move(Physmap physmap, ulong from, ulong to)
    {
        if (physmap[from].Type != P2mType.RamRw || to >= physmap.EntryCount)
        {
            return Errno.EINVAL;
        }

        if (from == to)
        {
            return Errno.None;
        }

        var page = physmap.Unmap(from);
        if (!page.IsPresent)
        {
            return Errno.EINVAL; // somebody else took it meanwhile
        }

        Place(physmap, to, page.MachineAddress, page.Type);
        return Errno.None;
    }

    /// <summary>Maps a page in the place of what was at the frame, which is given back when it was the domain's.</summary>
    public void Place(Physmap physmap, ulong gfn, ulong machineAddress, P2mType type)
    {
        var old = physmap.Map(gfn, machineAddress, type);
        NoteOwnFrame(gfn);
        if (old.IsPresent)
        {
            Drop(old);
        }
    }

    /// <summary>The extent that a page of the domain's is in, or null when it is not the domain's.</summary>
    public MachineExtent? ExtentOf(ulong machineAddress)
    {
        lock (_lock)
        {
            foreach (var extent in _extents)
            {
                if (extent.Contains(machineAddress))
                {
                    return extent;
                }
            }

            return null;
        }
    }

    /// <summary>Gives everything back, but for pages that others still map.</summary>
    public void ReleaseAll(Physmap physmap)
    {
        for (ulong gfn = 0; physmap.TryFindMapped(ref gfn); gfn++)
        {
            TryDepopulate(physmap, gfn);
        }

        lock (_lock)
        {
            foreach (var extent in _extents)
            {
                extent.ReleaseOwner();
            }

            _extents.Clear();
        }
    }

    private void Drop(P2mEntry entry)
    {
        // The shared_info page and granted pages are in the physmap, and not of the domain's RAM. A fork has pages of
        // its ancestors there, which do not count as its own.
        if (ExtentOf(entry.MachineAddress) is { } extent)
        {
            extent.Release(entry.MachineAddress);
            Interlocked.Decrement(ref _totalPages);
        }
        else if (entry.Type == P2mType.RamShared)
        {
            _memory.FindExtent(entry.MachineAddress)?.Release(entry.MachineAddress);
        }
    }

    private bool TryTake(out ulong page)
    {
        foreach (var extent in _extents)
        {
            if (extent.TryTakePage(out page))
            {
                return true;
            }
        }

        var wanted = Math.Clamp(_maxPages - _totalPages, MinExtentPages, MaxExtentPages);
        var fresh = _memory.AllocateExtent(wanted, $"{_name} ram {_extents.Count}");
        _extents.Add(fresh);
        return fresh.TryTakePage(out page);
    }
}
