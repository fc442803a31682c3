using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Cpu;
using Introspect.Hypervisor.Core.Domains;
using Introspect.Hypervisor.Core.Platform;
using Introspect.Hypervisor.Core.Platform.Apic;

namespace Introspect.Hypervisor.Core.Execution;

/// <summary>
/// What interrupts the vCPU, in Xen's order (<c>hvm_vcpu_has_pending_irq</c>): an NMI, the domain's callback vector,
/// which goes past the local APIC, and the APIC's requests.
/// </summary>
internal sealed partial class VcpuRunner : ILocalApicHost
{
    private readonly LocalApic? _apic;

    /// <summary>Vector by which the local APIC tells the vCPU of events; 0: none was chosen.</summary>
    public byte UpcallVector { get; set; }

    /// <summary>The local APIC, or null.</summary>
    public LocalApic? Apic => _apic;

    ulong ILocalApicHost.Nanoseconds => _platform.Clock.ToNanoseconds(_platform.ReadCycles(_vcpu, _cpu.RetiredNow));

    ulong ILocalApicHost.Timestamp => Tsc;

    byte ILocalApicHost.DueUpcallVector => _platform.Shared.IsUpcallPending(_vcpu.Id) ? UpcallVector : (byte)0;

    ulong ILocalApicHost.NanosecondsAt(ulong timestamp)
    {
        // The guest must not find its TSC short of the deadline when the interrupt comes.
        var cycles = timestamp - _cpu.Registers.TscOffset;
        var nanoseconds = _platform.Clock.ToNanoseconds(cycles);
        return _platform.Clock.ToCycles(nanoseconds) < cycles ? nanoseconds + 1 : nanoseconds;
    }

    void ILocalApicHost.Wake()
    {
        _vcpu.ClearFlag(VcpuPauseFlags.Blocked);

        // A vCPU that interrupts itself is out of the guest, and looks before it enters.
        if (!_vcpu.IsOwnThread)
        {
            _vcpu.Kick();
        }
    }

    void ILocalApicHost.Crash() => _domain.Shutdown(ShutdownReason.Crash);

    void ILocalApicHost.DeadlineChanged() => _platform.DeadlineChanged();

    /// <summary>The guest's events are pending: tells the local APIC when that is how the vCPU wants it. Any thread.</summary>
    public void AssertUpcall()
    {
        if (UpcallVector != 0)
        {
            _apic?.RequestUpcall(UpcallVector);
        }
    }

    /// <summary>HVMOP_set_evtchn_upcall_vector: this vCPU's upcall comes through its local APIC. Any thread.</summary>
    public void ChooseUpcallVector(byte vector)
    {
        UpcallVector = vector;
        AssertUpcall();
    }

    /// <summary>The APIC's state was loaded: what of it is kept elsewhere follows.</summary>
    public void ApicLoaded() => _msrs.ApicBase = _apic!.Base;

    /// <inheritdoc/>
    public bool ReadDevice(ulong gpa, int size, out ulong value)
    {
        if (_apic is { } apic && apic.Covers(gpa))
        {
            value = apic.ReadMemory(gpa, size);
            return true;
        }

        value = ~0UL;
        return false;
    }

    /// <inheritdoc/>
    public bool WriteDevice(ulong gpa, int size, ulong value)
    {
        if (_apic is { } apic && apic.Covers(gpa))
        {
            apic.WriteMemory(gpa, size, (uint)value);
            return true;
        }

        return false;
    }

    bool IMsrCpu.ReadApic(uint msr, out ulong value)
    {
        value = 0;
        if (_apic is not { } apic)
        {
            return false;
        }

        if (msr == Msr.TscDeadline)
        {
            value = apic.TscDeadline;
            return true;
        }

        return apic.ReadMsr(msr, out value);
    }

    bool IMsrCpu.WriteApic(uint msr, ulong value)
    {
        if (_apic is not { } apic)
        {
            return false;
        }

        if (msr == Msr.TscDeadline)
        {
            apic.TscDeadline = value;
            return true;
        }

        return apic.WriteMsr(msr, value);
    }

    void IMsrCpu.OnApicBaseChanged(ulong oldValue, ulong newValue) => _apic?.ChangeBase(newValue);

    /// <summary>CR8 is the local APIC's task priority; without one it is a register of its own.</summary>
    private ulong ReadCr8() => _apic?.Cr8 ?? _cpu.Registers.Cr8;

    private bool WriteCr8(ulong value)
    {
        if (!_cpu.WriteCr8(value))
        {
            return false;
        }

        if (_apic is { } apic)
        {
            apic.Cr8 = value;
        }

        return true;
    }

    /// <summary>Gives the guest what interrupts it, when it can take it; else asks to be told when it can.</summary>
    private void OfferInterrupts()
    {
        ref var state = ref _cpu.Registers;
        state.Intercepts &= ~(Intercepts.InterruptWindow | Intercepts.NmiWindow);

        // As on Xen, no interrupt is offered while the monitor steps the vCPU, and none to a fork that is to have none.
        if (_singleStep || _domain.BlocksInterrupts || (HasNmi && !OfferNmi()))
        {
            return;
        }

        var callback = CallbackVector();
        if (callback != 0 && _platform.Shared.IsUpcallPending(_vcpu.Id))
        {
            if (!_cpu.IsInterruptible)
            {
                state.Intercepts |= Intercepts.InterruptWindow;
                return;
            }

            _cpu.Inject(new PendingEvent { Valid = true, Vector = callback, Type = EventType.ExternalInterrupt });
        }

        DeliverSyntheticTimers();
        if (_apic is { HasRequests: true } apic)
        {
            OfferRequest(apic);
        }
    }

    /// <summary>The highest request of the APIC; what waits behind it or behind something else gets a window.</summary>
    private void OfferRequest(LocalApic apic)
    {
        if (!apic.TryFindPending(out var vector))
        {
            return;
        }

        if (_cpu.IsInterruptible)
        {
            apic.Acknowledge(vector);
            _cpu.Inject(new PendingEvent { Valid = true, Vector = vector, Type = EventType.ExternalInterrupt });
            if (!apic.HasRequests || !apic.TryFindPending(out _))
            {
                return;
            }
        }

        _cpu.Registers.Intercepts |= Intercepts.InterruptWindow;
    }

    /// <summary>An NMI is taken as soon as the last one's handler returned. False: nothing else is to come before it.</summary>
    private bool OfferNmi()
    {
        if (!_cpu.IsNmiOpen)
        {
            _cpu.Registers.Intercepts |= Intercepts.NmiWindow;
            return false;
        }

        TakeNmi();
        _cpu.Inject(new PendingEvent { Valid = true, Vector = Vector.Nmi, Type = EventType.Nmi });
        return true;
    }

    /// <summary>The domain's callback vector, or 0.</summary>
    private byte CallbackVector()
    {
        var via = _domain.GetParam(HvmParam.CallbackIrq);
        return via >> HvmParam.CallbackTypeShift == HvmParam.CallbackTypeVector && (byte)via >= ApicBits.FirstVector ? (byte)via : (byte)0;
    }

    /// <summary>Something waits that would interrupt the vCPU: it does not block.</summary>
    private bool IsInterruptWaiting
    {
        get
        {
            DeliverSyntheticTimers();
            return HasNmi || HasStartRequest || _platform.Shared.IsUpcallPending(_vcpu.Id)
                || (_apic is { HasRequests: true } apic && apic.TryFindPending(out _));
        }
    }
}
