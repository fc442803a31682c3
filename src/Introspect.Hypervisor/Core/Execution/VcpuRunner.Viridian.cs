using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Cpu;
using Introspect.Hypervisor.Core.Domains;
using Introspect.Hypervisor.Core.Platform;
using Introspect.Hypervisor.Core.Platform.Apic;
using Introspect.Hypervisor.Core.Viridian;

namespace Introspect.Hypervisor.Core.Execution;

/// <summary>The vCPU's enlightenments: their leaves, registers and hypercalls, and the time before and after the guest.</summary>
internal sealed partial class VcpuRunner : IViridianVcpuHost, IViridianHypercallContext
{
    private ViridianVcpu? _viridian;

    LocalApic? IViridianVcpuHost.Apic => _apic;

    ulong IViridianVcpuHost.Cycles => _platform.ReadCycles(_vcpu, _cpu.RetiredNow);

    uint IViridianHypercallContext.VcpuCount => (uint)_domain.Vcpus.Count;

    void IViridianVcpuHost.Wake()
    {
        _vcpu.ClearFlag(VcpuPauseFlags.Blocked);
        _vcpu.Kick();
    }

    void IViridianVcpuHost.Crash() => _domain.Shutdown(ShutdownReason.Crash);

    bool IViridianHypercallContext.TryReadPhysical(ulong gpa, Span<byte> destination) => _platform.TryReadPhysical(gpa, destination);

    void IViridianHypercallContext.Yield() => YieldToOthers();

    void IViridianHypercallContext.FlushTlbs(UInt128 vcpus)
    {
        // Its own at once; as soon as another one is meant they all forget.
        var own = UInt128.One << (int)_vcpu.Id;
        var there = UInt128.MaxValue >> (ViridianHypercalls.MaxVcpus - _domain.Vcpus.Count);
        if ((vcpus & there & ~own) != 0)
        {
            _domain.FlushTlbs();
        }
        else if ((vcpus & own) != 0)
        {
            _cpu.RequestTlbFlush();
        }
    }

    void IViridianHypercallContext.Interrupt(uint vcpuId, byte vector)
    {
        if (_platform.Apics?.Find(vcpuId) is { IsEnabled: true } apic)
        {
            apic.Request(vector);
        }
    }

    /// <summary>The domain got its enlightenments, or the vCPU was made in one that has them.</summary>
    public void AttachViridian() => Volatile.Write(ref _viridian, _platform.Viridian?.Attach(_vcpu.Id, this));

    /// <summary>Before the entry: reference time and page are what the guest is to find.</summary>
    /// <returns>False: the domain stands still by now.</returns>
    private bool FollowReferenceTime()
    {
        if (_viridian is not { } viridian)
        {
            return true;
        }

        var domain = viridian.Domain;
        if (!domain.Time.IsRunning && !domain.Follow())
        {
            return false;
        }

        if (_domain.FindVcpu(0)?.Runner is VcpuRunner first)
        {
            domain.FollowTsc(first._cpu.Registers.TscOffset, _platform.ReadCycles(_vcpu, _cpu.RetiredNow));
        }

        domain.RefreshReferencePage();
        return true;
    }

    /// <summary>After the exit: the domain may be to stand still since a moment ago.</summary>
    private void KeepReferenceTime()
    {
        if (_viridian is { Domain.Time: { IsRunning: false } time })
        {
            time.LeftGuest(_platform.ReadCycles(_vcpu, _cpu.RetiredNow));
        }
    }

    /// <summary>Synthetic timers that went off: their messages come before the interrupts are looked at.</summary>
    private void DeliverSyntheticTimers()
    {
        if (_viridian is { HasPendingTimers: true } viridian && _apic is { IsEnabled: true } && viridian.Domain.Time.IsRunning)
        {
            viridian.DeliverTimers();
        }
    }

    private CpuidLeaf QueryCpuid(uint leaf, uint subleaf, in CpuidVcpuState vcpu) =>
        _viridian is { } viridian && leaf is >= ViridianCpuid.First and <= ViridianCpuid.Last
            ? viridian.Domain.Cpuid(leaf)
            : _platform.Policy.Query(leaf, subleaf, vcpu);

    private static bool IsViridianMsr(uint msr) => msr is >= Msr.HypervisorFirst and <= ViridianMsrRange.LastNumber;

    private MsrResult ReadAnyMsr(uint msr, out ulong value)
    {
        if (_viridian is { } viridian && IsViridianMsr(msr))
        {
            return viridian.TryRead(msr, out value) ? MsrResult.Ok : MsrResult.Fault;
        }

        return _platform.Msrs.Read(msr, in _msrs, this, out value);
    }

    private MsrResult WriteAnyMsr(uint msr, ulong value)
    {
        if (_viridian is { } viridian && IsViridianMsr(msr))
        {
            return viridian.TryWrite(msr, value) ? MsrResult.Ok : MsrResult.Fault;
        }

        return _platform.Msrs.Write(msr, value, ref _msrs, this);
    }

    /// <summary>A hypercall by viridian's page. False: it is Xen's.</summary>
    private bool TryViridianHypercall(in Exit exit)
    {
        if (_viridian is null || (_cpu.Gpr(Rax) & ViridianHypercalls.NumberBit) == 0)
        {
            return false;
        }

        if (_guest.Cpl != 0)
        {
            var refused = -(long)Errno.EPERM;
            _cpu.Gpr(Rax) = _cpu.Is64 ? (ulong)refused : (uint)refused;
        }
        else if (_cpu.Is64)
        {
            _cpu.Gpr(Rax) = ViridianHypercalls.Do(new(_cpu.Gpr(Rcx), _cpu.Gpr(Rdx), _cpu.Gpr(8)), this);
        }
        else if ((_cpu.Registers.Mode & CpuMode.SizeMask) == CpuMode.Code32)
        {
            var result = ViridianHypercalls.Do(new(Pair(Rdx, Rax), Pair(Rbx, Rcx), Pair(Rdi, Rsi)), this);
            (_cpu.Gpr(Rdx), _cpu.Gpr(Rax)) = (result >> 32, (uint)result);
        }

        _cpu.Advance(exit.InsnLength);
        return true;
    }

    private ulong Pair(int high, int low) => (_cpu.Gpr(high) << 32) | (uint)_cpu.Gpr(low);
}
