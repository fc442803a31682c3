using Introspect.Hypervisor.Core.Memory;

namespace Introspect.Hypervisor.Core.Domains;

/// <summary>
/// The way to a domain's pages that may not be there yet. What a fork lacks is looked for in its parent, its parent's
/// parent and so on: for reading, the page is mapped from there and shared by both; for writing, it is copied. A
/// shared page that is to be written is replaced by a copy, whoever of those that share it writes. Ancestors stand
/// still while they have forks, so that what they share is what they were.
/// </summary>
/// <remarks>
/// One lock a domain, taken from the fork towards its ancestors. A vCPU that waits for it counts as being out of the
/// guest, since whoever holds it may wait until vCPUs have left.
/// </remarks>
internal sealed class DomainPages(Domain domain)
{
    private const int HoldTries = 64;

    private readonly Lock _lock = new();
    private readonly Dictionary<ulong, (MachineExtent Extent, int Count)> _pinned = [];
    private bool _closed;

    /// <summary>The entry of a frame, made present where an ancestor has the page (<c>P2M_ALLOC</c>), and the domain's own for writing (<c>P2M_UNSHARE</c>).</summary>
    /// <exception cref="HypervisorException">ENOMEM: there is no page for a copy.</exception>
    public P2mEntry Find(ulong gfn, bool write)
    {
        var entry = domain.Physmap[gfn];
        return (entry.IsPresent ? write && entry.Type == P2mType.RamShared : domain.Parent is not null)
            ? FindSlowly(gfn, write)
            : entry;
    }

    /// <summary>Makes frames present, as setting their access does (<c>P2M_ALLOC</c>).</summary>
    public void Populate(ulong first, uint count)
    {
        if (domain.Parent is not null)
        {
            for (var gfn = first; gfn - first < count; gfn++)
            {
                Find(gfn, write: false);
            }
        }
    }

    /// <summary>Makes frames present.</summary>
    public void Populate(ReadOnlySpan<ulong> gfns)
    {
        foreach (var gfn in gfns)
        {
            Find(gfn, write: false);
        }
    }

    /// <summary>
    /// Holds the domain's own page of a frame by a reference, for somebody outside the guest. Never a shared one, not for
    /// reading either: it would stay behind when the guest writes.
    /// </summary>
    /// <returns>False: there is no page of RAM, nor one of the hypervisor's.</returns>
    public bool TryHold(ulong gfn, out MachineExtent extent, out ulong machineAddress)
    {
        for (var n = 0; n < HoldTries; n++)
        {
            var entry = Find(gfn, write: true);
            machineAddress = entry.MachineAddress;
            if (!entry.IsPresent || domain.ExtentOf(machineAddress) is not { } found)
            {
                break;
            }

            if (!found.TryReference(machineAddress))
            {
                continue;
            }

            // Held first, and looked at again: it may have been let go of, or been lent to a fork, in between.
            var now = domain.Physmap[gfn];
            if (now.MachineAddress == machineAddress && now.Type == entry.Type)
            {
                extent = found;
                return true;
            }

            found.Release(machineAddress);
        }

        (extent, machineAddress) = (null!, 0);
        return false;
    }

    /// <summary>Holds a page that the hypervisor itself goes on writing to: it is neither lent nor dropped at a reset.</summary>
    /// <returns>False: there is no page of RAM.</returns>
    public bool TryPin(ulong gfn, out ulong machineAddress)
    {
        if (!TryHold(gfn, out var extent, out machineAddress))
        {
            return false;
        }

        lock (_pinned)
        {
            _pinned[machineAddress] = (extent, _pinned.GetValueOrDefault(machineAddress).Count + 1);
        }

        return true;
    }

    /// <summary>Lets go of a page of <see cref="TryPin"/>.</summary>
    public void Unpin(ulong machineAddress)
    {
        lock (_pinned)
        {
            if (!_pinned.Remove(machineAddress, out var pin))
            {
                return;
            }

            if (pin.Count > 1)
            {
                _pinned[machineAddress] = (pin.Extent, pin.Count - 1);
            }

            pin.Extent.Release(machineAddress);
        }
    }

    /// <summary>Makes the contents of a frame what they are in another domain, which stands still, in a page of this one's own.</summary>
    /// <returns>False: the other one has nothing there.</returns>
    public bool TryCopyFrom(Domain source, ulong gfn)
    {
        var entry = source.Pages.Find(gfn, write: false);
        if (!entry.IsPresent)
        {
            return false;
        }

        var own = Find(gfn, write: true);
        Overwrite(own.MachineAddress, entry.MachineAddress);
        return true;
    }

    /// <summary>Gives every page back that is the domain's alone (<c>XENMEM_FORK_RESET_MEMORY</c>): the next access asks the ancestors.</summary>
    public void DropOwn()
    {
        Enter(null);
        try
        {
            lock (_pinned)
            {
                domain.Ram.DropOwn(domain.Physmap, _pinned.ContainsKey);
            }
        }
        finally
        {
            _lock.Exit();
        }
    }

    /// <summary>The domain is torn down: its forks find nothing here any more.</summary>
    public void Close()
    {
        Enter(null);
        _closed = true;
        _lock.Exit();
    }

    private P2mEntry FindSlowly(ulong gfn, bool write)
    {
        var current = CurrentVcpu();
        Enter(current);
        try
        {
            while (true)
            {
                var entry = domain.Physmap[gfn];
                if (!entry.IsPresent)
                {
                    if (gfn >= domain.Physmap.EntryCount || !TryFill(gfn, write, current))
                    {
                        return default;
                    }
                }
                else if (write && entry.Type == P2mType.RamShared)
                {
                    Unshare(gfn, entry);
                }
                else
                {
                    return entry;
                }
            }
        }
        finally
        {
            _lock.Exit();
        }
    }

    /// <summary>Asks the ancestors for a frame (<c>mem_sharing_fork_page</c>). False: none of them has it.</summary>
    private bool TryFill(ulong gfn, bool write, Vcpu? current)
    {
        var source = domain.Parent;
        Loan loan = default;
        while (source is not null && !source.Pages.TryLend(gfn, !write, current, out loan))
        {
            source = source.Parent;
        }

        if (source is null)
        {
            return false;
        }

        var access = domain.Physmap.DefaultAccess;
        if (loan.IsShared)
        {
            if (!domain.Physmap.TryReplace(gfn, default, P2mEntry.Make(loan.Page, P2mType.RamShared, access)))
            {
                loan.Extent.Release(loan.Page); // somebody put another page there
            }

            return true;
        }

        try
        {
            var copy = P2mEntry.Make(CopyOf(loan.Page, replacesOwn: false), P2mType.RamRw, access);
            if (domain.Physmap.TryReplace(gfn, default, copy))
            {
                domain.Ram.NoteOwnFrame(gfn);
            }
            else
            {
                domain.Ram.GiveBack(copy);
            }
        }
        finally
        {
            loan.Extent.Release(loan.Page);
        }

        return true;
    }

    /// <summary>A fork asks for a page: it gets a reference to it, and either shares it or makes a copy.</summary>
    private bool TryLend(ulong gfn, bool share, Vcpu? current, out Loan loan)
    {
        loan = default;
        Enter(current);
        try
        {
            if (_closed)
            {
                return false;
            }

            // What is granted by others is not the fork's to have, as on Xen.
            var entry = domain.Physmap[gfn];
            if (entry.Type is not (P2mType.RamRw or P2mType.RamRo or P2mType.RamShared)
                || domain.Machine.Memory.FindExtent(entry.MachineAddress) is not { } extent
                || !extent.TryReference(entry.MachineAddress))
            {
                return false;
            }

            var shared = share && (entry.Type == P2mType.RamShared || TryMakeShared(gfn, entry, extent));
            loan = new(extent, entry.MachineAddress, shared);
            return true;
        }
        finally
        {
            _lock.Exit();
        }
    }

    /// <summary>Makes a page shared, unless somebody else holds it and might write to it (<c>nominate_page</c>).</summary>
    private bool TryMakeShared(ulong gfn, P2mEntry entry, MachineExtent extent)
    {
        // The vCPUs stand still, and forget what they may write to before they go on: see Domain.ForkGone.
        const int PhysmapAndBorrower = 2;
        var page = entry.MachineAddress;
        var shared = entry.As(P2mType.RamShared);
        if (entry.Type != P2mType.RamRw || domain.Ram.ExtentOf(page) is null || domain.AltP2m.Differs(gfn, entry)
            || !domain.Physmap.TryReplace(gfn, entry, shared))
        {
            return false;
        }

        if (extent.References(page) != PhysmapAndBorrower)
        {
            domain.Physmap.TryReplace(gfn, shared, entry);
            return false;
        }

        if (extent.MarkLent(page))
        {
            // It was lent before and has been written since: others may have decoded what it was.
            domain.Machine.DropCodeElsewhere(domain, page / MachineMemory.PageSize);
        }

        return true;
    }

    /// <summary>Replaces a shared page by the domain's own; the rights stay.</summary>
    private void Unshare(ulong gfn, P2mEntry entry)
    {
        var page = entry.MachineAddress;
        var isOwn = domain.Ram.ExtentOf(page) is not null;
        if (domain.Machine.Memory.FindExtent(page) is not { } extent)
        {
            throw new InvalidOperationException($"Shared page 0x{page:x} at frame 0x{gfn:x} is not in memory.");
        }

        if (isOwn && extent.References(page) == 1)
        {
            // All others are gone: it is the domain's alone again.
            domain.Physmap.TryReplace(gfn, entry, entry.As(P2mType.RamRw));
            return;
        }

        // Readable first, and writable when no vCPU reads the old page any more.
        var copy = CopyOf(page, isOwn);
        var readable = entry.At(copy);
        if (!domain.Physmap.TryReplace(gfn, entry, readable))
        {
            domain.Ram.GiveBack(readable);
            return;
        }

        domain.Physmap.FlushTranslations();
        while (domain.Physmap[gfn] is var now && now.MachineAddress == copy && now.Type == P2mType.RamShared)
        {
            // Somebody may change its rights at the same time.
            domain.Physmap.TryReplace(gfn, now, now.As(P2mType.RamRw));
        }

        domain.Ram.NoteOwnFrame(gfn);
        domain.Ram.GiveBack(entry);
    }

    private ulong CopyOf(ulong source, bool replacesOwn)
    {
        var page = domain.Ram.TakeForCopy(replacesOwn);
        Overwrite(page, source);
        return page;
    }

    private void Overwrite(ulong page, ulong source)
    {
        var memory = domain.Machine.Memory;
        if (memory.HasCode(page))
        {
            domain.DropCode(page / MachineMemory.PageSize);
        }

        memory.RestOfPage(source).CopyTo(memory.RestOfPage(page));
    }

    private void Enter(Vcpu? current)
    {
        if (_lock.TryEnter())
        {
            return;
        }

        if (current is null)
        {
            _lock.Enter();
            return;
        }

        // Another vCPU may keep this one out by now, which ends without this lock.
        current.WaitsForOthers = true;
        _lock.Enter();
        current.Domain.Rendezvous.Return(current);
    }

    private Vcpu? CurrentVcpu()
    {
        // No enumerator, which would be an object for each page that a fork touches.
        var vcpus = domain.Vcpus;
        for (var i = 0; i < vcpus.Count; i++)
        {
            if (vcpus[i].IsOwnThread)
            {
                return vcpus[i];
            }
        }

        return null;
    }

    /// <summary>A page with a reference that is the borrower's to drop, or to keep where it shares the page.</summary>
    private readonly record struct Loan(MachineExtent Extent, ulong Page, bool IsShared);
}
