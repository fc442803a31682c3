using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Cpu;
using Introspect.Hypervisor.Core.Domains;

namespace Introspect.Hypervisor.Core.Execution;

/// <summary>
/// How the vCPU comes up and goes down: INIT, SIPI, NMI, HLT. Requests of other vCPUs are notes that its own thread
/// acts on before it enters the guest, so that nobody writes to the state of a vCPU that runs, and nobody waits.
/// </summary>
internal sealed partial class VcpuRunner
{
    private const int NmiRequest = 1, InitRequest = 2, StartupRequest = 4;

    private readonly Lock _startLock = new();
    private int _requests;
    private byte _startupVector;

    private bool HasNmi => (Volatile.Read(ref _requests) & NmiRequest) != 0;

    private bool HasStartRequest => (Volatile.Read(ref _requests) & (InitRequest | StartupRequest)) != 0;

    /// <summary>An NMI: the vCPU wakes even from a HLT with interrupts off. Any thread.</summary>
    public void RaiseNmi()
    {
        if ((Interlocked.Or(ref _requests, NmiRequest) & NmiRequest) != 0)
        {
            return;
        }

        if (_vcpu.IsInitialised)
        {
            _vcpu.ClearFlag(VcpuPauseFlags.Down);
        }

        _vcpu.ClearFlag(VcpuPauseFlags.Blocked);
        _vcpu.Kick();
    }

    /// <summary>INIT: a vCPU that has a state loses it, and waits for a SIPI. Any thread.</summary>
    public void RequestInit()
    {
        lock (_startLock)
        {
            var waits = (_requests & StartupRequest) != 0;
            if (!_vcpu.IsInitialised && !waits)
            {
                return; // it is reset already
            }

            Interlocked.And(ref _requests, ~StartupRequest);
            Interlocked.Or(ref _requests, InitRequest);

            // Within the lock: the vCPU goes down, when it has seen the request, for longer than this.
            _vcpu.ClearFlag(VcpuPauseFlags.Down);
            _vcpu.ClearFlag(VcpuPauseFlags.Blocked);
        }

        _vcpu.Kick();
    }

    /// <summary>SIPI: starts a vCPU that waits for one, and means nothing to others. Any thread.</summary>
    public void RequestStartup(byte vector)
    {
        lock (_startLock)
        {
            if ((_requests & StartupRequest) != 0 || (_vcpu.IsInitialised && (_requests & InitRequest) == 0))
            {
                return;
            }

            _startupVector = vector;
            Interlocked.Or(ref _requests, StartupRequest);
            _vcpu.ClearFlag(VcpuPauseFlags.Down);
        }
    }

    /// <summary>VCPUOP_initialise. False: the vCPU has a state, or is about to get one.</summary>
    public bool TryInitialise(in VcpuHvmContext context)
    {
        lock (_startLock)
        {
            if (_vcpu.IsInitialised || HasStartRequest)
            {
                return false;
            }

            VcpuInitialState.Load(_cpu, in context);
            StateReplaced();
            _vcpu.IsInitialised = true;
            return true;
        }
    }

    /// <inheritdoc/>
    public void Settle()
    {
        if (!HasStartRequest)
        {
            return;
        }

        bool down;
        lock (_startLock)
        {
            var requests = Interlocked.And(ref _requests, ~(InitRequest | StartupRequest));
            if ((requests & InitRequest) != 0)
            {
                ForgetState();
            }

            down = (requests & StartupRequest) == 0;
            if (!down && !_vcpu.IsInitialised)
            {
                StartupState.Load(_cpu, _startupVector);
                StateReplaced();
                FollowFirstVcpu();
                _vcpu.IsInitialised = true;
            }

            if (down)
            {
                // Within the lock, so that a SIPI that comes now takes the flag away again.
                _runstate.Set(RunstateKind.Offline);
                _vcpu.SetFlag(VcpuPauseFlags.Down);
            }
        }

        if (down)
        {
            EndWithLastVcpu();
        }
    }

    /// <summary>The vCPU is taken down; when none is left up, the domain is powered off.</summary>
    public void TakeDown()
    {
        _vcpu.SetFlag(VcpuPauseFlags.Down);
        _runstate.Set(RunstateKind.Offline);

        // What came before the flag was seen would bring nobody up.
        if (HasStartRequest || (HasNmi && _vcpu.IsInitialised))
        {
            _vcpu.ClearFlag(VcpuPauseFlags.Down);
            return;
        }

        EndWithLastVcpu();
    }

    /// <summary>The vCPU waits for an event of its guest's.</summary>
    public void Block()
    {
        _runstate.Set(RunstateKind.Blocked);
        _vcpu.SetFlag(VcpuPauseFlags.Blocked);

        // What came before the flag was seen would wake nobody.
        if (IsInterruptWaiting || _injected.Valid || _cpu.Registers.Pending.Valid)
        {
            _vcpu.ClearFlag(VcpuPauseFlags.Blocked);
        }
        else
        {
            _platform.VcpuBlocked();
        }
    }

    /// <summary>HLT: with interrupts off only an NMI can end it, so the vCPU goes down, and with the last one the domain.</summary>
    private void Halt()
    {
        if ((_cpu.Registers.FlagsOther & RFlags.If) == 0 && !_cpu.Registers.Pending.Valid)
        {
            TakeDown();
            return;
        }

        Block();
    }

    private void TakeNmi() => Interlocked.And(ref _requests, ~NmiRequest);

    private void EndWithLastVcpu()
    {
        foreach (var vcpu in _domain.Vcpus)
        {
            if ((vcpu.Flags & VcpuPauseFlags.Down) == 0)
            {
                return;
            }
        }

        _platform.ShutDown(ShutdownReason.Poweroff);
    }

    /// <summary>INIT: the APIC is reset, and nothing that was on its way reaches the vCPU's next life.</summary>
    private void ForgetState()
    {
        _vcpu.IsInitialised = false;
        _vcpu.ClearFlag(VcpuPauseFlags.Blocked);
        _apic?.Initialise();
        _cpu.Registers.Pending = default;
        _cpu.Registers.Shadow = CpuShadow.None;
        _cpu.Registers.DueDebug = 0;
        _deferred = default;
        _emulate = VmEventFlags.None;
        lock (_injectLock)
        {
            _injected = default;
        }
    }

    /// <summary>The TSC is the first vCPU's, and nothing was added to it.</summary>
    private void FollowFirstVcpu()
    {
        _msrs.TscAdjust = 0;
        if (_domain.FindVcpu(0)?.Runner is VcpuRunner first)
        {
            _cpu.Registers.TscOffset = first._cpu.Registers.TscOffset;
            MarkTimeStale();
        }
    }
}
