using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Cpu;
using Introspect.Hypervisor.Core.Hypercalls.Guest;
using Introspect.Hypervisor.Core.Platform;

namespace Introspect.Hypervisor.Core.Execution;

/// <summary>The exits: what each of them does (Xen's <c>vmx_vmexit_handler</c> and <c>svm_vmexit_handler</c>).</summary>
internal sealed partial class VcpuRunner
{
    private bool _emulating;

    private const int Rax = 0, Rcx = 1, Rdx = 2, Rbx = 3, Rbp = 5, Rsi = 6, Rdi = 7;

    /// <summary>Xen's debug console port (<c>XEN_HVM_DEBUGCONS_IOPORT</c>).</summary>
    private const uint DebugConsolePort = 0xE9;

    private void HandleExit(in Exit exit)
    {
        if (exit.Kind is ExitKind.None or ExitKind.Budget or ExitKind.Kick)
        {
            return; // nothing of the guest's
        }

        if ((exit.Kind == ExitKind.Vmfunc && TrySwitchView(in exit))
            || (exit.Kind == ExitKind.NestedPageFault && TryVirtualizationException(in exit)))
        {
            return; // the processor does these without an exit
        }

        if (_domain.Monitor.VmExit && MonitorVmExit(in exit))
        {
            return; // sync: the exit is not handled
        }

        Dispatch(in exit);
    }

    /// <summary>Does what an exit asks for. Those of emulated instructions come here directly: the processor sees none of them.</summary>
    private void Dispatch(in Exit exit)
    {
        switch (exit.Kind)
        {
            case ExitKind.Cpuid:
                Cpuid(in exit);
                break;
            case ExitKind.CrWrite:
                WriteControlRegister(in exit);
                break;
            case ExitKind.CrRead:
                _cpu.Gpr(exit.Operand) = ReadCr8();
                _cpu.Advance(exit.InsnLength);
                break;
            case ExitKind.MsrRead:
                ReadMsr(in exit);
                break;
            case ExitKind.MsrWrite:
                WriteMsr(in exit);
                break;
            case ExitKind.Xsetbv:
                WriteXcr0(in exit);
                break;
            case ExitKind.Io:
                if (!MonitorPortAccess(in exit))
                {
                    PortAccess(in exit);
                }

                break;
            case ExitKind.Hypercall:
                Hypercall(in exit);
                break;
            case ExitKind.Hlt:
                _cpu.Advance(exit.InsnLength);
                Halt();
                break;
            case ExitKind.Exception:
                InterceptedException(in exit);
                break;
            case ExitKind.NestedPageFault:
                NestedPageFault(in exit);
                break;
            case ExitKind.MonitorTrap:
                MonitorTrap();
                break;
            case ExitKind.DescriptorAccess:
                DescriptorAccess(in exit);
                break;
            case ExitKind.TripleFault:
                _platform.ShutDown((ShutdownReason)_domain.GetParam(HvmParam.TripleFaultReason));
                break;
            case ExitKind.Vmfunc:
                _cpu.Raise(Vector.InvalidOpcode);
                break;
            case ExitKind.InterruptWindow or ExitKind.NmiWindow:
                break; // what waits is offered before the next entry
            case ExitKind.Pause:
                _cpu.Advance(exit.InsnLength);
                YieldToOthers();
                break;
            default:
                // WBINVD and what is only intercepted on request: nothing to do but to go on.
                _cpu.Advance(exit.InsnLength);
                break;
        }
    }

    private void Cpuid(in Exit exit)
    {
        ref var state = ref _cpu.Registers;
        if (_msrs.CpuidFaulting && state.Cpl > 0)
        {
            _cpu.Raise(Vector.GeneralProtection, 0);
            return;
        }

        var leaf = (uint)_cpu.Gpr(Rax);
        var subleaf = (uint)_cpu.Gpr(Rcx);
        var result = QueryCpuid(leaf, subleaf, new CpuidVcpuState
        {
            VcpuId = _vcpu.Id,
            OsXsave = (state.Cr4 & (1 << 18)) != 0,
            ProtectionKeys = (state.Cr4 & (1 << 22)) != 0,
            ApicEnabled = _msrs.ApicEnabled,
            LongMode = _cpu.Is64,
            Xcr0 = state.Xcr0,
            Xss = _msrs.Xss,
        });
        _cpu.Gpr(Rax) = result.Eax;
        _cpu.Gpr(Rbx) = result.Ebx;
        _cpu.Gpr(Rcx) = result.Ecx;
        _cpu.Gpr(Rdx) = result.Edx;

        // A sync event leaves RIP where it is: the monitor moves it on.
        if (_emulating || !MonitorCpuid(exit.InsnLength, leaf, subleaf))
        {
            _cpu.Advance(exit.InsnLength);
        }
    }

    private void PortAccess(in Exit exit)
    {
        // An event before this may have waited for a slot, while the view that the string is read by was taken away.
        TakeUpView();
        var flags = (IoFlags)exit.Operand;
        if (exit.Index == DebugConsolePort && (flags & IoFlags.In) == 0)
        {
            _platform.Console.Write([(byte)exit.Value]);
        }

        // Nothing else answers: reads float high.
        if (!_cpu.CompleteIo(in exit, ~0UL) && _cpu.Registers.Stop == StopReason.Exit)
        {
            NestedPageFault(in _cpu.Registers.Exit);
        }
    }

    private void Hypercall(in Exit exit)
    {
        if (TryViridianHypercall(in exit))
        {
            return;
        }

        var arguments = _cpu.Is64
            ? new HypercallArguments
            {
                Op = _cpu.Gpr(Rax),
                A1 = _cpu.Gpr(Rdi),
                A2 = _cpu.Gpr(Rsi),
                A3 = _cpu.Gpr(Rdx),
                A4 = _cpu.Gpr(10),
                A5 = _cpu.Gpr(8),
                A6 = _cpu.Gpr(9),
                Is64 = true,
            }
            : new HypercallArguments
            {
                Op = _cpu.Gpr(Rax),
                A1 = _cpu.Gpr(Rbx),
                A2 = _cpu.Gpr(Rcx),
                A3 = _cpu.Gpr(Rdx),
                A4 = _cpu.Gpr(Rsi),
                A5 = _cpu.Gpr(Rdi),
                A6 = _cpu.Gpr(Rbp),
            };
        var result = GuestHypercalls.Dispatch(in arguments, _guest);
        if (result.Continues)
        {
            StoreArguments(result.Next);
            return; // RIP stays: the guest makes the call again
        }

        _cpu.Gpr(Rax) = _cpu.Is64 ? (ulong)result.Value : (uint)result.Value;
        _cpu.Advance(exit.InsnLength);
    }

    private void StoreArguments(in HypercallArguments next)
    {
        if (next.Is64)
        {
            (_cpu.Gpr(Rdi), _cpu.Gpr(Rsi), _cpu.Gpr(Rdx)) = (next.A1, next.A2, next.A3);
            (_cpu.Gpr(10), _cpu.Gpr(8), _cpu.Gpr(9)) = (next.A4, next.A5, next.A6);
        }
        else
        {
            (_cpu.Gpr(Rbx), _cpu.Gpr(Rcx), _cpu.Gpr(Rdx)) = ((uint)next.A1, (uint)next.A2, (uint)next.A3);
            (_cpu.Gpr(Rsi), _cpu.Gpr(Rdi), _cpu.Gpr(Rbp)) = ((uint)next.A4, (uint)next.A5, (uint)next.A6);
        }
    }

    private void InterceptedException(in Exit exit)
    {
        var vector = (byte)exit.Index;
        if (vector == Vector.Debug)
        {
            LatchDebugStatus(exit.Value);
        }

        var reported = vector switch
        {
            Vector.Breakpoint => MonitorDebug(MonitorDebugKind.SoftwareBreakpoint, exit.Operand, exit.InsnLength),
            Vector.Debug => MonitorDebug(MonitorDebugKind.DebugException, exit.Operand, exit.InsnLength),
            _ => false,
        };
        if (reported)
        {
            return; // the monitor decides what becomes of it
        }

        _cpu.Inject(new PendingEvent
        {
            Valid = true,
            Vector = vector,
            Type = (EventType)exit.Operand,
            InsnLength = exit.InsnLength,
            HasErrorCode = vector == Vector.PageFault,
            ErrorCode = vector == Vector.PageFault ? (uint)exit.Value : 0,
            Payload = vector == Vector.PageFault ? exit.Gla : exit.Value,
        });
    }

    /// <summary>DR6 tells of a #DB when it is intercepted, whether or not it is delivered afterwards.</summary>
    private void LatchDebugStatus(ulong conditions)
    {
        const ulong Breakpoints = 0xF, ActiveLow = (1 << 11) | (1 << 16);
        ref var state = ref _cpu.Registers;
        if (conditions != 0)
        {
            state.Dr6 = ((state.Dr6 & ~Breakpoints) | ActiveLow | conditions) ^ (conditions & ActiveLow);
        }
    }

    private void MonitorTrap()
    {
        _cpu.Registers.MonitorTrap = false;
        if (_singleStep && !TryEndFastStep())
        {
            MonitorDebug(MonitorDebugKind.Singlestep, 0, 0);
        }
    }

    private void DescriptorAccess(in Exit exit)
    {
        if (_domain.Monitor.DescriptorAccess)
        {
            MonitorDescriptorAccess(in exit);
            return;
        }

        Emulate(AccessOverride.None, null);
    }

    /// <summary>
    /// Emulates one instruction. What it asks of the hypervisor is done; events go out for register writes and memory
    /// accesses, and not for what only the processor would have told: vmexits, CPUID, ports, descriptor tables.
    /// </summary>
    private void Emulate(AccessOverride how, byte[]? instruction)
    {
        ref var state = ref _cpu.Registers;
        var intercepts = state.Intercepts & Intercepts.DescriptorTables;
        state.Intercepts &= ~Intercepts.DescriptorTables;
        var exit = EmulateOnHostTable(how, instruction);
        state.Intercepts |= intercepts;
        if (exit.Kind == ExitKind.Budget)
        {
            return;
        }

        _emulating = true;
        Dispatch(in exit);
        _emulating = false;
    }

    /// <summary>Emulates one instruction for the monitor (<c>hvm_emulate_one_vm_event</c>): what nothing here implements is told, or #UD.</summary>
    private void EmulateForMonitor(AccessOverride how, byte[]? instruction)
    {
        Emulate(how, instruction);
        if (!_cpu.EmulationUnimplemented)
        {
            return;
        }

        ref var state = ref _cpu.Registers;
        var invalidOpcode = state.Pending;
        state.Pending = default;
        if (!MonitorEmulUnimplemented())
        {
            state.Pending = invalidOpcode;
        }
    }

    private void NestedPageFault(in Exit exit)
    {
        var flags = (NpfFlags)exit.Value;
        var gfn = exit.Gpa >> 12;

        // The host table first, as on Xen: a fork gets the page from its parent, or a copy of its own to write to.
        _domain.Pages.Find(gfn, (flags & NpfFlags.Write) != 0);
        var table = _vcpu.P2m;
        var entry = table[gfn];
        if (!entry.IsPresent && table is Memory.P2mView view && view.CopyFromHost(gfn))
        {
            return; // tried again with the host's entry
        }

        if (!entry.IsPresent)
        {
            if ((flags & NpfFlags.Execute) != 0)
            {
                _cpu.Raise(Vector.GeneralProtection, 0);
                return;
            }

            Emulate(AccessOverride.Devices | AccessOverride.IgnoreP2mRights, null);
            return;
        }

        var needed = (ulong)(flags & (NpfFlags.Read | NpfFlags.Write | NpfFlags.Execute));
        if ((entry.Raw & needed) == needed)
        {
            return; // somebody gave the rights meanwhile: try again
        }

        if (entry.Type == Memory.P2mType.RamRo && IsAllowedByAccess(entry, needed))
        {
            Emulate(AccessOverride.IgnoreP2mRights, null); // the write is dropped
            return;
        }

        MemoryAccessViolation(in exit, flags, entry);
    }

    private static bool IsAllowedByAccess(Memory.P2mEntry entry, ulong needed) =>
        (Memory.P2mEntry.Make(entry.MachineAddress, Memory.P2mType.RamRw, entry.Access).Raw & needed) == needed;
}
