using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Cpu;
using Introspect.Hypervisor.Core.Memory;
using Introspect.Hypervisor.Core.Monitoring;
using Introspect.Hypervisor.Core.Policies;
using Introspect.Hypervisor.Core.State;

namespace Introspect.Hypervisor.Core.Domains;

/// <summary>One domain: its memory, its vCPUs, its parameters, and by what it is paused.</summary>
internal sealed partial class Domain
{
    private readonly Lock _lock = new();
    private readonly ulong[] _params = new ulong[HvmParam.Count];
    private readonly MachineExtent _ownPages;
    private Vcpu[] _vcpus = [];
    private int _pauseCount;
    private PauseCounter _controllerPauses;
    private IDomainPlatform? _platform;
    private VcpuInterleaver? _interleaver;
    private VmEventRing? _monitorRing;
    private bool _shutDown;
    private ulong? _sharedInfoGfn;

    public Domain(Machine machine, DomainId id, in DomctlCreateDomain config, VendorPersonality personality, int altP2mViews = Domains.AltP2m.DefaultViews, DomainRoles roles = DomainRoles.None)
    {
        Machine = machine;
        Id = id;
        IsControlDomain = (roles & DomainRoles.Control) != 0;
        Config = config;
        Personality = personality;
        Handle = DomainHandle.Read(config);
        MaxVcpus = config.MaxVcpus;
        Physmap = new Physmap(FlushTlbs) { HasPagingWrites = machine.Options.Monitoring.PagingWrites };
        AltP2m = new AltP2m(this, altP2mViews);
        Ram = new DomainRam(machine.Memory, $"d{id.Value}");
        Monitor = new DomainMonitorState(this, machine.Options.Monitoring);
        ForeignWriters = new ForeignWriters(this);
        Rendezvous = new VcpuRendezvous(this);
        Pages = new DomainPages(this);
        ContextSections = [new CpuContextSection(this), new XsaveContextSection(this)];
        _ownPages = machine.Memory.AllocateExtent(1, $"d{id.Value} shared_info");
        _ = _ownPages.TryTakePage(out var sharedInfo);
        SharedInfoAddress = sharedInfo;

        // A new domain is paused by the control tools until it is unpaused for the first time.
        _controllerPauses.Count = 1;
        _pauseCount = 1;
    }

    /// <summary>The machine.</summary>
    public Machine Machine { get; }

    /// <summary>Number.</summary>
    public DomainId Id { get; }

    /// <summary>UUID; a toolstack can change it (<see cref="SetHandle"/>).</summary>
    public Guid Handle { get; private set; }

    /// <summary>Name, which on Xen stands in xenstore; empty when none was given.</summary>
    public string Name { get; set; } = "";

    /// <summary>What createdomain was told.</summary>
    public DomctlCreateDomain Config { get; }

    /// <summary>The CPU vendor played.</summary>
    public VendorPersonality Personality { get; }

    /// <summary>The p2m.</summary>
    public Physmap Physmap { get; }

    /// <summary>Its altp2m views.</summary>
    public AltP2m AltP2m { get; }

    /// <summary>The RAM that the domain owns.</summary>
    public DomainRam Ram { get; }

    /// <summary>Pages that are written from outside the guest.</summary>
    public ForeignWriters ForeignWriters { get; }

    /// <summary>Where its vCPUs have each other leave the guest.</summary>
    public VcpuRendezvous Rendezvous { get; }

    /// <summary>The records of the domain's saved context, in the order in which they are saved. A platform adds its own.</summary>
    public IList<IHvmContextSection> ContextSections { get; }

    /// <summary>What is monitored.</summary>
    public DomainMonitorState Monitor { get; }

    /// <summary>Machine address of the shared_info page, which XENMEM_add_to_physmap puts into the physmap.</summary>
    public ulong SharedInfoAddress { get; }

    /// <summary>Devices, console, clock.</summary>
    public IDomainPlatform Platform => _platform ?? throw new InvalidOperationException("The domain has no platform yet.");

    /// <summary>How many vCPUs it may have (<c>d->max_vcpus</c>).</summary>
    public uint MaxVcpus { get; }

    /// <summary>Those that exist.</summary>
    public IReadOnlyList<Vcpu> Vcpus => _vcpus;

    /// <summary>The monitor ring, while it is enabled.</summary>
    public VmEventRing? MonitorRing
    {
        get => Volatile.Read(ref _monitorRing);
        set => Volatile.Write(ref _monitorRing, value);
    }

    /// <summary>Pauses of the whole domain, those of the control tools included.</summary>
    public int PauseCount => Volatile.Read(ref _pauseCount);

    /// <summary>Pauses by the control tools that were not undone.</summary>
    public int ControllerPauseCount => _controllerPauses.Count;

    /// <summary>Why the domain shut down, or <see cref="ShutdownReason.None"/>.</summary>
    public ShutdownReason ShutdownReason { get; private set; } = ShutdownReason.None;

    /// <summary>The domain shut itself down, or was.</summary>
    public bool IsShutDown => Volatile.Read(ref _shutDown);

    /// <summary>The domain is being torn down.</summary>
    public bool IsDying { get; private set; }

    /// <summary>What runs the vCPUs by turns, or null where each has a thread of its own.</summary>
    public VcpuInterleaver? Interleaver => _interleaver;

    /// <summary>Gives it another UUID, by which its nodes in the machine's store are found from now on.</summary>
    public void SetHandle(Guid handle)
    {
        Handle = handle;
        Machine.Store.SetUuid(Id.Value, handle);
    }

    /// <summary>Gives the new domain its platform.</summary>
    public void AttachPlatform(IDomainPlatform platform) => _platform = platform;

    /// <summary>The vCPU of a number, or null.</summary>
    public Vcpu? FindVcpu(uint id)
    {
        var vcpus = _vcpus;
        return id < (uint)vcpus.Length ? vcpus[id] : null;
    }

    /// <summary>Makes the vCPUs that the domain was created for; they are down until they get a state.</summary>
    public void CreateVcpus()
    {
        lock (_lock)
        {
            var vcpus = new List<Vcpu>(_vcpus);
            var first = vcpus.Count == 0;
            if (first && Platform.Turns is { } order)
            {
                _interleaver = new VcpuInterleaver(this, order);
            }

            while (vcpus.Count < MaxVcpus)
            {
                var vcpu = new Vcpu(this, (uint)vcpus.Count, Platform, _interleaver);
                vcpus.Add(vcpu);
                vcpu.Start();
            }

            _vcpus = [.. vcpus];
            if (first)
            {
                _interleaver?.Start();
            }
        }
    }

    /// <summary>Pauses the domain and returns when no vCPU is in the guest (<c>domain_pause</c>).</summary>
    public void Pause()
    {
        PauseNoSync();
        foreach (var vcpu in _vcpus)
        {
            vcpu.WaitUntilSaved();
        }
    }

    /// <summary>Pauses the domain without waiting.</summary>
    public void PauseNoSync()
    {
        Interlocked.Increment(ref _pauseCount);
        foreach (var vcpu in _vcpus)
        {
            vcpu.Kick();
        }

        _platform?.HoldChanged();
    }

    /// <summary>Undoes one pause.</summary>
    public void Unpause()
    {
        ForeignWriters.BeforeGoingOn();
        if (Interlocked.Decrement(ref _pauseCount) == 0)
        {
            _platform?.HoldChanged();
            foreach (var vcpu in _vcpus)
            {
                vcpu.Wake();
            }
        }
    }

    /// <summary>A control tool pauses (<c>XEN_DOMCTL_pausedomain</c>).</summary>
    /// <returns>EOVERFLOW: too often.</returns>
    public Errno ControllerPause()
    {
        if (!_controllerPauses.TryAdd())
        {
            return Errno.EOVERFLOW;
        }

        Pause();
        return Errno.None;
    }

    /// <summary>A control tool undoes a pause (<c>XEN_DOMCTL_unpausedomain</c>).</summary>
    /// <returns>EINVAL: no control tool paused it.</returns>
    public Errno ControllerUnpause()
    {
        if (!_controllerPauses.TryTake())
        {
            return Errno.EINVAL;
        }

        Unpause();
        return Errno.None;
    }

    /// <summary>Shuts the domain down: every vCPU is paused, and the toolstack sees the reason. The first reason stays.</summary>
    public void Shutdown(ShutdownReason reason)
    {
        lock (_lock)
        {
            if (_shutDown)
            {
                return;
            }

            ShutdownReason = reason;
            foreach (var vcpu in _vcpus)
            {
                vcpu.PauseNoSync();
            }

            Volatile.Write(ref _shutDown, true);
        }

        _platform?.HoldChanged();

        // Before anybody hears of it: who would build the next domain finds that the machine ends.
        if (DomainPolicies.EndsMachine(Roles))
        {
            Machine.End(this, reason);
        }

        Machine.NoteEnd(this);
    }

    /// <summary>Lets a domain that shut down (suspended) go on (<c>XEN_DOMCTL_resumedomain</c>).</summary>
    /// <exception cref="HypervisorException">ENODEV: the machine has ended.</exception>
    public void Resume()
    {
        lock (_lock)
        {
            if (!_shutDown)
            {
                return;
            }

            Machine.CheckRuns();
            ShutdownReason = ShutdownReason.None;
            Volatile.Write(ref _shutDown, false);
            _platform?.Resumed();
            _platform?.HoldChanged();
            foreach (var vcpu in _vcpus)
            {
                vcpu.Unpause();
            }
        }
    }

    /// <summary>
    /// Makes every vCPU forget its translations, and returns when none uses an old one. A vCPU that is not in the
    /// guest forgets before it enters.
    /// </summary>
    public void FlushTlbs() => MakeVcpusLeave(AsyncEvents.FlushTlb | AsyncEvents.Kick);

    /// <summary>Asks every vCPU for something, and returns when each was out of the guest since; they may be back already.</summary>
    public void MakeVcpusLeave(AsyncEvents events)
    {
        var vcpus = _vcpus;
        Vcpu? current = null;
        Span<long> before = stackalloc long[vcpus.Length];
        for (var i = 0; i < vcpus.Length; i++)
        {
            // A vCPU that left for the request and came back before its entries were read would never leave again,
            // and one whose entries were read first might have entered before the request: hence a second kick.
            vcpus[i].Request(events);
            before[i] = vcpus[i].Entries;
            vcpus[i].Request(AsyncEvents.Kick);
            current = vcpus[i].IsOwnThread ? vcpus[i] : current;
        }

        if (current is not null)
        {
            current.WaitsForOthers = true;
        }

        try
        {
            for (var i = 0; i < vcpus.Length; i++)
            {
                vcpus[i].WaitUntilLeft(before[i]);
            }
        }
        finally
        {
            if (current is not null)
            {
                Rendezvous.Return(current);
            }
        }
    }

    /// <summary>Where the shared_info page is mapped; null: nowhere.</summary>
    public ulong? SharedInfoGfn =>
        _sharedInfoGfn is { } gfn && Physmap[gfn].MachineAddress == SharedInfoAddress ? gfn : null;

    /// <summary>Puts the shared_info page at a frame, in the place of what was there, and takes it from where it was.</summary>
    /// <returns>EINVAL: no such frame.</returns>
    public Errno MapSharedInfo(ulong gfn)
    {
        if (gfn >= Physmap.EntryCount)
        {
            return Errno.EINVAL;
        }

        // Not under the lock: taking a page away waits for vCPUs, of which one may be about to shut the domain down.
        Rendezvous.Enter(CurrentVcpu);
        try
        {
            if (_sharedInfoGfn is { } before && Physmap[before].MachineAddress == SharedInfoAddress)
            {
                Physmap.Unmap(before);
            }

            Ram.Place(Physmap, gfn, SharedInfoAddress, P2mType.RamRw);
            _sharedInfoGfn = gfn;
            return Errno.None;
        }
        finally
        {
            Rendezvous.Leave();
        }
    }

    /// <summary>The vCPU on whose thread this runs, or null.</summary>
    public Vcpu? CurrentVcpu
    {
        get
        {
            foreach (var vcpu in _vcpus)
            {
                if (vcpu.IsOwnThread)
                {
                    return vcpu;
                }
            }

            return null;
        }
    }

    /// <summary>The extent that a page in the physmap is in, the domain's RAM or pages of the hypervisor's own; or null.</summary>
    public MachineExtent? ExtentOf(ulong machineAddress) =>
        _ownPages.Contains(machineAddress) ? _ownPages : Ram.ExtentOf(machineAddress);

    /// <summary>Reads a parameter without a check.</summary>
    public ulong GetParam(uint index) => Volatile.Read(ref _params[index]);

    /// <summary>Stores a parameter without a check.</summary>
    public void SetParam(uint index, ulong value) => Volatile.Write(ref _params[index], value);

    /// <summary>Stops everything and gives the memory back, but for pages that others still map.</summary>
    public void Destroy()
    {
        IsDying = true;
        Interlocked.Increment(ref _pauseCount);
        MonitorRing?.Close();
        foreach (var vcpu in _vcpus)
        {
            vcpu.Stop();
        }

        _interleaver?.Stop();

        // A fork that is being reset looks at its parent, and a parent at its forks.
        using var forks = Machine.ForkLock.EnterScope();

        // From here on nobody finds a vCPU, so that what follows cannot reach into memory that is freed.
        var vcpus = _vcpus;
        _vcpus = [];
        _platform?.Stop();
        MonitorRing?.Release();
        MonitorRing = null;
        foreach (var vcpu in vcpus)
        {
            vcpu.VirtualizationExceptions.Disable();
            vcpu.Dispose();
        }

        _platform?.Dispose();
        AltP2m.Release();
        Pages.Close();
        Ram.ReleaseAll(Physmap);
        _ownPages.Release(SharedInfoAddress);
        _ownPages.ReleaseOwner();
        IsGone = true;
        LeaveParent();
        if (ForkCount == 0)
        {
            Physmap.Dispose();
        }
    }
}
