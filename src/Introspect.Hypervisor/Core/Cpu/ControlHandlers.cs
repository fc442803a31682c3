using System.Runtime.CompilerServices;

namespace Introspect.Hypervisor.Core.Cpu;

/// <summary>
/// How a chain of handlers goes on and ends. A handler's last act is a tail call of the next one; what leaves
/// the chain sets RIP, accounts the instructions and returns to the run loop.
/// </summary>
internal static unsafe class ControlHandlers
{
    /// <summary>Leaves before the instruction: the fault or exit is in the state.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    public static void Leave(CpuState* s, Insn* i)
    {
        s->Rip = RipAt(s, i->Offset);
        s->Budget -= i->Ordinal;
        if (s->Stop == StopReason.Exit)
        {
            s->Exit.InsnLength = i->Length;
        }
    }

    /// <summary>Leaves after the instruction, for a look around at the boundary.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    public static void LeaveAfter(CpuState* s, Insn* i)
    {
        s->Rip = RipAt(s, (ulong)i->Offset + i->Length);
        s->Budget -= i->Ordinal + 1;
        s->Stop = StopReason.Boundary;
    }

    /// <summary>The block died under way: this instruction was not done.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void DeadBlock(CpuState* s, Insn* i)
    {
        s->Rip = RipAt(s, i->Offset);
        s->Budget -= i->Ordinal;
        s->Stop = StopReason.NextBlock;
        s->LinkFrom = null;
    }

    /// <summary>End marker of a block that ran through: goes on at the next address.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void EndOfBlock(CpuState* s, Insn* i)
    {
        s->Budget -= i->Ordinal;
        s->Rip = RipAt(s, i->Offset);
        JumpToRip(s, i);
    }

    /// <summary>End marker of a block that runs one instruction at a time.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void EndOfStep(CpuState* s, Insn* i)
    {
        s->Budget -= i->Ordinal;
        s->Rip = RipAt(s, i->Offset);
        s->Stop = StopReason.Boundary;
    }

    /// <summary>
    /// Goes on at <see cref="CpuState.Rip"/>, by the jump cache where it knows the place. The instructions of
    /// the block that is left are accounted already.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void JumpToRip(CpuState* s, Insn* i)
    {
        var rip = s->Rip;
        var entry = s->JumpCache + ((rip ^ (rip >> 12)) & (JumpCacheEntries - 1));
        if (entry->Rip == rip && entry->Key == s->JumpKey && s->Budget > 0 && s->Async == 0)
        {
            s->BlockRip = rip;
            entry->First->Handler(s, entry->First);
            return;
        }

        s->Stop = StopReason.NextBlock;
    }

    /// <summary>
    /// Goes on at a branch target of the same page, through the link once it is made.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void JumpLinked(CpuState* s, Insn* i)
    {
        // Kept in a register: the check need not wait for the store.
        var left = s->Budget - (i->Ordinal + 1);
        s->Budget = left;
        var link = i->Link;
        if (link != null && left > 0 && s->Async == 0)
        {
            s->BlockRip = RipAt(s, i->Imm);
            var first = link->First;
            first->Handler(s, first);
            return;
        }

        s->Rip = RipAt(s, i->Imm);
        s->LinkFrom = i;
        s->Stop = StopReason.NextBlock;
    }

    /// <summary>Goes on at a branch target of another page.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void JumpFar(CpuState* s, Insn* i)
    {
        s->Budget -= i->Ordinal + 1;
        s->Rip = RipAt(s, i->Imm);
        JumpToRip(s, i);
    }

    public const int JumpCacheEntries = 4096;

    /// <summary>RIP at a distance from the running block's start, wrapped as the mode does.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong RipAt(CpuState* s, ulong offset)
    {
        var rip = s->BlockRip + offset;
        return (s->Mode & CpuMode.Code64) != 0 ? rip : (uint)rip;
    }

    /// <summary>Runs the function of a slow instruction with RIP in place.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Slow(CpuState* s, Insn* i)
    {
        s->Rip = RipAt(s, i->Offset);
        var outcome = ((delegate*<CpuState*, Insn*, SlowOutcome>)i->Aux)(s, i);
        if (outcome == SlowOutcome.Next)
        {
            i[1].Handler(s, i + 1);
            return;
        }

        SlowEnd(s, i, outcome);
    }

    private static void SlowEnd(CpuState* s, Insn* i, SlowOutcome outcome)
    {
        switch (outcome)
        {
            case SlowOutcome.Stopped:
                Leave(s, i);
                break;
            case SlowOutcome.Boundary:
                LeaveAfter(s, i);
                break;
            case SlowOutcome.Again:
                s->Budget -= i->Ordinal;
                s->Stop = StopReason.Boundary;
                break;
            default:
                // RIP is where the instruction put it.
                s->Budget -= i->Ordinal + 1;
                s->Stop = StopReason.Boundary;
                break;
        }
    }
}

/// <summary>How a slow instruction ended.</summary>
internal enum SlowOutcome
{
    /// <summary>Done: the next instruction follows.</summary>
    Next,

    /// <summary>Done: the run loop looks around before the next one.</summary>
    Boundary,

    /// <summary>Done, and RIP was set.</summary>
    Jumped,

    /// <summary>A REP instruction in between two iterations: RIP stays.</summary>
    Again,

    /// <summary>Not done: a fault or an exit is in the state.</summary>
    Stopped,
}
