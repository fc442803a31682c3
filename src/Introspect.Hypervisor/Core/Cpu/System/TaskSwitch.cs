using System.Runtime.InteropServices;

namespace Introspect.Hypervisor.Core.Cpu.SystemMode;

/// <summary>What switches tasks.</summary>
internal enum TaskSwitchCause
{
    Jump,
    Call,
    Return,

    /// <summary>An interrupt or exception through a task gate.</summary>
    Gate,
}

/// <summary>How a task switch ended.</summary>
internal enum TaskSwitchResult
{
    /// <summary>The new task runs. A debug trap of its T bit may be pending.</summary>
    Done,

    /// <summary>Nothing changed; the fault or exit is in the state.</summary>
    NotDone,

    /// <summary>The new task is current, and its first act is the pending fault: loading its segments failed.</summary>
    FaultInNewTask,
}

/// <summary>What the outgoing task leaves behind.</summary>
/// <param name="Cause">What switches.</param>
/// <param name="Rip">Where the outgoing task goes on.</param>
/// <param name="Eflags">Its flags as they are saved.</param>
internal readonly record struct TaskOrigin(TaskSwitchCause Cause, ulong Rip, uint Eflags)
{
    /// <summary>Error code of an exception, pushed on the new task's stack.</summary>
    public uint? ErrorCode { get; init; }
}

/// <summary>
/// Task switching outside of long mode (Intel SDM vol. 3, 8.3). Before the commit point a failure leaves the old
/// task as it was; after it exceptions belong to the new task. A nested page fault is restartable in both halves.
/// </summary>
internal static unsafe class TaskSwitch
{
    private const ulong DebugTaskSwitch = 1 << 15;
    private const ulong Dr7Local = 0x155;

    /// <summary>
    /// For instructions: a fault of the new task leaves the instruction done, with the fault pending at the new RIP.
    /// </summary>
    public static bool Finish(CpuState* s, TaskSwitchResult result)
    {
        if (result == TaskSwitchResult.NotDone)
        {
            return false;
        }

        s->Stop = StopReason.None;
        return true;
    }

    /// <summary>A switch through a task gate whose own rights are checked already.</summary>
    public static TaskSwitchResult ThroughGate(CpuState* s, in Descriptor gate, in TaskOrigin origin)
    {
        var selector = gate.GateSelector;
        if (Selectors.IsNull(selector) || Selectors.IsLocal(selector))
        {
            Fault.GeneralProtection(s, Selectors.ErrorCode(selector));
            return TaskSwitchResult.NotDone;
        }

        if (!DescriptorTables.Read(s, selector, Vector.GeneralProtection, out var tss))
        {
            return TaskSwitchResult.NotDone;
        }

        if (!tss.IsSystem || tss.SystemType is not (SystemType.TssAvailable or SystemType.Tss16Available))
        {
            Fault.GeneralProtection(s, Selectors.ErrorCode(selector));
            return TaskSwitchResult.NotDone;
        }

        if (!tss.IsPresent)
        {
            Fault.Raise(s, Vector.SegmentNotPresent, Selectors.ErrorCode(selector));
            return TaskSwitchResult.NotDone;
        }

        return Run(s, selector, ref tss, in origin);
    }

    /// <summary>IRET with NT set: back to the task in the link field of the current TSS.</summary>
    public static TaskSwitchResult ReturnToOuterTask(CpuState* s, ulong nextRip)
    {
        if (!Access.ReadSystem(s, s->Seg(SegmentIndex.Tr)->Base, 2, out var link))
        {
            return TaskSwitchResult.NotDone;
        }

        var selector = (ushort)link;
        if (Selectors.IsNull(selector) || Selectors.IsLocal(selector))
        {
            Fault.Raise(s, Vector.InvalidTss, Selectors.ErrorCode(selector));
            return TaskSwitchResult.NotDone;
        }

        if (!DescriptorTables.Read(s, selector, Vector.InvalidTss, out var tss))
        {
            return TaskSwitchResult.NotDone;
        }

        if (!tss.IsSystem || tss.SystemType is not (SystemType.TssBusy or SystemType.Tss16Busy))
        {
            Fault.Raise(s, Vector.InvalidTss, Selectors.ErrorCode(selector));
            return TaskSwitchResult.NotDone;
        }

        if (!tss.IsPresent)
        {
            Fault.Raise(s, Vector.SegmentNotPresent, Selectors.ErrorCode(selector));
            return TaskSwitchResult.NotDone;
        }

        return Run(s, selector, ref tss, new TaskOrigin(TaskSwitchCause.Return, nextRip, Flags.Read(s) & ~RFlags.Nt));
    }

    /// <summary>Switches to a TSS whose descriptor was found available (for a return: busy) and present.</summary>
    public static TaskSwitchResult Run(CpuState* s, ushort selector, ref Descriptor tss, in TaskOrigin origin)
    {
        var wide = IsWide(in tss);
        if (tss.Limit < (wide ? TaskImage.MinimumLimit32 : TaskImage.MinimumLimit16))
        {
            Fault.Raise(s, Vector.InvalidTss, Selectors.ErrorCode(selector));
            return TaskSwitchResult.NotDone;
        }

        var undo = new Undo(s);
        var image = default(TaskImage);
        if (!CheckOutgoing(s)
            || !image.Read(s, tss.Base, wide)
            || !Leave(s, selector, ref tss, in origin, ref undo))
        {
            // Of the outgoing task only its own save area and the busy bits were touched.
            undo.BusyBits(s);
            return TaskSwitchResult.NotDone;
        }

        if (origin.Cause is TaskSwitchCause.Call or TaskSwitchCause.Gate)
        {
            image.Eflags |= RFlags.Nt;
        }

        s->Pending = default;
        s->Stop = StopReason.None;
        if (IncomingTask.Enter(s, selector, in tss, ref image, wide) && PushErrorCode(s, in origin, wide))
        {
            s->Dr7 &= ~Dr7Local;
            DebugRegisters.Update(s);
            if (image.Trap)
            {
                s->Pending = new PendingEvent
                {
                    Valid = true,
                    Vector = Vector.Debug,
                    Type = EventType.HardwareException,
                    Payload = DebugTaskSwitch,
                };
            }

            return TaskSwitchResult.Done;
        }

        if (s->Stop == StopReason.Exit)
        {
            undo.Registers(s);
            undo.BusyBits(s);
            s->Stop = StopReason.Exit;
            return TaskSwitchResult.NotDone;
        }

        s->Dr7 &= ~Dr7Local;
        DebugRegisters.Update(s);
        return TaskSwitchResult.FaultInNewTask;
    }

    /// <summary>The outgoing TSS must be large enough and writable where the task is saved.</summary>
    private static bool CheckOutgoing(CpuState* s)
    {
        var tr = s->Seg(SegmentIndex.Tr);
        var wide = (tr->Attributes & 8) != 0;
        if (tr->Limit < (wide ? TaskImage.MinimumLimit32 : TaskImage.MinimumLimit16))
        {
            return Fault.Raise(s, Vector.InvalidTss, Selectors.ErrorCode(tr->Selector));
        }

        var (first, last) = TaskImage.SavedRange(wide);
        return SlowAccess.Probe(s, SegmentIndex.Ds, tr->Base + first, 1, AccessKind.Write, AccessRights.System)
            && SlowAccess.Probe(s, SegmentIndex.Ds, tr->Base + last, 1, AccessKind.Write, AccessRights.System);
    }

    /// <summary>Busy bits, the save area and the link field.</summary>
    private static bool Leave(CpuState* s, ushort selector, ref Descriptor tss, in TaskOrigin origin, ref Undo undo)
    {
        var tr = s->Seg(SegmentIndex.Tr);
        var wide = (tr->Attributes & 8) != 0;
        var nested = origin.Cause is TaskSwitchCause.Call or TaskSwitchCause.Gate;
        if (nested && !SlowAccess.Probe(s, SegmentIndex.Ds, tss.Base, 2, AccessKind.Write, AccessRights.System))
        {
            return false;
        }

        if (!nested)
        {
            if (!DescriptorTables.Read(s, tr->Selector, Vector.InvalidTss, out var old)
                || !DescriptorTables.MarkBusy(s, ref old, busy: false))
            {
                return false;
            }

            undo.Outgoing = old;
            undo.HasOutgoing = true;
        }

        if (origin.Cause != TaskSwitchCause.Return)
        {
            if (!DescriptorTables.MarkBusy(s, ref tss, busy: true))
            {
                return false;
            }

            undo.Incoming = tss;
            undo.HasIncoming = true;
        }

        return TaskImage.Save(s, tr->Base, wide, (uint)origin.Rip, origin.Eflags)
            && (!nested || Access.WriteSystem(s, tss.Base, 2, tr->Selector));
    }

    /// <summary>In the width of the new task's TSS.</summary>
    private static bool PushErrorCode(CpuState* s, in TaskOrigin origin, bool wide)
    {
        if (origin.ErrorCode is not { } code)
        {
            return true;
        }

        var stack = Stack.Current(s);
        if (!stack.Push(wide ? 4 : 2, code))
        {
            return false;
        }

        stack.Commit();
        return true;
    }

    private static bool IsWide(in Descriptor tss) => tss.SystemType is SystemType.TssAvailable or SystemType.TssBusy;

    /// <summary>What brings the outgoing task back when the second level interrupts the switch.</summary>
    [StructLayout(LayoutKind.Sequential)]
    private struct Undo
    {
        public Descriptor Outgoing;
        public Descriptor Incoming;
        public bool HasOutgoing;
        public bool HasIncoming;
        private readonly ulong _rip;
        private readonly uint _flags;
        private readonly ulong _cr0;
        private readonly ulong _cr3;
        private readonly int _cpl;
        private fixed ulong _gpr[16];
        private fixed ulong _pdpte[4];
        private fixed ulong _segments[8 * 3];

        public Undo(CpuState* s)
        {
            _rip = s->Rip;
            _flags = Flags.Read(s);
            _cr0 = s->Cr0;
            _cr3 = s->Cr3;
            _cpl = s->Cpl;
            for (var n = 0; n < 16; n++)
            {
                _gpr[n] = s->Gpr[n];
            }

            for (var n = 0; n < 4; n++)
            {
                _pdpte[n] = s->Pdpte[n];
            }

            fixed (ulong* segments = _segments)
            {
                // SAFETY: eight segments of 24 bytes, as the array is sized.
                Buffer.MemoryCopy(s->Seg(SegmentIndex.Es), segments, 8 * sizeof(Segment), 8 * sizeof(Segment));
            }
        }

        public void Registers(CpuState* s)
        {
            s->Rip = _rip;
            Flags.Write(s, _flags, RFlags.All);
            s->Cr0 = _cr0;
            s->Cr3 = _cr3;
            s->Cpl = _cpl;
            for (var n = 0; n < 16; n++)
            {
                s->Gpr[n] = _gpr[n];
            }

            for (var n = 0; n < 4; n++)
            {
                s->Pdpte[n] = _pdpte[n];
            }

            fixed (ulong* segments = _segments)
            {
                Buffer.MemoryCopy(segments, s->Seg(SegmentIndex.Es), 8 * sizeof(Segment), 8 * sizeof(Segment));
            }

            Tlb.FlushNonGlobal(s);
            CpuModes.Update(s);
        }

        /// <summary>Puts the busy bits back; what was written once can be written again.</summary>
        public void BusyBits(CpuState* s)
        {
            var (stop, pending, exit) = (s->Stop, s->Pending, s->Exit);
            s->Stop = StopReason.None;
            if (HasOutgoing)
            {
                DescriptorTables.MarkBusy(s, ref Outgoing, busy: true);
            }

            if (HasIncoming)
            {
                DescriptorTables.MarkBusy(s, ref Incoming, busy: false);
            }

            (s->Stop, s->Pending, s->Exit) = (stop, pending, exit);
        }
    }
}
