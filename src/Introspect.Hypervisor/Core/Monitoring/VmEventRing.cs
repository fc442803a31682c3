using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Domains;
using Introspect.Hypervisor.Core.Memory;
using Introspect.Hypervisor.Ring;

namespace Introspect.Hypervisor.Core.Monitoring;

/// <summary>
/// A domain's monitor ring, enabled: the hypervisor's side of it, with Xen's accounting. Every request that was
/// put and not answered, and every slot that was claimed, counts against the slots; nothing is ever dropped, so
/// whoever finds no slot waits, and whoever leaves less room than one slot a vCPU is paused after its put. One lock;
/// no allocation an event.
/// </summary>
internal sealed class VmEventRing
{
    private readonly Domain _domain;
    private readonly Lock _lock = new();
    private readonly SlotQueue _queue;

    // Held while responses are applied: whoever ends the ring waits until none is.
    private readonly Lock _resumeLock = new();
    private readonly HypervisorRing _ring;
    private readonly MachineExtent _extent;
    private readonly ulong _page;
    private int _reserved;
    private int _blocked;
    private uint _lastWokenUp;
    private int _vmExitsOut;
    private int _vmExitsStale;
    private bool _closed;
    private bool _released;

    private VmEventRing(Domain domain, MachineExtent extent, ulong page, uint port)
    {
        _domain = domain;
        _extent = extent;
        _page = page;
        _ring = new HypervisorRing(domain.Machine.Memory.ToNative(page));
        _queue = new SlotQueue(domain.Vcpus.Count);
        Port = new MonitorPort(port, () => Resume());
    }

    /// <summary>The event channel.</summary>
    public MonitorPort Port { get; }

    /// <summary>Machine address of the ring page.</summary>
    public ulong Page => _page;

    /// <summary>Slots in the ring.</summary>
    public int Slots => _ring.Slots;

    /// <summary>vCPUs that wait for a slot.</summary>
    public int Waiting
    {
        get
        {
            lock (_lock)
            {
                return _queue.Count;
            }
        }
    }

    /// <summary>Slots that are free and not reserved.</summary>
    public int Available
    {
        get
        {
            lock (_lock)
            {
                return FreeSlots();
            }
        }
    }

    /// <summary>
    /// Enables a ring in the guest page that <see cref="HvmParam.MonitorRingPfn"/> names. The page is read out of
    /// the physmap now and held from now on, wherever the physmap's frame goes. It is not initialised: the monitor's work.
    /// </summary>
    /// <returns>EOPNOTSUPP: no frame was chosen; EINVAL: it has no page of RAM; ENOSPC: no event channel port is left.</returns>
    public static Errno Create(Domain domain, out VmEventRing? ring)
    {
        ring = null;
        var gfn = domain.GetParam(HvmParam.MonitorRingPfn);
        if (gfn == 0)
        {
            return Errno.EOPNOTSUPP;
        }

        if (domain.Pages.Find(gfn, write: true).Type != P2mType.RamRw || !domain.Pages.TryHold(gfn, out var extent, out var page))
        {
            return Errno.EINVAL;
        }

        if (domain.Ram.ExtentOf(page) is null)
        {
            extent.Release(page); // a page of the hypervisor's
            return Errno.EINVAL;
        }

        if (domain.Platform.AllocateMonitorPort(out var port) is var refused and not Errno.None)
        {
            extent.Release(page);
            return refused;
        }

        ring = new VmEventRing(domain, extent, page, port);
        return Errno.None;
    }

    /// <summary>Claims a slot for a request of a vCPU's own thread, which waits while there is none.</summary>
    /// <param name="current">The vCPU on whose thread this runs.</param>
    /// <param name="mayWait">Wait for a slot; else EBUSY.</param>
    /// <returns>EOPNOTSUPP: the ring is gone; EBUSY: no slot, and waiting was not allowed.</returns>
    public Errno ClaimSlot(Vcpu current, bool mayWait = true)
    {
        lock (_lock)
        {
            if (_closed)
            {
                return Errno.EOPNOTSUPP;
            }

            // A free slot and somebody who waits are never there together, so nobody is overtaken.
            if (FreeSlots() > 0)
            {
                _reserved++;
                return Errno.None;
            }

            if (!mayWait)
            {
                return Errno.EBUSY;
            }

            _queue.Enqueue(current);
        }

        return WaitForSlot(current);
    }

    /// <summary>Gives a claimed slot back unused.</summary>
    public void CancelSlot()
    {
        lock (_lock)
        {
            if (!_closed)
            {
                _reserved--;
                Wake();
            }
        }
    }

    /// <summary>
    /// Puts a request into the slot claimed before, and signals the monitor. Afterwards the vCPU may be paused,
    /// because the ring is nearly full and it has no sync event out that pauses it anyway.
    /// </summary>
    /// <returns>False when the ring went while the vCPU waited to run: nobody will answer.</returns>
    public bool PutRequest(Vcpu current, ref VmEvent request)
    {
        request.Version = VmEvent.InterfaceVersion;
        lock (_lock)
        {
            if (_closed)
            {
                return false;
            }

            _ring.Put(request);
            _ring.Push();
            _reserved--;
            _vmExitsOut += request.Reason == VmEventReason.VmExit ? 1 : 0;
            Wake();
            if (FreeSlots() < _domain.Vcpus.Count && current.VmEventPauseCount == 0 && !current.SetFlag(VcpuPauseFlags.RingFull))
            {
                current.PauseNoSync();
                _blocked++;
            }
        }

        Port.Notify();
        return true;
    }

    /// <summary>
    /// Takes every response out of the ring and lets its vCPU go on. A response of another version, or for a vCPU
    /// which does not exist, is dropped; one for a vCPU that no event paused changes nothing.
    /// </summary>
    /// <returns>ENODEV: the ring is gone.</returns>
    public Errno Resume()
    {
        lock (_resumeLock)
        {
            while (true)
            {
                VmEvent response;
                lock (_lock)
                {
                    if (_closed)
                    {
                        return Errno.ENODEV;
                    }

                    if (_ring.Take(out response) != RingStatus.Taken)
                    {
                        return Errno.None;
                    }

                    Wake();
                }

                Apply(response);
            }
        }
    }

    /// <summary>vmexit events were switched on, off or to the other kind: those in the ring are of a kind that is no more.</summary>
    public void VmExitKindChanged()
    {
        lock (_lock)
        {
            _vmExitsStale = _vmExitsOut;
        }
    }

    /// <summary>Disables the ring (<c>XEN_VM_EVENT_DISABLE</c>); the domain is paused. Pauses of unanswered sync events stay.</summary>
    /// <returns>EBUSY: vCPUs wait for a slot.</returns>
    public Errno Disable()
    {
        lock (_resumeLock)
            lock (_lock)
            {
                if (_queue.Count != 0)
                {
                    return Errno.EBUSY;
                }

                _closed = true;
                foreach (var vcpu in _domain.Vcpus)
                {
                    Unblock(vcpu);
                }
            }

        Release();
        return Errno.None;
    }

    /// <summary>The domain is being destroyed: whoever waits for a slot goes on without one.</summary>
    public void Close()
    {
        lock (_resumeLock)
            lock (_lock)
            {
                _closed = true;
                while (_queue.Count != 0)
                {
                    _queue.Dequeue().Grant(SlotGrant.Refused);
                }
            }
    }

    /// <summary>Lets go of the page and the port, once.</summary>
    public void Release()
    {
        lock (_lock)
        {
            if (_released)
            {
                return;
            }

            _closed = _released = true;
        }

        Port.Dispose();
        _domain.Platform.FreeMonitorPort(Port.Port);
        _extent.Release(_page);
    }

    private Errno WaitForSlot(Vcpu current)
    {
        // To the rest of the hypervisor a waiting vCPU stands still, so that the domain can be paused meanwhile.
        current.Deschedule();
        var claimed = _queue.Wait(current) == SlotGrant.Given;
        if (current.Reschedule())
        {
            return claimed ? Errno.None : Errno.EOPNOTSUPP;
        }

        if (claimed)
        {
            CancelSlot();
        }

        return Errno.EOPNOTSUPP;
    }

    private void Apply(in VmEvent response)
    {
        var faults = _domain.Monitor.Answers;
        if (response.Reason == VmEventReason.VmExit && TakeStale())
        {
            faults.Count(AnswerFault.Stale);
        }

        if (response.Version != VmEvent.InterfaceVersion)
        {
            faults.Count(AnswerFault.WrongVersion);
            return;
        }

        if (_domain.FindVcpu(response.VcpuId) is not { } vcpu)
        {
            faults.Count(AnswerFault.UnknownVcpu);
            return;
        }

        AnswerCheck.CountUnknown(faults, in response);

        // Whether the vCPU waits or not, and before anything else that the response asks for.
        ResetFork(response.Flags);
        if (vcpu.VmEventPauseCount == 0)
        {
            AnswerCheck.CountNotWaiting(faults, in response);
            return;
        }

        // The monitor may be faster than the vCPU's own thread, which is still busy with the exit that it reported
        // and must not find its registers or deferred writes changed under its hands. It is paused, so it stops.
        vcpu.WaitUntilStopped();
        vcpu.Runner.ApplyResponse(response);
        if ((response.Flags & VmEventFlags.VcpuPaused) != 0)
        {
            vcpu.VmEventUnpause();
        }
    }

    private bool TakeStale()
    {
        lock (_lock)
        {
            _vmExitsOut -= _vmExitsOut > 0 ? 1 : 0;
            if (_vmExitsStale == 0)
            {
                return false;
            }

            _vmExitsStale--;
            return true;
        }
    }

    private void ResetFork(VmEventFlags flags)
    {
        var state = (flags & VmEventFlags.ResetForkState) != 0;
        var memory = (flags & VmEventFlags.ResetForkMemory) != 0;
        if (!state && !memory)
        {
            return;
        }

        Errno result;
        try
        {
            result = Forking.Reset(_domain, state, memory);
        }
        catch (HypervisorException failure)
        {
            result = failure.Error;
        }

        if (result == Errno.ENOSYS)
        {
            _domain.Monitor.Answers.Count(AnswerFault.MeaninglessFlags); // the domain is no fork
        }
        else if (result != Errno.None)
        {
            // A fork that cannot be taken back must not go on as if it was.
            _domain.Shutdown(ShutdownReason.Crash);
        }
    }

    private int FreeSlots() => _ring.FreeRequests - _reserved;

    // Those who wait with a request in hand come first, in the order in which they came: a slot is theirs from here
    // on, though they have yet to run. They will call this again when they have put their request.
    private void Wake()
    {
        if (_queue.Count != 0)
        {
            while (_queue.Count != 0 && FreeSlots() > 0)
            {
                _reserved++;
                _queue.Dequeue().Grant(SlotGrant.Given);
            }

            return;
        }

        var vcpus = _domain.Vcpus;
        var available = FreeSlots();

        // From the one after the last woken on, so that high numbers do not starve.
        for (var i = 1; i <= vcpus.Count && _blocked != 0 && available > 0; i++)
        {
            var index = (int)((_lastWokenUp + i) % vcpus.Count);
            if (Unblock(vcpus[index]))
            {
                _lastWokenUp = (uint)index;
                available--;
            }
        }
    }

    private bool Unblock(Vcpu vcpu)
    {
        if (!vcpu.ClearFlag(VcpuPauseFlags.RingFull))
        {
            return false;
        }

        _blocked--;
        vcpu.Unpause();
        return true;
    }
}
