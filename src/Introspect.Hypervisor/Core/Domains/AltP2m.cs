using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Memory;

namespace Introspect.Hypervisor.Core.Domains;

/// <summary>
/// A domain's altp2m views: which there are, which vCPU is in which, and what happens to them when the host table
/// changes (Xen's <c>p2m.c</c> and <c>altp2m.c</c>). While it is on, every vCPU is in a view, at first in view 0; off,
/// all are on the host table. Any thread; a vCPU takes a new table up before it enters the guest again.
/// </summary>
internal sealed class AltP2m
{
    /// <summary>Views unless asked otherwise (<c>MAX_ALTP2M</c> of 4.17).</summary>
    public const int DefaultViews = 10;

    /// <summary>Views that fit the page of VMFUNC's list (<c>MAX_EPTP</c>).</summary>
    public const int MaxViews = 512;

    /// <summary>No view (<c>INVALID_ALTP2M</c>): the vCPU is on the host table.</summary>
    public const ushort NoView = 0xffff;

    private readonly Domain _domain;
    private readonly Physmap _host;
    private readonly P2mView?[] _views;
    private bool _active;

    public AltP2m(Domain domain, int views = DefaultViews)
    {
        _domain = domain;
        _host = domain.Physmap;
        _views = new P2mView?[views];
        _host.EntryChanged = HostChanged;
    }

    /// <summary>It is on (<c>altp2m_active</c>).</summary>
    public bool IsActive => Volatile.Read(ref _active);

    /// <summary>Views that there can be.</summary>
    public int Limit => _views.Length;

    /// <summary>Switches it on, with every vCPU in view 0, or off, with every vCPU on the host table and no view left.</summary>
    public void SetActive(bool on)
    {
        var gone = new List<P2mView>();
        lock (_host.Lock)
        {
            if (on == _active)
            {
                return;
            }

            _views[0] ??= new P2mView(_host, _host.DefaultAccess);
            foreach (var vcpu in _domain.Vcpus)
            {
                Enter(vcpu, on ? (ushort)0 : NoView);
            }

            if (!on)
            {
                gone.AddRange(_views.OfType<P2mView>());
                Array.Clear(_views);
            }

            Volatile.Write(ref _active, on);
        }

        // Each vCPU was out of the guest when this returns, and so off its old table.
        _domain.FlushTlbs();
        foreach (var view in gone)
        {
            view.Dispose();
        }

        if (!on)
        {
            foreach (var vcpu in _domain.Vcpus)
            {
                vcpu.VirtualizationExceptions.Disable();
            }
        }
    }

    /// <summary>Makes a view; the lowest free number is its own.</summary>
    /// <returns>EINVAL: no such access, or no number is free.</returns>
    public Errno Create(MemoryAccess defaultAccess, out ushort index)
    {
        index = 0;
        lock (_host.Lock)
        {
            if (!_host.Resolve(ref defaultAccess))
            {
                return Errno.EINVAL;
            }

            var free = Array.IndexOf(_views, null);
            if (free < 0)
            {
                return Errno.EINVAL;
            }

            _views[free] = new P2mView(_host, defaultAccess);
            index = (ushort)free;
            return Errno.None;
        }
    }

    /// <summary>Takes a view away.</summary>
    /// <returns>EBUSY: it is view 0, a vCPU is in it, or it is not there.</returns>
    public Errno Destroy(ushort index)
    {
        P2mView view;
        lock (_host.Lock)
        {
            if (index == 0 || Find(index) is not { Users: 0 } found)
            {
                return Errno.EBUSY;
            }

            view = found;
            _views[index] = null;
        }

        // A vCPU that left it just now may still be on its way out.
        _domain.FlushTlbs();
        view.Dispose();
        return Errno.None;
    }

    /// <summary>Puts every vCPU into a view.</summary>
    /// <returns>EINVAL: it is not there, or not visible.</returns>
    public Errno SwitchAll(ushort index)
    {
        lock (_host.Lock)
        {
            if (Find(index) is not { IsVisible: true })
            {
                return Errno.EINVAL;
            }

            foreach (var vcpu in _domain.Vcpus)
            {
                Enter(vcpu, index);
            }
        }

        _domain.FlushTlbs();
        return Errno.None;
    }

    /// <summary>Puts one vCPU into a view, on its own thread or while it stands still.</summary>
    /// <param name="vcpu">The vCPU.</param>
    /// <param name="index">The view.</param>
    /// <param name="visibleOnly">As VMFUNC does it: a view that is not visible is not there.</param>
    /// <returns>False, and nothing happened: there is no such view, or altp2m is off.</returns>
    public bool Switch(Vcpu vcpu, ushort index, bool visibleOnly)
    {
        lock (_host.Lock)
        {
            if (!_active || Find(index) is not { } view || (visibleOnly && !view.IsVisible))
            {
                return false;
            }

            Enter(vcpu, index);
            return true;
        }
    }

    /// <summary>Sets whether a view can be switched to.</summary>
    /// <returns>EINVAL: it is not there.</returns>
    public Errno SetVisible(ushort index, bool visible)
    {
        lock (_host.Lock)
        {
            if (Find(index) is not { } view)
            {
                return Errno.EINVAL;
            }

            view.IsVisible = visible;
            return Errno.None;
        }
    }

    /// <summary>
    /// Sets rights frame by frame; view 0 means the host table. A frame without RAM takes none, silently. Those before
    /// a wrong access stay set. Frame ~0 alone stands for the default of new pages, which is the host's whatever the view.
    /// </summary>
    /// <returns>EINVAL: no such view or access.</returns>
    public Errno SetAccess(ushort index, ReadOnlySpan<ulong> gfns, ReadOnlySpan<byte> accesses)
    {
        if (index == 0)
        {
            _domain.Pages.Populate(gfns);
            return _host.SetAccess(gfns, accesses);
        }

        TakeOwn(gfns);

        var flush = false;
        var result = Errno.None;
        lock (_host.Lock)
        {
            if (Find(index) is not { } view)
            {
                return Errno.EINVAL;
            }

            for (var n = 0; n < gfns.Length && result == Errno.None; n++)
            {
                var access = (MemoryAccess)accesses[n];
                result = !_host.Resolve(ref access) ? Errno.EINVAL
                    : view.SetAccess(gfns[n], access, ref flush) is Errno.ESRCH or Errno.None ? Errno.None : Errno.EINVAL;
            }
        }

        Flush(flush);
        return result;
    }

    /// <summary>Reads the rights of a frame, or of frame ~0 the default.</summary>
    /// <returns>EINVAL: no such view; ESRCH: the view has no entry for it.</returns>
    public Errno GetAccess(ushort index, ulong gfn, out MemoryAccess access)
    {
        lock (_host.Lock)
        {
            access = default;
            P2mTable? table = index == 0 ? _host : Find(index);
            if (table is null)
            {
                return Errno.EINVAL;
            }

            if (gfn != ulong.MaxValue)
            {
                return table.GetAccess(gfn, out access);
            }

            access = table.DefaultAccess;
            return Errno.None;
        }
    }

    /// <summary>Makes a frame of a view lead to the page of another, or with null to its own again.</summary>
    /// <returns>EINVAL: no such view; ESRCH: a frame without RAM.</returns>
    public Errno Remap(ushort index, ulong gfn, ulong? target, bool suppressVe)
    {
        TakeOwn([gfn, target ?? gfn]);
        var flush = false;
        Errno result;
        lock (_host.Lock)
        {
            if (Find(index) is not { } view)
            {
                return Errno.EINVAL;
            }

            result = view.Remap(gfn, target, suppressVe, ref flush);
        }

        Flush(flush);
        return result;
    }

    /// <summary>Sets whether #VE is suppressed for a frame; view 0 means the host table.</summary>
    /// <returns>EINVAL: no such view; ESRCH: a frame without RAM.</returns>
    public Errno SetSuppressVe(ushort index, ulong gfn, bool suppress)
    {
        if (index == 0)
        {
            _host.SetSuppressVe(gfn, suppress);
            return Errno.None;
        }

        var flush = false;
        lock (_host.Lock)
        {
            return Find(index) is { } view ? view.SetSuppressVe(gfn, suppress, ref flush) : Errno.EINVAL;
        }
    }

    /// <summary>Reads whether #VE is suppressed for a frame; view 0 means the host table.</summary>
    /// <returns>EINVAL: no such view; ESRCH: the view has no entry for it.</returns>
    public Errno GetSuppressVe(ushort index, ulong gfn, out bool suppress)
    {
        lock (_host.Lock)
        {
            P2mTable? table = index == 0 ? _host : Find(index);
            var entry = table?[gfn] ?? default;
            suppress = entry.SuppressesVe;
            return table is null ? Errno.EINVAL : entry.IsPresent ? Errno.None : Errno.ESRCH;
        }
    }

    /// <summary>A view has another page or other rights for a frame than the host table: forks cannot share it.</summary>
    public bool Differs(ulong gfn, P2mEntry entry)
    {
        lock (_host.Lock)
        {
            foreach (var view in _views)
            {
                if (view?[gfn] is { IsPresent: true } own && (own.MachineAddress != entry.MachineAddress || own.Access != entry.Access))
                {
                    return true;
                }
            }

            return false;
        }
    }

    /// <summary>Gives the views' memory back; the vCPUs are stopped.</summary>
    public void Release()
    {
        foreach (var view in _views)
        {
            view?.Dispose();
        }

        Array.Clear(_views);
    }

    // A fork's page is its own before a view says anything of it (P2M_UNSHARE).
    private void TakeOwn(ReadOnlySpan<ulong> gfns)
    {
        if (_active)
        {
            foreach (var gfn in gfns)
            {
                _domain.Pages.Find(gfn, write: true);
            }
        }
    }

    private P2mView? Find(ushort index) => index < _views.Length ? _views[index] : null;

    private void Enter(Vcpu vcpu, ushort index)
    {
        if (vcpu.View == index)
        {
            return;
        }

        if (Find(vcpu.View) is { } left)
        {
            left.Users--;
        }

        var view = Find(index);
        if (view is not null)
        {
            view.Users++;
        }

        vcpu.EnterView(index, view ?? (P2mTable)_host);
    }

    // Under the host's lock. A page that goes away may be what another frame of a view leads to, which nobody keeps
    // count of: such a view starts anew, and when it happens to two, all do.
    private bool HostChanged(ulong gfn, P2mEntry old, P2mEntry entry)
    {
        if (!_active)
        {
            return false;
        }

        var flush = false;
        var dropped = old.IsPresent && old.MachineAddress != entry.MachineAddress;
        var resets = 0;
        foreach (var view in _views)
        {
            if (view is null)
            {
                continue;
            }

            if (dropped && view.MayLeadTo(gfn))
            {
                view.Reset();
                resets++;
                flush = true;
            }
            else
            {
                view.Follow(gfn, entry, ref flush);
            }
        }

        if (resets > 1)
        {
            foreach (var view in _views)
            {
                view?.Reset();
            }
        }

        return flush;
    }

    private void Flush(bool needed)
    {
        if (needed)
        {
            _domain.FlushTlbs();
        }
    }
}
