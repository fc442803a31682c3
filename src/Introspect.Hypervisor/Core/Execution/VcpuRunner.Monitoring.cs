using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Cpu;
using Introspect.Hypervisor.Core.Domains;
using Introspect.Hypervisor.Core.Monitoring;

namespace Introspect.Hypervisor.Core.Execution;

/// <summary>Which debug event a trap is.</summary>
internal enum MonitorDebugKind
{
    SoftwareBreakpoint,
    Singlestep,
    DebugException,
}

/// <summary>Events: whether one is wanted, what is in it, and what its sending means for the exit (Xen's <c>hvm/monitor.c</c>).</summary>
internal sealed partial class VcpuRunner
{
    /// <inheritdoc/>
    public void MonitorStateChanged()
    {
        var monitor = _domain.Monitor;
        ref var state = ref _cpu.Registers;
        var wanted = (monitor.IsMonitored(ControlRegisterIndex.Cr3) ? Intercepts.Cr3Write : 0)
            | (monitor.SoftwareBreakpoint ? Intercepts.Breakpoint : 0)
            | (monitor.DebugException ? Intercepts.Debug : 0)
            | (monitor.DescriptorAccess ? Intercepts.DescriptorTables : 0);
        const Intercepts Ours = Intercepts.Cr3Write | Intercepts.Breakpoint | Intercepts.Debug | Intercepts.DescriptorTables;
        if (((state.Intercepts ^ wanted) & Intercepts.Cr3Write) != 0)
        {
            // What the engine took from the CR3 writes that it saw, or did not see, up to now.
            _cpu.RequestTlbFlush();
        }

        state.Intercepts = (state.Intercepts & ~Ours) | wanted;
    }

    /// <summary>A control-register write. True: it is done later, when the monitor has answered.</summary>
    private bool MonitorControlRegister(ControlRegisterIndex index, ulong value, ulong old)
    {
        var monitor = _domain.Monitor;
        if (!monitor.Wants(index, value, old))
        {
            return false;
        }

        var request = NewRequest(VmEventReason.WriteCtrlreg);
        request.WriteCtrlreg = new VmEventWriteCtrlreg { Index = index, NewValue = value, OldValue = old };
        return MonitorTraps.Send(_vcpu, monitor.IsSync(index), ref request) >= 0 && monitor.ControlRegisterValues;
    }

    /// <summary>An MSR write. True: it is done later.</summary>
    private bool MonitorMsr(uint msr, ulong value, ulong old)
    {
        var monitor = _domain.Monitor;
        if (monitor.IsMsrOnChangeOnly(msr) && value == old)
        {
            return false;
        }

        var request = NewRequest(VmEventReason.MovToMsr);
        request.MovToMsr = new VmEventMovToMsr { Msr = msr, NewValue = value, OldValue = old };
        return MonitorTraps.Send(_vcpu, true, ref request) >= 0 && monitor.ControlRegisterValues;
    }

    /// <summary>A CPUID. True: the vCPU waits, and RIP is the monitor's to move.</summary>
    private bool MonitorCpuid(uint length, uint leaf, uint subleaf)
    {
        if (!_domain.Monitor.Cpuid)
        {
            return false;
        }

        var request = NewRequest(VmEventReason.Cpuid);
        request.Cpuid = new VmEventCpuid { InsnLength = length, Leaf = leaf, Subleaf = subleaf };
        return MonitorTraps.Send(_vcpu, true, ref request) > 0;
    }

    /// <summary>A breakpoint, a step or #DB. True: the vCPU waits, and nothing is delivered to the guest.</summary>
    private bool MonitorDebug(MonitorDebugKind kind, byte type, byte length)
    {
        var monitor = _domain.Monitor;
        var (wanted, sync, reason) = kind switch
        {
            MonitorDebugKind.SoftwareBreakpoint => (monitor.SoftwareBreakpoint, true, VmEventReason.SoftwareBreakpoint),
            MonitorDebugKind.Singlestep => (monitor.Singlestep, true, VmEventReason.Singlestep),
            _ => (monitor.DebugException, monitor.DebugExceptionSync, VmEventReason.DebugException),
        };
        if (!wanted)
        {
            return false;
        }

        var request = NewRequest(reason);
        request.Debug = new VmEventDebug { Gfn = _cpu.GfnOfRip() };
        if (kind != MonitorDebugKind.Singlestep)
        {
            // The pending conditions stay 0, as in every release; DR6 has them by now.
            request.Debug.Type = type;
            request.Debug.InsnLength = length;
        }

        return MonitorTraps.Send(_vcpu, sync, ref request) > 0;
    }

    private void MonitorDescriptorAccess(in Exit exit)
    {
        var request = NewRequest(VmEventReason.DescriptorAccess);
        request.DescAccess = new VmEventDescAccess
        {
            Descriptor = (DescriptorRegister)exit.Index,
            IsWrite = (byte)exit.Value,
        };
        if (_domain.Personality.Vendor == CpuVendor.Vmx)
        {
            request.DescAccess.InstrInfo = VmxPersonality.InstructionInformation(in exit);
            request.DescAccess.ExitQualification = exit.Displacement;
        }

        MonitorTraps.Send(_vcpu, true, ref request);
    }

    /// <summary>Any vmexit. True: it is not to be handled.</summary>
    private bool MonitorVmExit(in Exit exit)
    {
        var vendor = _domain.Personality.Translate(in exit, _cpu.Registers.Rip);
        var request = NewRequest(VmEventReason.VmExit);
        if (_domain.Personality.Vendor == CpuVendor.Svm)
        {
            request.VmExitSvm = new VmEventSvmExit { ExitCode = vendor.Reason, ExitInfo1 = vendor.Qualification, ExitInfo2 = vendor.Info2 };
        }
        else
        {
            request.VmExitVmx = new VmEventVmxExit { Reason = vendor.Reason, Qualification = vendor.Qualification };
        }

        return MonitorTraps.Send(_vcpu, _domain.Monitor.VmExitSync, ref request) > 0;
    }

    /// <summary>A port access. True: the vCPU waits, and the access is not done.</summary>
    private bool MonitorPortAccess(in Exit exit)
    {
        if (!_domain.Monitor.IoInstruction || _emulating)
        {
            return false;
        }

        var flags = (IoFlags)exit.Operand;
        var request = NewRequest(VmEventReason.IoInstruction);
        request.Io = new VmEventIo
        {
            Bytes = (uint)(flags & IoFlags.SizeMask),
            Port = (ushort)exit.Index,
            In = (flags & IoFlags.In) != 0 ? (byte)1 : (byte)0,
            StringOp = (flags & IoFlags.String) != 0 ? (byte)1 : (byte)0,
        };
        return MonitorTraps.Send(_vcpu, _domain.Monitor.IoInstructionSync, ref request) > 0;
    }

    /// <summary>An instruction that was to be emulated and that nothing here implements. True: the monitor was told and decides.</summary>
    private bool MonitorEmulUnimplemented()
    {
        if (!_domain.Monitor.EmulUnimplemented)
        {
            return false;
        }

        var request = NewRequest(VmEventReason.EmulUnimplemented);
        return MonitorTraps.Send(_vcpu, true, ref request) > 0;
    }

    /// <summary>The event that the guest takes next, once a response asked for it (<c>hvm_monitor_interrupt</c>).</summary>
    private void MonitorNextInterrupt()
    {
        ref var state = ref _cpu.Registers;
        if (!_nextInterrupt || !state.Pending.Valid)
        {
            return;
        }

        _nextInterrupt = false;
        var request = NewRequest(VmEventReason.Interrupt);
        request.Interrupt = new VmEventInterrupt
        {
            Vector = state.Pending.Vector,
            Type = (uint)state.Pending.Type,
            ErrorCode = state.Pending.HasErrorCode ? state.Pending.ErrorCode : TrapInjection.NoErrorCode,
            Cr2 = state.Pending.Vector == Vector.PageFault ? state.Pending.Payload : state.Cr2,
        };
        MonitorTraps.Send(_vcpu, true, ref request);
    }

    /// <summary>HVMOP_guest_request_vm_event.</summary>
    public void MonitorGuestRequest()
    {
        if (_domain.Monitor.GuestRequest)
        {
            var request = NewRequest(VmEventReason.GuestRequest);
            MonitorTraps.Send(_vcpu, _domain.Monitor.GuestRequestSync, ref request);
        }
    }

    /// <summary>A second-level violation of a page that is there (<c>p2m_mem_access_check</c>).</summary>
    private void MemoryAccessViolation(in Exit exit, NpfFlags flags, Memory.P2mEntry entry)
    {
        var gfn = exit.Gpa >> 12;
        if ((flags & NpfFlags.Write) != 0 && entry.Access == MemoryAccess.Rx2Rw)
        {
            _vcpu.P2m.LiftAccess(gfn);
            return;
        }

        var sync = entry.Access != MemoryAccess.N2Rwx;
        if (!sync)
        {
            _vcpu.P2m.LiftAccess(gfn);
        }

        if (_domain.MonitorRing is null)
        {
            if (_domain.Physmap.AccessRequired)
            {
                _domain.Shutdown(ShutdownReason.Crash);
            }
            else if (sync)
            {
                _vcpu.P2m.LiftAccess(gfn);
            }

            return;
        }

        if (_domain.Monitor.InguestPagefaultDisabled && (flags & (NpfFlags.GlaValid | NpfFlags.WithGla)) == NpfFlags.GlaValid)
        {
            // The instruction is done with its walks let through; what its data may not is told as ever.
            EmulateForMonitor(AccessOverride.IgnoreWalkRights | AccessOverride.Devices | AccessOverride.RepeatInPage, null);
            return;
        }

        var request = NewRequest(VmEventReason.MemAccess);
        request.MemAccess = new VmEventMemAccess
        {
            Gfn = gfn,
            Offset = exit.Gpa & 0xFFF,
            Gla = (flags & NpfFlags.GlaValid) != 0 ? exit.Gla : 0,
            Flags = ((flags & NpfFlags.Read) != 0 ? MemAccessFlags.Read : 0)
                | ((flags & NpfFlags.Write) != 0 ? MemAccessFlags.Write : 0)
                | ((flags & NpfFlags.Execute) != 0 ? MemAccessFlags.Execute : 0)
                | ((flags & NpfFlags.GlaValid) == 0 ? 0
                    : MemAccessFlags.GlaValid | ((flags & NpfFlags.WithGla) != 0 ? MemAccessFlags.FaultWithGla : MemAccessFlags.FaultInGpt)),
        };
        MonitorTraps.Send(_vcpu, sync, ref request);
    }

    private static VmEvent NewRequest(VmEventReason reason) => new() { Version = VmEvent.InterfaceVersion, Reason = reason };
}
