namespace Introspect.Hypervisor.Core.Cpu.SystemMode;

/// <summary>
/// JMP far and CALL far, direct and through memory (the caller has read the pointer): to code, call gates, task
/// gates and TSSs (Intel SDM vol. 2, JMP and CALL; vol. 3, 5.8).
/// </summary>
internal static unsafe class FarTransfers
{
    /// <summary>JMP ptr16:16, ptr16:32, m16:16, m16:32, m16:64.</summary>
    public static bool Jump(CpuState* s, ushort selector, ulong offset, int operandSize, int length)
    {
        offset = Registers.Truncate(offset, operandSize);
        if (CpuModes.IsRealOrVm86(s))
        {
            return CodeSegments.EnterReal(s, selector, offset);
        }

        if (!ReadTarget(s, selector, out var target))
        {
            return false;
        }

        if (target.IsSystem)
        {
            return ThroughSystem(s, selector, ref target, call: false, length);
        }

        if (!CodeSegments.CheckDirect(s, selector, in target)
            || !CodeSegments.CheckOffset(s, in target, ref offset)
            || !DescriptorTables.MarkAccessed(s, ref target))
        {
            return false;
        }

        CodeSegments.Enter(s, selector, in target, s->Cpl, offset);
        return true;
    }

    /// <summary>CALL ptr16:16, ptr16:32, m16:16, m16:32, m16:64.</summary>
    public static bool Call(CpuState* s, ushort selector, ulong offset, int operandSize, int length)
    {
        offset = Registers.Truncate(offset, operandSize);
        var stack = Stack.Current(s);
        if (CpuModes.IsRealOrVm86(s))
        {
            if (!stack.HasRoom(2, operandSize)
                || !CodeSegments.CheckRealOffset(s, offset)
                || !PushReturnAddress(s, ref stack, operandSize, length))
            {
                return false;
            }

            stack.Commit();
            return CodeSegments.EnterReal(s, selector, offset);
        }

        if (!ReadTarget(s, selector, out var target))
        {
            return false;
        }

        if (target.IsSystem)
        {
            return ThroughSystem(s, selector, ref target, call: true, length);
        }

        return CodeSegments.CheckDirect(s, selector, in target)
            && CallSameLevel(s, selector, ref target, offset, operandSize, length);
    }

    private static bool ReadTarget(CpuState* s, ushort selector, out Descriptor target)
    {
        target = default;
        return Selectors.IsNull(selector)
            ? Fault.GeneralProtection(s, 0)
            : DescriptorTables.Read(s, selector, Vector.GeneralProtection, out target);
    }

    private static bool ThroughSystem(CpuState* s, ushort selector, ref Descriptor target, bool call, int length)
    {
        var longMode = CpuModes.IsLongMode(s);
        var known = target.SystemType switch
        {
            SystemType.CallGate => true,
            SystemType.CallGate16 or SystemType.TaskGate or SystemType.TssAvailable or SystemType.Tss16Available => !longMode,
            _ => false,
        };
        if (!known || target.Dpl < s->Cpl || target.Dpl < Selectors.Rpl(selector))
        {
            return Fault.GeneralProtection(s, Selectors.ErrorCode(selector));
        }

        if (longMode && !DescriptorTables.ReadSecondHalf(s, selector, Vector.GeneralProtection, ref target))
        {
            return false;
        }

        var task = target.SystemType is SystemType.TssAvailable or SystemType.Tss16Available;
        if (task && Selectors.IsLocal(selector))
        {
            return Fault.GeneralProtection(s, Selectors.ErrorCode(selector));
        }

        if (!target.IsPresent)
        {
            return Fault.Raise(s, Vector.SegmentNotPresent, Selectors.ErrorCode(selector));
        }

        var origin = new TaskOrigin(call ? TaskSwitchCause.Call : TaskSwitchCause.Jump, Registers.NextRip(s, length), Flags.Read(s));
        if (task)
        {
            return TaskSwitch.Finish(s, TaskSwitch.Run(s, selector, ref target, in origin));
        }

        if (target.SystemType == SystemType.TaskGate)
        {
            return TaskSwitch.Finish(s, TaskSwitch.ThroughGate(s, in target, in origin));
        }

        return call ? CallThroughGate(s, in target, length) : JumpThroughGate(s, in target);
    }

    private static bool JumpThroughGate(CpuState* s, in Descriptor gate)
    {
        var offset = EntryPoint(in gate);
        if (!CodeSegments.ReadForGate(s, gate.GateSelector, jump: true, out var code)
            || !CodeSegments.CheckOffset(s, in code, ref offset)
            || !DescriptorTables.MarkAccessed(s, ref code))
        {
            return false;
        }

        CodeSegments.Enter(s, gate.GateSelector, in code, s->Cpl, offset);
        return true;
    }

    private static bool CallThroughGate(CpuState* s, in Descriptor gate, int length)
    {
        var size = GateSize(s, in gate);
        if (!CodeSegments.ReadForGate(s, gate.GateSelector, jump: false, out var code))
        {
            return false;
        }

        if (code.IsConforming || code.Dpl == s->Cpl)
        {
            return CallSameLevel(s, gate.GateSelector, ref code, EntryPoint(in gate), size, length);
        }

        return CpuModes.IsLongMode(s)
            ? CallInner64(s, in gate, ref code, length)
            : CallInner(s, in gate, ref code, size, length);
    }

    private static bool CallSameLevel(CpuState* s, ushort selector, ref Descriptor code, ulong offset, int size, int length)
    {
        // 64-bit code that is called from compatibility mode runs on the same stack, whose limit no longer counts.
        var stack = new Stack(s, in *s->Seg(SegmentIndex.Ss), s->Gpr[Registers.Rsp], CpuModes.Is64(s) || CodeSegments.Is64Bit(s, in code), 0);
        if (!stack.HasRoom(2, size)
            || !CodeSegments.CheckOffset(s, in code, ref offset)
            || !DescriptorTables.MarkAccessed(s, ref code)
            || !PushReturnAddress(s, ref stack, size, length))
        {
            return false;
        }

        stack.Commit();
        CodeSegments.Enter(s, selector, in code, s->Cpl, offset);
        return true;
    }

    /// <summary>16-bit and 32-bit gates: old SS:ESP, the parameters, old CS:EIP go to the inner stack.</summary>
    private static bool CallInner(CpuState* s, in Descriptor gate, ref Descriptor code, int size, int length)
    {
        var offset = EntryPoint(in gate);
        var parameters = gate.GateParameters;
        if (!TaskState.InnerStack(s, code.Dpl, out var ss, out var segment, out var pointer))
        {
            return false;
        }

        var stack = new Stack(s, segment.ToSegment(ss), pointer, flat: false, Selectors.ErrorCode(ss));
        if (!stack.HasRoom(4 + parameters, size)
            || !CodeSegments.CheckOffset(s, in code, ref offset)
            || !DescriptorTables.MarkAccessed(s, ref segment)
            || !DescriptorTables.MarkAccessed(s, ref code))
        {
            return false;
        }

        // The parameters are read with the caller's rights, before anything is written.
        var old = Stack.Current(s);
        var copy = stackalloc ulong[32];
        for (var n = 0; n < parameters; n++)
        {
            if (!old.Peek((uint)(n * size), size, out copy[n]))
            {
                return false;
            }
        }

        var outer = Privilege.Enter(s, code.Dpl);
        var done = stack.Push(size, s->Seg(SegmentIndex.Ss)->Selector) && stack.Push(size, s->Gpr[Registers.Rsp]);
        for (var n = parameters - 1; done && n >= 0; n--)
        {
            done = stack.Push(size, copy[n]);
        }

        if (!done || !PushReturnAddress(s, ref stack, size, length))
        {
            Privilege.Enter(s, outer);
            return false;
        }

        *s->Seg(SegmentIndex.Ss) = segment.ToSegment(ss);
        stack.Commit();
        CodeSegments.Enter(s, gate.GateSelector, in code, code.Dpl, offset);
        return true;
    }

    /// <summary>64-bit gates: no parameters, SS becomes null with the new level as its RPL.</summary>
    private static bool CallInner64(CpuState* s, in Descriptor gate, ref Descriptor code, int length)
    {
        var offset = EntryPoint(in gate);
        if (!TaskState.InnerPointer(s, code.Dpl, out var pointer))
        {
            return false;
        }

        var stack = new Stack(s, default, pointer, flat: true, 0);
        if (!stack.HasRoom(4, 8)
            || !CodeSegments.CheckOffset(s, in code, ref offset)
            || !DescriptorTables.MarkAccessed(s, ref code))
        {
            return false;
        }

        var outer = Privilege.Enter(s, code.Dpl);
        if (!stack.Push(8, s->Seg(SegmentIndex.Ss)->Selector)
            || !stack.Push(8, s->Gpr[Registers.Rsp])
            || !PushReturnAddress(s, ref stack, 8, length))
        {
            Privilege.Enter(s, outer);
            return false;
        }

        SegmentLoader.LoadNull(s, SegmentIndex.Ss, (ushort)code.Dpl);
        stack.Commit();
        CodeSegments.Enter(s, gate.GateSelector, in code, code.Dpl, offset);
        return true;
    }

    private static bool PushReturnAddress(CpuState* s, ref Stack stack, int size, int length) =>
        stack.Push(size, s->Seg(SegmentIndex.Cs)->Selector) && stack.Push(size, Registers.NextRip(s, length));

    private static int GateSize(CpuState* s, in Descriptor gate) =>
        CpuModes.IsLongMode(s) ? 8 : gate.SystemType == SystemType.CallGate ? 4 : 2;

    private static ulong EntryPoint(in Descriptor gate) =>
        gate.SystemType == SystemType.CallGate16 ? (ushort)gate.GateOffset : gate.GateOffset;
}
