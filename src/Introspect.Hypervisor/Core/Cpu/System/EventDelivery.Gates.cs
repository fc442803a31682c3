namespace Introspect.Hypervisor.Core.Cpu.SystemMode;

/// <summary>Delivery in protected mode (Intel SDM vol. 3, 6.12) and long mode (6.14).</summary>
internal static unsafe partial class EventDelivery
{
    private static bool ThroughIdt(CpuState* s, in PendingEvent e)
    {
        if (!ReadGate(s, in e, out var gate))
        {
            return false;
        }

        var returnRip = ReturnRip(s, in e);
        var flags = FlagsImage(s, in e);
        if (gate.SystemType == SystemType.TaskGate)
        {
            return ThroughTaskGate(s, in e, in gate, returnRip, flags);
        }

        var selector = gate.GateSelector;
        var offset = gate.GateOffset;
        var size = 4;
        if (gate.SystemType is SystemType.InterruptGate16 or SystemType.TrapGate16)
        {
            size = 2;
            offset = (ushort)offset;
        }

        if (!CodeSegments.ReadForGate(s, selector, jump: false, out var code))
        {
            return false;
        }

        var vm86 = (s->FlagsOther & RFlags.Vm) != 0;
        var inner = !code.IsConforming && code.Dpl < s->Cpl;
        if (vm86 && !(inner && code.Dpl == 0))
        {
            return Fault.GeneralProtection(s, Selectors.ErrorCode(selector));
        }

        return inner
            ? EnterInner(s, in e, in gate, ref code, offset, size, returnRip, flags)
            : EnterSameLevel(s, in e, in gate, ref code, offset, size, returnRip, flags);
    }

    private static bool EnterSameLevel(
        CpuState* s, in PendingEvent e, in Descriptor gate, ref Descriptor code, ulong offset, int size, ulong returnRip, uint flags)
    {
        var stack = Stack.Current(s);
        if (!stack.HasRoom(3 + (e.HasErrorCode ? 1 : 0), size)
            || !CodeSegments.CheckOffset(s, in code, ref offset)
            || !DescriptorTables.MarkAccessed(s, ref code)
            || !PushFrame(s, ref stack, in e, size, returnRip, flags))
        {
            return false;
        }

        stack.Commit();
        ClearFlags(s, in gate);
        CodeSegments.Enter(s, gate.GateSelector, in code, s->Cpl, offset);
        return true;
    }

    private static bool EnterInner(
        CpuState* s, in PendingEvent e, in Descriptor gate, ref Descriptor code, ulong offset, int size, ulong returnRip, uint flags)
    {
        if (!TaskState.InnerStack(s, code.Dpl, out var ss, out var segment, out var pointer))
        {
            return false;
        }

        var vm86 = (s->FlagsOther & RFlags.Vm) != 0;
        var stack = new Stack(s, segment.ToSegment(ss), pointer, flat: false, Selectors.ErrorCode(ss));
        var entries = 5 + (e.HasErrorCode ? 1 : 0) + (vm86 ? 4 : 0);
        if (!stack.HasRoom(entries, size)
            || !CodeSegments.CheckOffset(s, in code, ref offset)
            || !DescriptorTables.MarkAccessed(s, ref segment)
            || !DescriptorTables.MarkAccessed(s, ref code))
        {
            return false;
        }

        var outer = Privilege.Enter(s, code.Dpl);
        var pushed = !vm86
            || (stack.Push(size, s->Seg(SegmentIndex.Gs)->Selector)
                && stack.Push(size, s->Seg(SegmentIndex.Fs)->Selector)
                && stack.Push(size, s->Seg(SegmentIndex.Ds)->Selector)
                && stack.Push(size, s->Seg(SegmentIndex.Es)->Selector));
        pushed = pushed
            && stack.Push(size, s->Seg(SegmentIndex.Ss)->Selector)
            && stack.Push(size, s->Gpr[Registers.Rsp])
            && PushFrame(s, ref stack, in e, size, returnRip, flags);
        if (!pushed)
        {
            Privilege.Enter(s, outer);
            return false;
        }

        *s->Seg(SegmentIndex.Ss) = segment.ToSegment(ss);
        stack.Commit();
        if (vm86)
        {
            SegmentLoader.LoadNull(s, SegmentIndex.Gs, 0);
            SegmentLoader.LoadNull(s, SegmentIndex.Fs, 0);
            SegmentLoader.LoadNull(s, SegmentIndex.Ds, 0);
            SegmentLoader.LoadNull(s, SegmentIndex.Es, 0);
        }

        ClearFlags(s, in gate);
        CodeSegments.Enter(s, gate.GateSelector, in code, code.Dpl, offset);
        return true;
    }

    private static bool ThroughTaskGate(CpuState* s, in PendingEvent e, in Descriptor gate, ulong returnRip, uint flags)
    {
        var origin = new TaskOrigin(TaskSwitchCause.Gate, returnRip, flags)
        {
            ErrorCode = e.HasErrorCode ? e.ErrorCode : null,
        };
        return TaskSwitch.ThroughGate(s, in gate, in origin) == TaskSwitchResult.Done;
    }

    /// <summary>
    /// Long mode: 16-byte gates, 8-byte pushes, SS:RSP always pushed, the stack aligned to 16 bytes, and a known good
    /// stack by the gate's IST.
    /// </summary>
    private static bool ThroughLongGate(CpuState* s, in PendingEvent e)
    {
        if (!ReadGate(s, in e, out var gate) || !CodeSegments.ReadForGate(s, gate.GateSelector, jump: false, out var code))
        {
            return false;
        }

        var inner = !code.IsConforming && code.Dpl < s->Cpl;
        var level = inner ? code.Dpl : s->Cpl;
        var pointer = CpuModes.Is64(s) ? s->Gpr[Registers.Rsp] : (uint)s->Gpr[Registers.Rsp];
        var oldPointer = pointer;
        if (gate.GateIst != 0)
        {
            if (!TaskState.InterruptStack(s, gate.GateIst, out pointer))
            {
                return false;
            }
        }
        else if (inner && !TaskState.InnerPointer(s, level, out pointer))
        {
            return false;
        }

        // The address is judged before it is aligned.
        if (!Mmu.IsCanonical(s, pointer))
        {
            return Fault.Raise(s, Vector.StackFault, 0);
        }

        var offset = gate.GateOffset;
        var stack = new Stack(s, default, pointer & ~0xFUL, flat: true, 0);
        if (!stack.HasRoom(5 + (e.HasErrorCode ? 1 : 0), 8)
            || !CodeSegments.CheckOffset(s, in code, ref offset)
            || !DescriptorTables.MarkAccessed(s, ref code))
        {
            return false;
        }

        var outer = Privilege.Enter(s, level);
        if (!stack.Push(8, s->Seg(SegmentIndex.Ss)->Selector)
            || !stack.Push(8, oldPointer)
            || !PushFrame(s, ref stack, in e, 8, ReturnRip(s, in e), FlagsImage(s, in e)))
        {
            Privilege.Enter(s, outer);
            return false;
        }

        if (inner)
        {
            SegmentLoader.LoadNull(s, SegmentIndex.Ss, (ushort)level);
        }

        stack.Commit();
        ClearFlags(s, in gate);
        CodeSegments.Enter(s, gate.GateSelector, in code, level, offset);
        return true;
    }

    private static bool PushFrame(CpuState* s, ref Stack stack, in PendingEvent e, int size, ulong returnRip, uint flags) =>
        stack.Push(size, flags)
        && stack.Push(size, s->Seg(SegmentIndex.Cs)->Selector)
        && stack.Push(size, returnRip)
        && (!e.HasErrorCode || stack.Push(size, e.ErrorCode));
}
