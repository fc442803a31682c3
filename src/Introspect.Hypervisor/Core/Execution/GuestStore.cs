using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Domains;
using Introspect.Hypervisor.Core.Platform;
using Introspect.Hypervisor.Core.Xenstore;

namespace Introspect.Hypervisor.Core.Execution;

/// <summary>
/// A guest's way to the machine's store: its page, which is held as long as it is connected, and its event channel. A fork
/// has none, as on Xen: no toolstack introduces it.
/// </summary>
internal sealed class GuestStore(DomainPlatform platform) : IStoreLink, IClosablePeer
{
    private readonly Domain _domain = platform.Domain;
    private ulong _page;
    private ulong _gfn;
    private uint _port;
    private bool _standsStill;
    private bool _isOwed;

    /// <inheritdoc/>
    public Span<byte> Page => _domain.Machine.Memory.RestOfPage(_page);

    /// <inheritdoc/>
    public bool IsStill
    {
        get
        {
            // What forks share of their parent is what it was.
            var still = Volatile.Read(ref _standsStill) || _domain.ForkCount != 0;
            _isOwed |= still;
            return still;
        }
    }

    private XenStore Store => _domain.Machine.Store;

    /// <summary>Takes the port that a toolstack gives a domain for its store.</summary>
    public void TakePort()
    {
        if (platform.Events.AllocateUnbound(remoteDomain: BootDomain.Number, out var port) == 0)
        {
            _port = port;
            _domain.SetParam(HvmParam.StoreEvtchn, port);
            ConnectPort();
        }
    }

    /// <summary>Connects the guest, where it has a page for that.</summary>
    /// <param name="saved">What it was to the store when it was saved; null: it is new.</param>
    public void Connect(StoreState? saved = null)
    {
        var gfn = _domain.GetParam(HvmParam.StorePfn);
        if (_page != 0 && gfn == _gfn)
        {
            return;
        }

        Disconnect();
        if (gfn == 0 || _domain.Parent is not null || !_domain.Pages.TryPin(gfn, out _page))
        {
            return;
        }

        _gfn = gfn;
        ConnectPort();
        Store.Introduce(
            new StoreDomain
            {
                Id = _domain.Id.Value,
                Uuid = _domain.Handle,
                Name = _domain.Name,
                MemoryKiB = MemoryKiB(),
                Vcpus = _domain.MaxVcpus,
                Store = (gfn, _port),
                Console = (_domain.GetParam(HvmParam.ConsolePfn), (uint)_domain.GetParam(HvmParam.ConsoleEvtchn)),
            },
            this,
            saved);
    }

    /// <summary>Takes the guest and its nodes out of the store.</summary>
    public void Disconnect()
    {
        if (_page == 0)
        {
            return;
        }

        // First of all nobody looks at the page any more.
        Store.Release(_domain.Id.Value);
        _domain.Pages.Unpin(_page);
        (_page, _gfn) = (0, 0);
    }

    /// <summary>The guest has another page for its console than before.</summary>
    public void TellConsole()
    {
        if (_page != 0)
        {
            Store.SetConsole(_domain.Id.Value, _domain.GetParam(HvmParam.ConsolePfn), (uint)_domain.GetParam(HvmParam.ConsoleEvtchn));
        }
    }

    /// <summary>What it is to the store, for its saved file; null: it is not connected.</summary>
    public byte[]? Save() => _page == 0 ? null : Store.Save(_domain.Id.Value);

    /// <summary>The page is not written to until <see cref="GoOn"/>.</summary>
    public void StandStill()
    {
        Volatile.Write(ref _standsStill, true);
        Store.Settle();
    }

    /// <summary>The page may be written to again.</summary>
    public void GoOn()
    {
        Volatile.Write(ref _standsStill, false);
        CatchUp();
    }

    /// <summary>The domain goes on: it gets what could not be written before.</summary>
    public void CatchUp()
    {
        if (_isOwed && !IsStill)
        {
            _isOwed = false;
            Store.Serve(_domain.Id.Value);
        }
    }

    /// <summary>The guest signalled.</summary>
    void IEventChannelPeer.Signal() => Store.Serve(_domain.Id.Value);

    void IClosablePeer.OnClosed() => _port = 0;

    void IStoreLink.Signal()
    {
        // Should it be code, too: whoever decoded it forgets it.
        if (_domain.Machine.Memory.HasCode(_page))
        {
            ReadOnlySpan<ulong> page = [_page / Memory.MachineMemory.PageSize];
            foreach (var vcpu in _domain.Vcpus)
            {
                vcpu.PagesWritten(page);
            }
        }

        if (_port != 0)
        {
            platform.Events.Signal(_port);
        }
    }

    // Refused where it is connected: a domain that was saved by a release without a store has it unbound.
    private void ConnectPort() => _ = platform.Events.Connect(_port, remoteDomain: BootDomain.Number, remotePort: _port, this);

    // Of a domain that is still being built, what it has so far beside the special pages, as every builder has them.
    private ulong MemoryKiB()
    {
        const ulong BytesInKiB = 1024;
        var told = 0UL;
        foreach (var range in platform.MemoryMap)
        {
            told += range.Type == MemmapType.Ram ? range.Size : 0;
        }

        var pages = Math.Max(0, _domain.Ram.TotalPages - SpecialPages.Count);
        return (told != 0 ? told : (ulong)pages * Gfn.PageSize) / BytesInKiB;
    }
}
