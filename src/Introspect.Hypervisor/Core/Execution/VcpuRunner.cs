using System.Runtime.InteropServices;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Cpu;
using Introspect.Hypervisor.Core.Cpu.SystemMode;
using Introspect.Hypervisor.Core.Domains;
using Introspect.Hypervisor.Core.Platform;

namespace Introspect.Hypervisor.Core.Execution;

/// <summary>
/// Runs one vCPU: enters the guest, and handles what makes it leave, in the order in which Xen does. Handling an
/// exit may send an event and so pause the vCPU; what is put off until the response is done before the next entry.
/// </summary>
internal sealed partial class VcpuRunner : IVcpuRunner, ICpuHost
{
    private readonly Vcpu _vcpu;
    private readonly Domain _domain;
    private readonly DomainPlatform _platform;
    private readonly Cpu.Cpu _cpu;
    private readonly GuestContext _guest;
    private readonly Lock _injectLock = new();
    private ControlLimits _limits;
    private MsrState _msrs;
    private readonly RunstateClock _runstate;
    private PendingEvent _injected;
    private bool _timeIsStale = true;

    public VcpuRunner(Vcpu vcpu, DomainPlatform platform)
    {
        _vcpu = vcpu;
        _domain = vcpu.Domain;
        _platform = platform;
        _runstate = new RunstateClock(platform);
        _cpu = Core.Cpu.Cpu.Create(this, _domain.Machine.Memory, _domain.Physmap, _domain.Personality.Vendor);
        _cpu.ForcedEmulationPrefix = platform.Options.ForcedEmulationPrefix;
        _cpu.HasSmap = platform.Policy.Has(CpuFeature.Smap);
        _cpu.CodePageInvalidated = OnCodePageInvalidated;
        _limits = LimitsOf(platform.Policy);
        _msrs = MsrState.AtReset(platform.Policy, vcpu.Id);
        _guest = new GuestContext(this);
        _apic = platform.Apics?.Attach(vcpu.Id, this);
        AttachViridian();
        MonitorStateChanged();
        if (_domain.MaxVcpus > 1)
        {
            _cpu.Registers.Intercepts |= Intercepts.Pause;
        }
    }

    /// <inheritdoc/>
    public ref CpuState State => ref _cpu.Registers;

    /// <inheritdoc/>
    public ulong Rflags
    {
        get => _cpu.Rflags;
        set => _cpu.Rflags = (uint)value;
    }

    /// <inheritdoc/>
    public ulong Tsc
    {
        get => _platform.ReadCycles(_vcpu, _cpu.RetiredNow) + _cpu.Registers.TscOffset;
        set => _cpu.Registers.TscOffset = value - _platform.ReadCycles(_vcpu, _cpu.RetiredNow);
    }

    /// <summary>The vCPU.</summary>
    public Vcpu Vcpu => _vcpu;

    /// <summary>The domain's platform.</summary>
    public DomainPlatform Platform => _platform;

    /// <summary>The vCPU as hypercalls see it.</summary>
    public GuestContext Guest => _guest;

    /// <summary>The CPU.</summary>
    public Cpu.Cpu Cpu => _cpu;

    /// <summary>EFER.LMA: what a guest that registers something is.</summary>
    public bool IsLongMode => (_cpu.Registers.Efer & Efer.LMA) != 0;

    /// <summary>Where the vCPU spends its time.</summary>
    public RunstateClock Runstate => _runstate;

    /// <inheritdoc/>
    public void BeforeEntry()
    {
        _runstate.Set(RunstateKind.Running);
        // First of all: the table that was in force may be gone.
        TakeUpView();

        if (HasStartRequest)
        {
            Settle();
            if (!_vcpu.IsInitialised)
            {
                return; // down; a SIPI that comes now finds the vCPU kicked, so that it does not run before it looks
            }
        }

        if ((_vcpu.Flags & VcpuPauseFlags.Down) != 0)
        {
            _runstate.Set(RunstateKind.Offline); // taken down by another vCPU, which said so before this one ran
        }

        // What is done for the monitor is no step of the guest's.
        _cpu.Registers.MonitorTrap = false;
        ResumeFromEvent();
        if (_vcpu.VmEventPauseCount != 0)
        {
            return; // that sent an event: nothing is injected before its response
        }

        TakeInjectedEvent();
        RefreshTime();
        FollowReferenceTime();
        OfferInterrupts();
        MonitorNextInterrupt();
        _cpu.Registers.MonitorTrap = _singleStep;
        TakeUpView();
    }

    /// <inheritdoc/>
    public bool Run(long instructions)
    {
        if (!FollowReferenceTime())
        {
            return false; // the domain was paused meanwhile
        }

        var exit = _cpu.Run(instructions);
        KeepReferenceTime();
        if (_platform.Clock.Source == ClockSource.Instructions)
        {
            // Let the clock see the instructions, and whoever waits for it.
            if (_platform.Clock.ToNanoseconds(_platform.ReadCycles(_vcpu, _cpu.RetiredNow)) >= _platform.Timers.NextDeadline)
            {
                _platform.DeadlineChanged();
            }
        }

        HandleExit(in exit);
        return exit.Kind is not (ExitKind.None or ExitKind.Budget or ExitKind.Kick);
    }

    /// <inheritdoc/>
    public ulong Retired => _cpu.RetiredNow;

    /// <inheritdoc/>
    public bool TakeYield()
    {
        var yielded = _yielded;
        _yielded = false;
        return yielded;
    }

    /// <inheritdoc/>
    public void StateReplaced()
    {
        ref var state = ref _cpu.Registers;
        state.Cpl = (state.Cr0 & 1) == 0 ? 0
            : (state.FlagsOther & RFlags.Vm) != 0 ? 3
            : _cpu.Segment(SegmentIndex.Ss).Dpl;
        state.Shadow = CpuShadow.None;
        state.DueDebug = 0;
        _cpu.StateChanged();
    }

    /// <inheritdoc/>
    public ulong SupportedXcr0 => _limits.Xcr0;

    /// <inheritdoc/>
    public bool IsLoadable(in HvmHwCpu context)
    {
        const ulong Pe = 1, Pg = 1UL << 31;
        return context.Cr0 >> 32 == 0
            && (context.Cr0 & (Pe | Pg)) != Pg
            && (context.Cr4 & ~_limits.Cr4) == 0
            && (context.MsrEfer & ~_limits.Efer) == 0;
    }

    /// <inheritdoc/>
    public Errno InjectEvent(in DmOpInjectEvent injected)
    {
        lock (_injectLock)
        {
            if (_injected.Valid)
            {
                return Errno.EBUSY;
            }

            _injected = new PendingEvent
            {
                Valid = true,
                Vector = injected.Vector,
                Type = (EventType)injected.Type,
                InsnLength = injected.InsnLength,
                HasErrorCode = injected.ErrorCode != TrapInjection.NoErrorCode,
                ErrorCode = injected.ErrorCode == TrapInjection.NoErrorCode ? 0 : injected.ErrorCode,
                Payload = injected.Cr2,
            };
        }

        _vcpu.ClearFlag(VcpuPauseFlags.Blocked);
        _vcpu.Kick();
        return Errno.None;
    }

    /// <inheritdoc/>
    public void DropCode(ulong machinePage) => _cpu.DropCode(machinePage);

    /// <inheritdoc/>
    public ulong ReadTimestamp(ulong retiredInstructions) => _platform.ReadCycles(_vcpu, retiredInstructions);

    /// <inheritdoc/>
    public bool TryGetRandom(out ulong value)
    {
        value = 0;
        _platform.World.FillRandom(MemoryMarshal.AsBytes(new Span<ulong>(ref value)));
        return true;
    }

    /// <inheritdoc/>
    public void Dispose() => _cpu.Dispose();

    private static ControlLimits LimitsOf(CpuidPolicy policy)
    {
        var cr4 = 0x7FFUL // VME to OSXMMEXCPT
            | (policy.Has(CpuFeature.Umip) ? 1UL << 11 : 0)
            | (policy.Has(CpuFeature.La57) ? 1UL << 12 : 0)
            | (policy.Has(CpuFeature.FsGsBase) ? 1UL << 16 : 0)
            | (policy.Has(CpuFeature.Pcid) ? 1UL << 17 : 0)
            | (policy.Has(CpuFeature.Xsave) ? 1UL << 18 : 0)
            | (policy.Has(CpuFeature.Smep) ? 1UL << 20 : 0)
            | (policy.Has(CpuFeature.Smap) ? 1UL << 21 : 0)
            | (policy.Has(CpuFeature.Pku) ? 1UL << 22 : 0);
        if (!policy.Has(CpuFeature.Vme))
        {
            cr4 &= ~3UL; // VME and PVI
        }

        var efer = Efer.SCE | Efer.LME | Efer.LMA | (policy.Has(CpuFeature.Nx) ? Efer.NXE : 0);
        return new ControlLimits(cr4, efer, policy.SupportedXcr0);
    }

    private void TakeInjectedEvent()
    {
        if (!_injected.Valid || _cpu.Registers.Pending.Valid)
        {
            return;
        }

        lock (_injectLock)
        {
            if (_injected.Vector == Vector.Debug)
            {
                // An injected #DB finds DR6 as it is.
                _injected.Payload = _cpu.Registers.Dr6 & 0xF;
            }

            _cpu.Inject(in _injected);
            _injected = default;
        }
    }

    private void RefreshTime()
    {
        if (_timeIsStale)
        {
            _timeIsStale = false;
            _platform.Shared.WriteTime(_vcpu.Id, Tsc, _platform.Clock.ToNanoseconds(Tsc - _cpu.Registers.TscOffset), _platform.Clock.Scale, stable: true);
            _guest.WriteTimeArea();
        }
    }

    /// <summary>The time in the vCPU's shared pages is to be written before the next entry.</summary>
    public void MarkTimeStale() => _timeIsStale = true;

    private void OnCodePageInvalidated(ulong machinePage)
    {
        if (_domain.Vcpus.Count > 1)
        {
            foreach (var other in _domain.Vcpus)
            {
                if (!ReferenceEquals(other, _vcpu) && other.Runner is VcpuRunner runner)
                {
                    runner._cpu.QueueCodeDrop(machinePage);
                }
            }
        }
    }
}
