using Introspect.Hypervisor.Core.Memory;

namespace Introspect.Hypervisor.Core.Domains;

/// <summary>The pages of a domain that takes part in forking: those that it got for itself, to be given back at a reset.</summary>
internal sealed partial class DomainRam
{
    private readonly List<(MachineExtent Extent, ulong Page)> _dropped = [];
    private HashSet<ulong>? _ownFrames;

    /// <summary>From now on it is known which frames have a page of the domain's own: it became a fork.</summary>
    public void BeginToTrack()
    {
        lock (_lock)
        {
            _ownFrames ??= [];
        }
    }

    /// <summary>Takes a page whose contents are anything, for a copy that fills all of it.</summary>
    /// <param name="replacesOwn">One of the domain's own is given back right afterwards: its limit does not matter.</param>
    /// <exception cref="HypervisorException">ENOMEM: the domain has all that it may have.</exception>
    public ulong TakeForCopy(bool replacesOwn)
    {
        lock (_lock)
        {
            if (!replacesOwn && _totalPages >= _maxPages)
            {
                throw new HypervisorException(Errno.ENOMEM, $"the domain of {_name} has its {_maxPages} pages, and needs one for a copy: give it more max_mem");
            }

            ulong page = 0;
            var taken = false;
            foreach (var extent in _extents)
            {
                if (extent.TryTakePageToOverwrite(out page))
                {
                    taken = true;
                    break;
                }
            }

            if (!taken && !TryTake(out page))
            {
                throw new HypervisorException(Errno.ENOMEM, $"no page is left for a copy in the domain of {_name}");
            }

            _totalPages++;
            return page;
        }
    }

    /// <summary>Gives a page back that was never mapped, or whose entry was replaced.</summary>
    public void GiveBack(P2mEntry entry) => Drop(entry);

    /// <summary>A frame has a page of the domain's own.</summary>
    public void NoteOwnFrame(ulong gfn)
    {
        if (_ownFrames is null)
        {
            return;
        }

        lock (_lock)
        {
            _ownFrames.Add(gfn);
        }
    }

    /// <summary>
    /// Takes every page of the domain's own out of the physmap, at the cost of those alone: what is shared with others,
    /// and what the hypervisor itself relies on, stays. The vCPUs stand still.
    /// </summary>
    public void DropOwn(Physmap physmap, Func<ulong, bool> isPinned)
    {
        _dropped.Clear();
        lock (_lock)
        {
            if (_ownFrames is null)
            {
                return;
            }

            _ownFrames.RemoveWhere(gfn =>
            {
                var entry = physmap[gfn];
                if (entry.Type is not (P2mType.RamRw or P2mType.RamRo) || ExtentOf(entry.MachineAddress) is not { } extent)
                {
                    return entry.Type != P2mType.RamShared;
                }

                if (isPinned(entry.MachineAddress) || !physmap.TryReplace(gfn, entry, default))
                {
                    return false;
                }

                _dropped.Add((extent, entry.MachineAddress));
                return true;
            });
        }

        // Nobody may find a page in a TLB that is another one's contents already.
        physmap.FlushTranslations();
        foreach (var (extent, page) in _dropped)
        {
            extent.ReleaseForReuse(page);
        }

        Interlocked.Add(ref _totalPages, -_dropped.Count);
    }
}
