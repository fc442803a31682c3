using System.Runtime.InteropServices;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Cpu;
using Introspect.Hypervisor.Core.Monitoring;

namespace Introspect.Hypervisor.Core.Execution;

/// <summary>
/// What a response makes of a vCPU: taken in by the thread that resumes it, done by its own before the next entry
/// (Xen's <c>vm_event_resume</c> and <c>hvm_vm_event_do_resume</c>).
/// </summary>
internal sealed partial class VcpuRunner
{
    /// <summary>Register writes that wait for the monitor's word.</summary>
    private struct DeferredWrites
    {
        public bool HasCr0, HasCr3, HasCr4, HasMsr;
        public ulong Cr0, Cr3, Cr4, MsrValue;
        public uint Msr;
    }

    private DeferredWrites _deferred;
    private VmEventFlags _emulate;
    private readonly byte[] _emulatedInsn = new byte[VmEvent.MaxEmulInsnBytes];
    private readonly byte[] _emulatedRead = new byte[VmEvent.MaxEmulReadBytes];
    private bool _singleStep;
    private bool _nextInterrupt;

    /// <inheritdoc/>
    public void MonitorAttached()
    {
    }

    /// <inheritdoc/>
    public void MonitorDetached()
    {
        // Xen frees the buffers and so loses writes that wait; here they are done, which is a named difference.
        _emulate = VmEventFlags.None;
        _singleStep = false;
        _stepsToView = null;
        _nextInterrupt = false;
    }

    /// <inheritdoc/>
    public void ApplyResponse(in VmEvent response)
    {
        if (_vcpu.VmEventPauseCount == 0)
        {
            return; // all of this is for vCPUs that wait
        }

        if (AnswerCheck.Meaningless(in response, HasMonitorTrap) != VmEventFlags.None)
        {
            _domain.Monitor.Answers.Count(AnswerFault.MeaninglessFlags);
        }

        CheckEmulation(in response);

        if ((response.Flags & VmEventFlags.ToggleSinglestep) != 0 && HasMonitorTrap)
        {
            _singleStep = !_singleStep;
        }
        else if ((response.Flags & VmEventFlags.FastSinglestep) != 0 && HasMonitorTrap)
        {
            StartFastStep(response.FastSinglestepView);
        }

        if ((response.Flags & VmEventFlags.Deny) != 0)
        {
            Deny(in response);
        }

        if ((response.Flags & VmEventFlags.AlternateP2m) != 0)
        {
            SwitchViewOrIgnore(response.AltP2mIndex);
        }

        if ((response.Flags & VmEventFlags.SetRegisters) != 0)
        {
            SetRegisters(in response.Registers);
        }

        _nextInterrupt |= (response.Flags & VmEventFlags.GetNextInterrupt) != 0;
    }

    private bool HasMonitorTrap => (_domain.Personality.Capabilities & MonitorCapabilities.Singlestep) != 0;

    /// <summary>Takes the emulation flags, of the reasons for which Xen honours them.</summary>
    private void CheckEmulation(in VmEvent response)
    {
        _emulate = VmEventFlags.None;
        if ((response.Flags & VmEventFlags.Emulate) == 0)
        {
            return;
        }

        switch (response.Reason)
        {
            case VmEventReason.MemAccess:
                if (StillViolates(in response))
                {
                    TakeReadData(in response);

                    // Instruction bytes are a breakpoint's only: Xen would run what an earlier response left.
                    _emulate = response.Flags & ~VmEventFlags.SetEmulInsnData;
                }

                break;
            case VmEventReason.DescriptorAccess:
                TakeReadData(in response);
                _emulate = response.Flags & ~VmEventFlags.SetEmulInsnData;
                break;
            case VmEventReason.SoftwareBreakpoint when (response.Flags & VmEventFlags.SetEmulInsnData) != 0:
                EventData(in response)[..VmEvent.MaxEmulInsnBytes].CopyTo(_emulatedInsn);
                _emulate = response.Flags;
                break;
            default:
                break;
        }
    }

    /// <summary>True while the access that was reported is still not allowed (<c>p2m_mem_access_emulate_check</c>).</summary>
    private bool StillViolates(in VmEvent response)
    {
        var needed = (ulong)(uint)(response.MemAccess.Flags & (MemAccessFlags.Read | MemAccessFlags.Write | MemAccessFlags.Execute));
        Memory.P2mEntry entry;
        lock (_domain.Physmap.Lock)
        {
            // Not the vCPU's own thread: under the lock its table is not taken away while it is read.
            entry = _vcpu.P2m[response.MemAccess.Gfn];
        }

        return !entry.IsPresent || !IsAllowedByAccess(entry, needed);
    }

    private void TakeReadData(in VmEvent response)
    {
        if ((response.Flags & VmEventFlags.SetEmulReadData) != 0)
        {
            var size = (int)Math.Min(response.EmulReadSize, VmEvent.MaxEmulReadBytes);
            EventData(in response).Slice(sizeof(uint), size).CopyTo(_emulatedRead);
            _cpu.EmulatedRead = _emulatedRead.AsMemory(0, size);
        }
    }

    private static ReadOnlySpan<byte> EventData(in VmEvent response) =>
        MemoryMarshal.AsBytes(new ReadOnlySpan<VmEvent>(in response))[56..];

    private void Deny(in VmEvent response)
    {
        var denied = response.Reason switch
        {
            VmEventReason.MovToMsr => Take(ref _deferred.HasMsr),
            VmEventReason.WriteCtrlreg => response.WriteCtrlreg.Index switch
            {
                ControlRegisterIndex.Cr0 => Take(ref _deferred.HasCr0),
                ControlRegisterIndex.Cr3 => Take(ref _deferred.HasCr3),
                ControlRegisterIndex.Cr4 => Take(ref _deferred.HasCr4),
                _ => false,
            },
            _ => false,
        };
        if (!denied)
        {
            _domain.Monitor.Answers.Count(AnswerFault.IgnoredDeny);
        }
    }

    private static bool Take(ref bool waiting)
    {
        var was = waiting;
        waiting = false;
        return was;
    }

    /// <summary>SET_REGISTERS: the general registers, RFLAGS and RIP, and nothing else.</summary>
    private void SetRegisters(in VmEventRegisters registers)
    {
        _cpu.Gpr(0) = registers.Rax;
        _cpu.Gpr(1) = registers.Rcx;
        _cpu.Gpr(2) = registers.Rdx;
        _cpu.Gpr(3) = registers.Rbx;
        _cpu.Gpr(4) = registers.Rsp;
        _cpu.Gpr(5) = registers.Rbp;
        _cpu.Gpr(6) = registers.Rsi;
        _cpu.Gpr(7) = registers.Rdi;
        _cpu.Gpr(8) = registers.R8;
        _cpu.Gpr(9) = registers.R9;
        _cpu.Gpr(10) = registers.R10;
        _cpu.Gpr(11) = registers.R11;
        _cpu.Gpr(12) = registers.R12;
        _cpu.Gpr(13) = registers.R13;
        _cpu.Gpr(14) = registers.R14;
        _cpu.Gpr(15) = registers.R15;
        _cpu.Rflags = (uint)registers.Rflags;
        _cpu.Registers.Rip = registers.Rip;
    }

    /// <summary>What the last response left to do, in Xen's order: emulation, then the register writes that waited.</summary>
    private void ResumeFromEvent()
    {
        if (_emulate != VmEventFlags.None)
        {
            var flags = _emulate;
            _emulate = VmEventFlags.None;
            ResumeEmulation(flags);
            if (_vcpu.VmEventPauseCount != 0)
            {
                return; // a write of the emulated instruction waits for a response of its own
            }
        }

        if (Take(ref _deferred.HasCr0))
        {
            SetCr0(_deferred.Cr0, mayDefer: false);
        }

        if (Take(ref _deferred.HasCr4))
        {
            SetCr4(_deferred.Cr4, mayDefer: false);
        }

        if (Take(ref _deferred.HasCr3))
        {
            SetCr3(_deferred.Cr3, mayDefer: false);
        }

        if (Take(ref _deferred.HasMsr))
        {
            SetMsr(_deferred.Msr, _deferred.MsrValue, mayDefer: false);
        }
    }

    private void ResumeEmulation(VmEventFlags flags)
    {
        var how = AccessOverride.IgnoreP2mRights | AccessOverride.Devices
            | (_domain.Monitor.EmulateEachRep ? AccessOverride.None : AccessOverride.RepeatInPage);
        byte[]? instruction = null;
        if ((flags & VmEventFlags.SetEmulReadData) != 0)
        {
            how |= AccessOverride.ReadData;
        }
        else if ((flags & VmEventFlags.EmulateNoWrite) != 0)
        {
            how |= AccessOverride.DiscardWrites;
        }
        else if ((flags & VmEventFlags.SetEmulInsnData) != 0)
        {
            instruction = _emulatedInsn;
        }

        EmulateForMonitor(how, instruction);
    }
}
