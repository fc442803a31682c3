using Introspect.Hypervisor.Abi;

namespace Introspect.Hypervisor.Core.Memory;

/// <summary>
/// An altp2m view: a second table of a domain, filled with the host table's entries as they are needed, in which
/// rights can differ and frames can lead to other pages. All its members but the reading of entries are called under
/// the host table's lock.
/// </summary>
internal sealed class P2mView : P2mTable
{
    private readonly Physmap _host;
    private ulong _lowestRemapped = ulong.MaxValue;
    private ulong _highestRemapped;

    /// <param name="host">The domain's own table.</param>
    /// <param name="defaultAccess">What is told of the view's default.</param>
    public P2mView(Physmap host, MemoryAccess defaultAccess)
        : base(host.EntryCount) => (_host, DefaultAccess) = (host, defaultAccess);

    /// <summary>vCPUs that are in the view.</summary>
    public int Users { get; set; }

    /// <summary>The view can be switched to by VMFUNC and for the whole domain (<c>altp2m_visible_eptp</c>).</summary>
    public bool IsVisible { get; set; } = true;

    /// <inheritdoc/>
    public override void LiftAccess(ulong gfn)
    {
        lock (_host.Lock)
        {
            // Rights that come need no flush.
            var entry = this[gfn];
            if (entry.IsPresent)
            {
                Write(gfn, entry.With(Lifted(entry.Access)));
            }
        }
    }

    /// <summary>Takes the host's entry over where the view has none yet (<c>p2m_altp2m_get_or_propagate</c>).</summary>
    /// <returns>False when the host has none either.</returns>
    public bool CopyFromHost(ulong gfn)
    {
        lock (_host.Lock)
        {
            if (this[gfn].IsPresent)
            {
                return true; // another vCPU was faster
            }

            var entry = _host[gfn];
            if (entry.IsPresent)
            {
                Write(gfn, entry.Suppressed);
            }

            return entry.IsPresent;
        }
    }

    /// <summary>Sets the rights of a frame.</summary>
    /// <returns>ESRCH: no RAM there. True in "flush": rights went away.</returns>
    public Errno SetAccess(ulong gfn, MemoryAccess access, ref bool flush)
    {
        if (Effective(gfn, out var entry) is var missing and not Errno.None)
        {
            return missing;
        }

        Replace(gfn, entry.With(access), ref flush);
        return Errno.None;
    }

    /// <summary>Makes a frame lead to the page of another, or, where that is null, to its own again.</summary>
    /// <returns>ESRCH: one of them has no RAM.</returns>
    public Errno Remap(ulong gfn, ulong? target, bool suppressVe, ref bool flush)
    {
        if (target is not { } other)
        {
            if (this[gfn].IsPresent)
            {
                Replace(gfn, default, ref flush);
            }

            return Errno.None;
        }

        if (Effective(gfn, out _) != Errno.None || Effective(other, out var entry) != Errno.None)
        {
            return Errno.ESRCH;
        }

        Replace(gfn, entry.WithSuppressVe(suppressVe), ref flush);
        _lowestRemapped = Math.Min(_lowestRemapped, other);
        _highestRemapped = Math.Max(_highestRemapped, other);
        return Errno.None;
    }

    /// <summary>Sets whether violations of a frame can be told to the guest itself.</summary>
    /// <returns>ESRCH: no RAM there.</returns>
    public Errno SetSuppressVe(ulong gfn, bool suppress, ref bool flush)
    {
        if (Effective(gfn, out var entry) is var missing and not Errno.None)
        {
            return missing;
        }

        Replace(gfn, entry.WithSuppressVe(suppress), ref flush);
        return Errno.None;
    }

    /// <summary>The host's entry of a frame that the view has one of, too, changed (<c>p2m_altp2m_propagate_change</c>).</summary>
    public void Follow(ulong gfn, P2mEntry entry, ref bool flush)
    {
        var old = this[gfn];
        if (old.IsPresent)
        {
            Replace(gfn, entry.IsPresent ? entry.WithSuppressVe(old.SuppressesVe) : entry, ref flush);
        }
    }

    /// <summary>True when a frame of the view may lead to the page that the host has at this one.</summary>
    public bool MayLeadTo(ulong gfn) => gfn >= _lowestRemapped && gfn <= _highestRemapped;

    /// <summary>Forgets every entry: what the host has is copied anew.</summary>
    public void Reset()
    {
        Forget();
        _lowestRemapped = ulong.MaxValue;
        _highestRemapped = 0;
    }

    /// <summary>The view's entry, or what the host has in its place (<c>altp2m_get_effective_entry</c>).</summary>
    private Errno Effective(ulong gfn, out P2mEntry entry)
    {
        entry = this[gfn];
        if (entry.IsPresent)
        {
            return Errno.None;
        }

        entry = _host[gfn];
        if (entry.Type != P2mType.RamRw)
        {
            return Errno.ESRCH;
        }

        entry = entry.Suppressed;
        return Errno.None;
    }

    private void Replace(ulong gfn, P2mEntry entry, ref bool flush)
    {
        var old = this[gfn];
        Write(gfn, entry);
        flush |= old.IsPresent
            && (old.MachineAddress != entry.MachineAddress || (old.Raw & ~entry.Raw & P2mEntry.RightsMask) != 0);
    }
}
