using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Cpu;
using Introspect.Hypervisor.Core.Cpu.SystemMode;
using Introspect.Hypervisor.Core.Platform;

namespace Introspect.Hypervisor.Core.Execution;

/// <summary>
/// Writes of control registers and MSRs: checked as far as the processor checks before anything else, reported,
/// then done, or put off until the monitor's response where DENY is to be honoured.
/// </summary>
internal sealed partial class VcpuRunner : IMsrCpu
{
    private const ulong Cr0Pe = 1, Cr0Et = 1 << 4, Cr0Ts = 1 << 3, Cr0Pg = 1UL << 31;
    private const ulong Cr4Pcide = 1 << 17, Cr4Pae = 1 << 5, Cr3NoFlush = 1UL << 63, Cr3Pcid = 0xFFF;

    bool IMsrCpu.PagingEnabled => (_cpu.Registers.Cr0 & Cr0Pg) != 0;

    bool IMsrCpu.FiveLevelPaging => (_cpu.Registers.Cr4 & (1 << 12)) != 0;

    ulong IMsrCpu.Timestamp
    {
        get => Tsc;
        set
        {
            Tsc = value;
            MarkTimeStale();
        }
    }

    ulong IMsrCpu.ReadRegister(CpuMsr register)
    {
        ref var state = ref _cpu.Registers;
        return register switch
        {
            CpuMsr.Efer => state.Efer,
            CpuMsr.Star => state.Star,
            CpuMsr.Lstar => state.Lstar,
            CpuMsr.Cstar => state.Cstar,
            CpuMsr.SyscallMask => state.SyscallMask,
            CpuMsr.FsBase => _cpu.Segment(SegmentIndex.Fs).Base,
            CpuMsr.GsBase => _cpu.Segment(SegmentIndex.Gs).Base,
            CpuMsr.KernelGsBase => state.KernelGsBase,
            CpuMsr.SysenterCs => state.SysenterCs,
            CpuMsr.SysenterEsp => state.SysenterEsp,
            CpuMsr.SysenterEip => state.SysenterEip,
            CpuMsr.TscAux => state.TscAux,
            _ => state.Pat,
        };
    }

    void IMsrCpu.WriteRegister(CpuMsr register, ulong value)
    {
        ref var state = ref _cpu.Registers;
        switch (register)
        {
            case CpuMsr.Efer: _cpu.WriteEfer(value, in _limits); break;
            case CpuMsr.Star: state.Star = value; break;
            case CpuMsr.Lstar: state.Lstar = value; break;
            case CpuMsr.Cstar: state.Cstar = value; break;
            case CpuMsr.SyscallMask: state.SyscallMask = value; break;
            case CpuMsr.FsBase: _cpu.Segment(SegmentIndex.Fs).Base = value; break;
            case CpuMsr.GsBase: _cpu.Segment(SegmentIndex.Gs).Base = value; break;
            case CpuMsr.KernelGsBase: state.KernelGsBase = value; break;
            case CpuMsr.SysenterCs: state.SysenterCs = value; break;
            case CpuMsr.SysenterEsp: state.SysenterEsp = value; break;
            case CpuMsr.SysenterEip: state.SysenterEip = value; break;
            case CpuMsr.TscAux: state.TscAux = value; break;
            default: state.Pat = value; break;
        }
    }

    private void WriteControlRegister(in Exit exit)
    {
        var done = exit.Index switch
        {
            0 => exit.Access == CrAccess.Clts ? ClearTaskSwitched(exit.Value) : SetCr0(exit.Value, mayDefer: true),
            3 => SetCr3(exit.Value, mayDefer: true),
            4 => SetCr4(exit.Value, mayDefer: true),
            _ => WriteCr8(exit.Value),
        };
        if (done)
        {
            _cpu.Advance(exit.InsnLength);
        }
    }

    /// <summary>CLTS on VMX reports, and does its work whatever the monitor says; on SVM it is a write like any other.</summary>
    private bool ClearTaskSwitched(ulong value)
    {
        if (_domain.Personality.Vendor == CpuVendor.Svm)
        {
            return SetCr0(value, mayDefer: true);
        }

        MonitorControlRegister(ControlRegisterIndex.Cr0, value, _cpu.Registers.Cr0);
        _cpu.Registers.Cr0 &= ~Cr0Ts;
        return true;
    }

    private bool SetCr0(ulong value, bool mayDefer)
    {
        if (value >> 32 != 0 || (value & (Cr0Pe | Cr0Pg)) == Cr0Pg)
        {
            _cpu.Raise(Vector.GeneralProtection, 0);
            return false;
        }

        // Bits that CR0 does not have are dropped before anybody sees them.
        value = ControlRegisters.DefinedCr0(value);
        if (mayDefer && MonitorControlRegister(ControlRegisterIndex.Cr0, value, _cpu.Registers.Cr0))
        {
            (_deferred.HasCr0, _deferred.Cr0) = (true, value);
            return true;
        }

        return _cpu.WriteCr0(value);
    }

    private bool SetCr3(ulong value, bool mayDefer)
    {
        // The no-flush bit is an instruction to the processor, not part of the value.
        var flushBit = (_cpu.Registers.Cr4 & Cr4Pcide) != 0 ? value & Cr3NoFlush : 0;
        value &= ~flushBit;
        if (value >> Mmu.PhysicalBits != 0)
        {
            _cpu.Raise(Vector.GeneralProtection, 0);
            return false;
        }

        if (mayDefer && MonitorControlRegister(ControlRegisterIndex.Cr3, value, _cpu.Registers.Cr3))
        {
            (_deferred.HasCr3, _deferred.Cr3) = (true, value | flushBit);
            return true;
        }

        return _cpu.WriteCr3(value | flushBit);
    }

    private bool SetCr4(ulong value, bool mayDefer)
    {
        var enablesPcid = (value & ~_cpu.Registers.Cr4 & Cr4Pcide) != 0;
        if ((value & ~_limits.Cr4) != 0
            || ((value & Cr4Pae) == 0 && IsLongMode)
            || (enablesPcid && (!IsLongMode || (_cpu.Registers.Cr3 & Cr3Pcid) != 0)))
        {
            _cpu.Raise(Vector.GeneralProtection, 0);
            return false;
        }

        if (mayDefer && MonitorControlRegister(ControlRegisterIndex.Cr4, value, _cpu.Registers.Cr4))
        {
            (_deferred.HasCr4, _deferred.Cr4) = (true, value);
            return true;
        }

        return _cpu.WriteCr4(value, in _limits);
    }

    private void WriteXcr0(in Exit exit)
    {
        // Reported before the value is checked, and not deniable.
        if (exit.Index == 0)
        {
            MonitorControlRegister(ControlRegisterIndex.Xcr0, exit.Value, _cpu.Registers.Xcr0);
        }

        if (_cpu.WriteXcr0(exit.Index, exit.Value, in _limits))
        {
            _cpu.Advance(exit.InsnLength);
        }
    }

    private void ReadMsr(in Exit exit)
    {
        if (ReadAnyMsr(exit.Index, out var value) != MsrResult.Ok)
        {
            _cpu.Raise(Vector.GeneralProtection, 0);
            return;
        }

        _cpu.Gpr(Rax) = (uint)value;
        _cpu.Gpr(Rdx) = value >> 32;
        _cpu.Advance(exit.InsnLength);
    }

    private void WriteMsr(in Exit exit)
    {
        if (SetMsr(exit.Index, exit.Value, mayDefer: true))
        {
            _cpu.Advance(exit.InsnLength);
        }
    }

    /// <summary>Writes an MSR; false with #GP pending.</summary>
    private bool SetMsr(uint msr, ulong value, bool mayDefer)
    {
        if (mayDefer && _domain.Monitor.IsMsrMonitored(msr))
        {
            // The old value is read first; what cannot be read is refused without an event.
            if (ReadAnyMsr(msr, out var old) != MsrResult.Ok)
            {
                _cpu.Raise(Vector.GeneralProtection, 0);
                return false;
            }

            if (MonitorMsr(msr, value, old))
            {
                (_deferred.HasMsr, _deferred.Msr, _deferred.MsrValue) = (true, msr, value);
                return true;
            }
        }

        var done = WriteAnyMsr(msr, value) switch
        {
            MsrResult.Ok => true,
            MsrResult.WriteHypercallPage => WriteHypercallPage(value),
            _ => false,
        };
        if (!done)
        {
            _cpu.Raise(Vector.GeneralProtection, 0);
        }

        return done;
    }

    private bool WriteHypercallPage(ulong gpa)
    {
        var entry = _domain.Pages.Find(gpa >> 12, write: true);
        if (entry.Type != Memory.P2mType.RamRw)
        {
            return false;
        }

        var page = new byte[Gfn.PageSize];
        HypercallPage.Build(_domain.Personality.Vendor, page);
        _cpu.StoreToMachinePage(entry.MachineAddress, page);
        _platform.Shared.Latch(IsLongMode);
        return true;
    }
}
