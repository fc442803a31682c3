using Iced.Intel;
using Introspect.Hypervisor.Core.Cpu.SystemMode;

namespace Introspect.Hypervisor.Core.Cpu;

/// <summary>The run loop: from one entry into the guest to the exit that ends it.</summary>
internal sealed unsafe partial class Cpu
{
    /// <summary>
    /// Instructions in one chain of handlers. Tail calls need no stack; should a handler not get one from the JIT,
    /// this bounds what it can use to less than a vCPU's thread has.
    /// </summary>
    private const long LongestChain = 250_000;

    private long _runBudget;
    private byte[]? _emulatedInsn;

    /// <summary>The last <see cref="EmulateOne"/> met an instruction that exists and has no implementation here; it left #UD pending.</summary>
    public bool EmulationUnimplemented { get; private set; }

    /// <summary>Instructions retired, up to the last block boundary.</summary>
    public ulong RetiredNow => State->Retired + (ulong)(_runBudget - State->Budget);

    /// <summary>Runs the guest for at most so many instructions. The exit is in <see cref="CpuState.Exit"/> too.</summary>
    public ref readonly Exit Run(long budget)
    {
        var s = State;
        s->Budget = budget;
        do
        {
            var chunk = Math.Min(budget, LongestChain);
            s->Budget = _runBudget = chunk;
            s->Stop = StopReason.None;
            s->Exit = default;
            Loop(s);
            var done = chunk - s->Budget;
            s->Retired += (ulong)done;
            _runBudget = s->Budget;
            budget -= done;
        }
        while (s->Exit.Kind == ExitKind.Budget && budget > 0);

        return ref s->Exit;
    }

    /// <summary>
    /// Emulates exactly one instruction with other access rules (vm_event's EMULATE, device memory). A fault of
    /// the instruction is left pending and delivered by the next run.
    /// </summary>
    /// <param name="how">The rules.</param>
    /// <param name="instruction">Bytes to run in place of those in memory, or null.</param>
    public ref readonly Exit EmulateOne(AccessOverride how, byte[]? instruction = null)
    {
        var s = State;
        _emulatedInsn = instruction;
        s->Exit = default;
        s->Budget = _runBudget = 1;
        s->Override = how;
        s->SlowAccess |= SlowAccessReasons.Emulation;
        EmulatedReadOffset = 0;
        CpuModes.SelectTlb(s);
        _stepBlock->First->Flags = InsnFlags.None;
        StepOne(s);
        EmulationUnimplemented = (_stepBlock->First->Flags & InsnFlags.Unimplemented) != 0 && s->Pending.Valid;
        _emulatedInsn = null;
        s->Override = AccessOverride.None;
        s->SlowAccess &= ~SlowAccessReasons.Emulation;
        CpuModes.SelectTlb(s);
        s->Retired += (ulong)(_runBudget - s->Budget);
        _runBudget = s->Budget;
        if (s->Exit.Kind == ExitKind.None)
        {
            s->Exit.Kind = ExitKind.Budget;
        }

        return ref s->Exit;
    }

    private void Loop(CpuState* s)
    {
        s->LinkFrom = null;
        while (true)
        {
            // A branch is linked to what follows it at once; whatever comes in between goes elsewhere.
            var from = s->LinkFrom;
            s->LinkFrom = null;
            if (s->Async != 0)
            {
                from = null;
                if (TakeAsync(s))
                {
                    return;
                }
            }

            if (s->Pending.Valid)
            {
                from = null;
                if (!DeliverPending(s))
                {
                    return;
                }
            }

            if (s->Budget <= 0)
            {
                s->Exit.Kind = ExitKind.Budget;
                return;
            }

            if (WantsStep(s))
            {
                if (InterruptWindow(s))
                {
                    return;
                }

                if (!StepOne(s))
                {
                    return;
                }

                continue;
            }

            var block = NextBlock(s, from);
            if (block != null)
            {
                s->BlockRip = s->Rip;
                s->Stop = StopReason.None;
                block->First->Handler(s, block->First);
            }

            if (s->Stop == StopReason.Exit)
            {
                return;
            }

            // A fault, or a trap that the last instruction left.
            if (s->Pending.Valid && FilterException(s))
            {
                return;
            }
        }
    }

    /// <summary>Requests from outside. True when the run ends.</summary>
    private bool TakeAsync(CpuState* s)
    {
        var events = (AsyncEvents)Interlocked.Exchange(ref s->Async, 0);
        if ((events & AsyncEvents.FlushTlb) != 0)
        {
            Tlb.FlushAll(s);
        }

        if ((events & AsyncEvents.DropCode) != 0)
        {
            DropQueuedCode();
        }

        if ((events & AsyncEvents.Kick) != 0)
        {
            s->Exit.Kind = ExitKind.Kick;
            return true;
        }

        return false;
    }

    /// <summary>Takes the pending event through the IDT. False when the run ends.</summary>
    private bool DeliverPending(CpuState* s)
    {
        s->Stop = StopReason.None;
        switch (EventDelivery.Deliver(s))
        {
            case DeliveryResult.Delivered:
                s->Shadow &= CpuShadow.Nmi;
                break;
            case DeliveryResult.TripleFault:
                s->Exit = new Exit { Kind = ExitKind.TripleFault };
                return false;
            case DeliveryResult.Fault:
                return !FilterException(s);
            default:
                return false; // a nested page fault; the event stays pending
        }

        if (s->MonitorTrap)
        {
            s->Exit = new Exit { Kind = ExitKind.MonitorTrap };
            return false;
        }

        return true;
    }

    /// <summary>An exception that somebody intercepts becomes an exit. False: it stays pending and is delivered.</summary>
    private static bool FilterException(CpuState* s)
    {
        ref var pending = ref s->Pending;

        // INT n raises no exception, whatever its vector.
        var intercept = pending.Type == EventType.SoftwareInterrupt ? Intercepts.None : pending.Vector switch
        {
            Vector.Breakpoint when pending.Type == EventType.SoftwareException => Intercepts.Breakpoint,
            Vector.Debug => Intercepts.Debug,
            Vector.InvalidOpcode => Intercepts.InvalidOpcode,
            Vector.PageFault => Intercepts.PageFault,
            _ => Intercepts.None,
        };

        // Nor does the processor see what an emulated instruction raises.
        if ((s->Intercepts & intercept) == 0 || (s->SlowAccess & SlowAccessReasons.Emulation) != 0)
        {
            return false;
        }

        s->Exit = new Exit
        {
            Kind = ExitKind.Exception,
            Index = pending.Vector,
            Operand = (byte)pending.Type,
            InsnLength = (byte)pending.InsnLength,
            Value = pending.Vector == Vector.Debug ? pending.Payload : pending.ErrorCode,
            Gla = pending.Vector == Vector.PageFault ? pending.Payload : 0,
        };
        pending = default;
        return true;
    }

    private static bool WantsStep(CpuState* s) =>
        s->MonitorTrap || (s->Shadow & ~CpuShadow.Nmi) != CpuShadow.None || s->PendingDebug != 0 || s->DueDebug != 0 || s->ExecuteBreakpoints
        || (s->FlagsOther & (RFlags.Tf | RFlags.Rf)) != 0
        || (s->SlowAccess & SlowAccessReasons.DataBreakpoints) != 0
        || ((s->Intercepts & Intercepts.InterruptWindow) != 0 && (s->FlagsOther & RFlags.If) != 0)
        || ((s->Intercepts & Intercepts.NmiWindow) != 0 && (s->Shadow & CpuShadow.Nmi) == 0)
        || s->Seg(SegmentIndex.Cs)->Limit != ~0u;

    private static bool InterruptWindow(CpuState* s)
    {
        if ((s->Shadow & (CpuShadow.Sti | CpuShadow.MovSs)) != 0 || s->DueDebug != 0)
        {
            return false;
        }

        if ((s->Intercepts & Intercepts.NmiWindow) != 0 && (s->Shadow & CpuShadow.Nmi) == 0)
        {
            s->Exit = new Exit { Kind = ExitKind.NmiWindow };
            return true;
        }

        if ((s->Intercepts & Intercepts.InterruptWindow) == 0 || (s->FlagsOther & RFlags.If) == 0)
        {
            return false;
        }

        s->Exit = new Exit { Kind = ExitKind.InterruptWindow };
        return true;
    }

    /// <summary>Runs one instruction with every trap that follows it. False when the run ends.</summary>
    private bool StepOne(CpuState* s)
    {
        var shadow = s->Shadow;
        var trapFlag = (s->FlagsOther & RFlags.Tf) != 0;
        s->Stop = StopReason.None;
        if (s->DueDebug != 0)
        {
            RaiseDebug(s, s->DueDebug);
            s->DueDebug = 0;
            return !FilterException(s);
        }

        if (s->ExecuteBreakpoints && (s->FlagsOther & RFlags.Rf) == 0 && (shadow & CpuShadow.MovSs) == 0)
        {
            var hits = DebugRegisters.MatchExecute(s, s->CodeBase + s->Rip);
            if (hits != 0)
            {
                RaiseDebug(s, hits);
                return !FilterException(s);
            }
        }

        var block = DecodeStep(s);
        if (block != null)
        {
            s->BlockRip = s->Rip;
            s->FlagsOther &= ~RFlags.Rf;
            s->Shadow = shadow & CpuShadow.Nmi;
            s->OneIteration = (s->Override & AccessOverride.RepeatInPage) == 0;
            block->First->Handler(s, block->First);
            s->OneIteration = false;
            if (s->Stop is StopReason.Fault or StopReason.Exit)
            {
                // The instruction is still to be done. An IRET that faults has opened NMIs all the same.
                var nmi = s->Stop == StopReason.Fault ? s->Shadow & CpuShadow.Nmi : CpuShadow.Nmi;
                s->Shadow = shadow & (~CpuShadow.Nmi | nmi);
            }
        }

        switch (s->Stop)
        {
            case StopReason.Exit:
                return false;
            case StopReason.Fault:
                // Under the monitor trap the step ends with the delivery, see DeliverPending.
                return !FilterException(s);
        }

        var stepped = trapFlag && !DebugTraps.LooksAtNewTrapFlag((Code)block->First->Code);
        var debug = DebugTraps.AtBoundary(s, stepped);
        if (s->MonitorTrap)
        {
            // The monitor trap comes before debug traps, which are due when the guest goes on.
            if (debug && (s->Intercepts & Intercepts.Debug) != 0 && s->Pending.Type == EventType.HardwareException)
            {
                s->DueDebug |= (uint)s->Pending.Payload;
                s->Pending = default;
            }

            return LeaveStepped(s);
        }

        return !debug || !FilterException(s);
    }

    private static bool LeaveStepped(CpuState* s)
    {
        s->Exit = new Exit { Kind = ExitKind.MonitorTrap };
        return false;
    }

    private static void RaiseDebug(CpuState* s, uint dr6)
    {
        Fault.Raise(s, Vector.Debug);
        s->Pending.Payload = dr6;
    }

    /// <summary>The block at RIP: found, decoded, or null with a fault or exit in the state.</summary>
    private Block* NextBlock(CpuState* s, Insn* from)
    {
        var rip = s->Rip;
        var linear = s->CodeBase + rip;
        if (!CpuModes.Is64(s))
        {
            linear = (uint)linear;
        }

        s->Stop = StopReason.None;
        if (!FetchPage(s, linear, out var machine))
        {
            return null;
        }

        if (_code.IsFull)
        {
            _code.Reset(s);
            from = null;
        }

        var mode = s->Mode & InsnDecoder.KeyMask;
        var block = _code.Find(machine, mode);
        if (block == null)
        {
            if (!ClaimCode(s, machine >> 12))
            {
                return DecodeStep(s); // others store to the page all the time
            }

            if (s->Async != 0)
            {
                s->Stop = StopReason.NextBlock;
                return null; // the claim may have waited, and the translation is old
            }

            block = _decoder.DecodeBlock(s, _code, machine, mode);
            if (block == null)
            {
                return DecodeStep(s); // the first instruction crosses the page
            }
        }

        if (from != null)
        {
            from->Link = block;
        }

        var entry = s->JumpCache + ((rip ^ (rip >> 12)) & (ControlHandlers.JumpCacheEntries - 1));
        *entry = new JumpEntry { Rip = rip, Key = s->JumpKey, First = block->First };
        return block;
    }

    /// <summary>
    /// Makes sure that a store to the page is seen from now on, whoever makes it. False: that cannot be had, so that
    /// nothing decoded of the page may be kept.
    /// </summary>
    private bool ClaimCode(CpuState* s, ulong page)
    {
        if (!Host.ClaimCodePage(ref s->PageInfo[page]))
        {
            return false;
        }

        Tlb.RevokeWrites(s, s->MachineBase + (page << 12));
        return true;
    }

    /// <summary>Decodes one instruction at RIP into the step block. Null with a fault or exit in the state.</summary>
    private Block* DecodeStep(CpuState* s)
    {
        var linear = s->CodeBase + s->Rip;
        if (!CpuModes.Is64(s))
        {
            linear = (uint)linear;
        }

        Span<byte> bytes = stackalloc byte[InsnDecoder.MaxInsnBytes + InsnDecoder.PrefixBytes];
        if (_emulatedInsn is { } given)
        {
            bytes.Clear();
            given.AsSpan(0, Math.Min(given.Length, bytes.Length)).CopyTo(bytes);
            return _decoder.DecodeOne(s, _stepBlock, bytes) && CheckCodeLimit(s, _stepBlock) ? _stepBlock : null;
        }

        if (!FetchPage(s, linear, out var machine))
        {
            return null;
        }

        var inPage = Math.Min(bytes.Length, 4096 - (int)(machine & 0xFFF));
        new ReadOnlySpan<byte>(s->MachineBase + machine, inPage).CopyTo(bytes);
        var length = inPage;
        if (inPage < bytes.Length && _decoder.NeedsMore(s, bytes[..inPage]))
        {
            var next = (linear & Tlb.PageMask) + 4096;
            if (!FetchPage(s, CpuModes.IsLongMode(s) ? next : (uint)next, out var second))
            {
                return null;
            }

            length = bytes.Length;
            new ReadOnlySpan<byte>(s->MachineBase + second, length - inPage).CopyTo(bytes[inPage..]);
        }

        if (!_decoder.DecodeOne(s, _stepBlock, bytes[..length]))
        {
            return null;
        }

        return CheckCodeLimit(s, _stepBlock) ? _stepBlock : null;
    }

    private static bool CheckCodeLimit(CpuState* s, Block* block)
    {
        var insn = block->First;
        if (CpuModes.Is64(s) || s->Rip + insn->Offset + insn->Length - 1 <= s->Seg(SegmentIndex.Cs)->Limit)
        {
            return true;
        }

        // The forced emulation prefix is done with; the fault is at the instruction.
        s->Rip = (uint)(s->Rip + insn->Offset);
        return Fault.GeneralProtection(s, 0);
    }

    private static bool FetchPage(CpuState* s, ulong linear, out ulong machine)
    {
        var slot = Tlb.FetchSlot(s, linear);
        if (slot->Tag == (linear & Tlb.PageMask))
        {
            machine = slot->Machine | (linear & 0xFFF);
            return true;
        }

        machine = 0;
        if (CpuModes.Is64(s) && !Mmu.IsCanonical(s, linear))
        {
            return Fault.GeneralProtection(s, 0);
        }

        if (!Mmu.Translate(s, linear, AccessKind.Execute, AccessRights.Current, out var page))
        {
            return false;
        }

        if (!page.P2m.IsPresent)
        {
            // Code in device space cannot be run.
            s->Exit = new Exit { Kind = ExitKind.NestedPageFault, Gla = linear, Gpa = page.Gpa, Value = (ulong)(NpfFlags.Execute | NpfFlags.GlaValid | NpfFlags.WithGla) };
            s->Stop = StopReason.Exit;
            return false;
        }

        if ((s->Override & (AccessOverride.IgnoreP2mRights | AccessOverride.IgnoreWalkRights)) == 0)
        {
            Tlb.FillFetch(s, slot, linear & Tlb.PageMask, page.P2m.MachineAddress, page.Flags);
        }

        machine = page.P2m.MachineAddress | (linear & 0xFFF);
        return true;
    }
}
