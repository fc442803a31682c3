using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Memory;

namespace Introspect.Hypervisor.Core.Domains;

/// <summary>
/// A domain's altp2m views: which there are, which vCPU is in which, and what happens to them when the host table
/// changes (Xen's <c>p2m.c</c> and <c>altp2m.c</c>). While it is on, every vCPU is in a view, at first in view 0; off,
/// all are on the host table. Any thread; a vCPU takes a new table up before it enters the guest again. What changes
/// the vCPUs' tables or ends one pauses them, as on Xen: no vCPU handles an exit of a view that it is no longer in.
/// </summary>
internal sealed partial class AltP2m
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
    private readonly CallerPause _pause;
    private bool _active;

    public AltP2m(Domain domain, int views = DefaultViews)
    {
        _domain = domain;
        _host = domain.Physmap;
        _views = new P2mView?[views];
        _pause = new CallerPause(domain);
        _host.EntryChanged = HostChanged;
    }

    /// <summary>It is on (<c>altp2m_active</c>).</summary>
    public bool IsActive => Volatile.Read(ref _active);

    /// <summary>Views that there can be.</summary>
    public int Limit => _views.Length;

    /// <summary>Switches it on, with every vCPU in view 0, or off, with every vCPU on the host table and no view left.</summary>
    /// <param name="on">What it is to be; no change is no error.</param>
    /// <param name="current">The vCPU that asks, or null.</param>
    /// <returns>ENOMEM: no address space is left; ERESTART: the domain is being destroyed.</returns>
    public Errno SetActive(bool on, Vcpu? current = null)
    {
        if (!_pause.TryPause(current))
        {
            return Errno.ERESTART;
        }

        try
        {
            return on == _active ? Errno.None : on ? SwitchOn() : SwitchOff();
        }
        finally
        {
            _pause.Unpause(current);
        }
    }

    /// <summary>Makes a view; the lowest free number is its own.</summary>
    /// <returns>EINVAL: no such access, or no number is free; ENOMEM: no address space is left.</returns>
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

            index = (ushort)free;
            return Make(free, defaultAccess);
        }
    }

    /// <summary>Takes a view away.</summary>
    /// <param name="index">The view.</param>
    /// <param name="current">The vCPU that asks, or null.</param>
    /// <returns>EBUSY: it is view 0, a vCPU is in it, or it is not there; ERESTART: the domain is being destroyed.</returns>
    public Errno Destroy(ushort index, Vcpu? current = null)
    {
        if (index == 0 || index >= Limit)
        {
            return Errno.EBUSY;
        }

        if (!_pause.TryPause(current))
        {
            return Errno.ERESTART;
        }

        try
        {
            lock (_host.Lock)
            {
                if (Find(index) is not { Users: 0 } view)
                {
                    return Errno.EBUSY;
                }

                _views[index] = null;
                view.Dispose();
                return Errno.None;
            }
        }
        finally
        {
            _pause.Unpause(current);
        }
    }

    /// <summary>Puts every vCPU into a view.</summary>
    /// <param name="index">The view.</param>
    /// <param name="current">The vCPU that asks, or null.</param>
    /// <returns>EINVAL: it is not there, or not visible; ERESTART: the domain is being destroyed.</returns>
    public Errno SwitchAll(ushort index, Vcpu? current = null)
    {
        if (index >= Limit)
        {
            return Errno.EINVAL;
        }

        if (!_pause.TryPause(current))
        {
            return Errno.ERESTART;
        }

        try
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

                return Errno.None;
            }
        }
        finally
        {
            _pause.Unpause(current);
        }
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

    private Errno SwitchOn()
    {
        lock (_host.Lock)
        {
            var made = Make(0, _host.DefaultAccess);
            if (made == Errno.None)
            {
                EnterAll(0);
                Volatile.Write(ref _active, true);
            }

            return made;
        }
    }

    private Errno SwitchOff()
    {
        lock (_host.Lock)
        {
            EnterAll(NoView);
            foreach (var vcpu in _domain.Vcpus)
            {
                vcpu.VirtualizationExceptions.Reset();
            }

            Volatile.Write(ref _active, false);
            Release();
            return Errno.None;
        }
    }

    private void EnterAll(ushort index)
    {
        foreach (var vcpu in _domain.Vcpus)
        {
            Enter(vcpu, index);
        }
    }

    private Errno Make(int index, MemoryAccess defaultAccess)
    {
        try
        {
            _views[index] = new P2mView(_host, defaultAccess);
            return Errno.None;
        }
        catch (HypervisorException refused)
        {
            return refused.Error;
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
