namespace Introspect.Hypervisor.Core.Cpu.SystemMode;

/// <summary>RETF and the parts of a return to an outer level that IRET shares (Intel SDM vol. 2, RET).</summary>
internal static unsafe class FarReturns
{
    /// <summary>RETF and RETF imm16: pops CS:RIP, then the parameters; to an outer level also SS:RSP.</summary>
    public static bool Return(CpuState* s, int operandSize, ushort parameterBytes)
    {
        var stack = Stack.Current(s);
        if (!stack.Peek((uint)operandSize, 2, out var popped) || !stack.Peek(0, operandSize, out var offset))
        {
            return false;
        }

        var selector = (ushort)popped;
        if (CpuModes.IsRealOrVm86(s))
        {
            if (!CodeSegments.EnterReal(s, selector, offset))
            {
                return false;
            }

            stack.Discard((2 * operandSize) + parameterBytes);
            stack.Commit();
            return true;
        }

        if (!CodeSegments.ReadForReturn(s, selector, out var code))
        {
            return false;
        }

        var level = Selectors.Rpl(selector);
        if (level == s->Cpl)
        {
            if (!CodeSegments.CheckOffset(s, in code, ref offset) || !DescriptorTables.MarkAccessed(s, ref code))
            {
                return false;
            }

            stack.Discard((2 * operandSize) + parameterBytes);
            stack.Commit();
            CodeSegments.Enter(s, selector, in code, level, offset);
            return true;
        }

        var outer = (uint)((2 * operandSize) + parameterBytes);
        if (!stack.Peek(outer, operandSize, out var pointer)
            || !stack.Peek(outer + (uint)operandSize, 2, out var ss)
            || !OuterStack.Read(s, (ushort)ss, level, in code, out var target)
            || !CodeSegments.CheckOffset(s, in code, ref offset)
            || !DescriptorTables.MarkAccessed(s, ref code)
            || !target.MarkAccessed(s))
        {
            return false;
        }

        CodeSegments.Enter(s, selector, in code, level, offset);
        target.Load(s, pointer, parameterBytes);
        SegmentLoader.DropInnerSegments(s, level);
        CpuModes.Update(s);
        return true;
    }
}

/// <summary>The stack segment popped by a return, checked and then loaded.</summary>
internal unsafe struct OuterStack
{
    private ushort _selector;
    private bool _null;
    private bool _to64;
    private Descriptor _descriptor;

    /// <summary>
    /// Rules for the SS that RETF and IRET pop: a null selector is good for 64-bit code below level 3 only; else
    /// writable data whose RPL and DPL are the level returned to. #GP, or #SS when not present.
    /// </summary>
    public static bool Read(CpuState* s, ushort selector, int level, in Descriptor code, out OuterStack stack)
    {
        stack = default;
        stack._selector = selector;
        stack._to64 = CodeSegments.Is64Bit(s, in code);
        if (Selectors.IsNull(selector))
        {
            stack._null = true;
            return (stack._to64 && level != 3 && Selectors.Rpl(selector) == level) || Fault.GeneralProtection(s, 0);
        }

        return DescriptorTables.Read(s, selector, Vector.GeneralProtection, out stack._descriptor)
            && SegmentLoader.CheckStack(s, selector, in stack._descriptor, level, Vector.GeneralProtection);
    }

    /// <summary>Sets the descriptor's accessed bit: the last thing that can fail.</summary>
    public bool MarkAccessed(CpuState* s) => _null || DescriptorTables.MarkAccessed(s, ref _descriptor);

    /// <summary>Loads SS and the stack pointer, of which a 16-bit stack takes 16 bits. CPL is the new one already.</summary>
    public readonly void Load(CpuState* s, ulong pointer, ushort parameterBytes)
    {
        if (_null)
        {
            SegmentLoader.LoadNull(s, SegmentIndex.Ss, _selector);
        }
        else
        {
            *s->Seg(SegmentIndex.Ss) = _descriptor.ToSegment(_selector);
        }

        pointer += parameterBytes;
        ref var rsp = ref s->Gpr[Registers.Rsp];
        if (_to64)
        {
            rsp = pointer;
        }
        else if (_descriptor.IsDefault32)
        {
            rsp = (uint)pointer;
        }
        else
        {
            rsp = (rsp & ~0xFFFFUL) | (ushort)pointer;
        }
    }
}
