namespace Introspect.Hypervisor.Core.Cpu;

/// <summary>
/// Instructions without a fast path: stack and near transfers outside of 64-bit mode, and what is rare. RIP is
/// at the instruction when they are called.
/// </summary>
internal static unsafe partial class SlowHandlers
{
    public static SlowOutcome TooLong(CpuState* s, Insn* i)
    {
        Fault.GeneralProtection(s, 0);
        return SlowOutcome.Stopped;
    }

    /// <summary>push of a register or immediate in <see cref="Insn.Imm"/>; the size is the insn's.</summary>
    public static SlowOutcome PushReg(CpuState* s, Insn* i) => PushValue(s, i, *(ulong*)((byte*)s + i->R0));

    public static SlowOutcome PushImm(CpuState* s, Insn* i) => PushValue(s, i, i->Imm);

    public static SlowOutcome PushMem(CpuState* s, Insn* i) =>
        LoadOperand(s, i, i->OperandSize, out var value) ? PushValue(s, i, value) : SlowOutcome.Stopped;

    public static SlowOutcome PopReg(CpuState* s, Insn* i)
    {
        var stack = new SlowStack(s);
        if (!stack.Pop(i->OperandSize, out var value))
        {
            return SlowOutcome.Stopped;
        }

        stack.Commit();
        SetRegister(s, i->R0, i->OperandSize, value);
        return SlowOutcome.Next;
    }

    /// <summary>pop [mem]: an address that uses rSP sees it already moved.</summary>
    public static SlowOutcome PopMem(CpuState* s, Insn* i)
    {
        var before = s->Gpr[4];
        var stack = new SlowStack(s);
        if (!stack.Pop(i->OperandSize, out var value))
        {
            return SlowOutcome.Stopped;
        }

        stack.Commit();
        if (!StoreOperand(s, i, i->OperandSize, value))
        {
            s->Gpr[4] = before;
            return SlowOutcome.Stopped;
        }

        return SlowOutcome.Next;
    }

    public static SlowOutcome PushAll(CpuState* s, Insn* i)
    {
        var stack = new SlowStack(s);
        for (var n = 0; n < 8; n++)
        {
            if (!stack.Push(i->OperandSize, s->Gpr[n]))
            {
                return SlowOutcome.Stopped;
            }
        }

        stack.Commit();
        return SlowOutcome.Next;
    }

    public static SlowOutcome PopAll(CpuState* s, Insn* i)
    {
        var stack = new SlowStack(s);
        var values = stackalloc ulong[8];
        for (var n = 7; n >= 0; n--)
        {
            if (!stack.Pop(i->OperandSize, out values[n]))
            {
                return SlowOutcome.Stopped;
            }
        }

        stack.Commit();
        for (var n = 0; n < 8; n++)
        {
            if (n != 4)
            {
                SetRegister(s, (ushort)(n * 8), i->OperandSize, values[n]);
            }
        }

        return SlowOutcome.Next;
    }

    public static SlowOutcome Enter(CpuState* s, Insn* i)
    {
        var size = (int)i->OperandSize;
        var bytes = (ushort)i->Imm;
        var level = (int)(i->Disp & 31);
        var stack = new SlowStack(s);
        if (!stack.Push(size, s->Gpr[5]))
        {
            return SlowOutcome.Stopped;
        }

        var frame = stack.Pointer;
        var stackBits = CpuModes.Is64(s) ? ~0UL : (s->Seg(SegmentIndex.Ss)->Attributes & Segment.Default32) != 0 ? 0xFFFFFFFFUL : 0xFFFF;
        if (level > 0)
        {
            var link = s->Gpr[5];
            for (var n = 1; n < level; n++)
            {
                link = (link & ~stackBits) | ((link - (ulong)size) & stackBits);
                if (!Access.Linear(s, SegmentIndex.Ss, link & stackBits, size, false, out var linear)
                    || !Access.Read(s, linear, size, out var value) || !stack.Push(size, value))
                {
                    return SlowOutcome.Stopped;
                }
            }

            if (!stack.Push(size, frame))
            {
                return SlowOutcome.Stopped;
            }
        }

        stack.Skip(-bytes);

        // The processor checks that the new top can be written before it commits.
        if (!Access.Linear(s, SegmentIndex.Ss, stack.Pointer & stackBits, size, true, out var top) || !Access.ProbeWrite(s, top, size))
        {
            return SlowOutcome.Stopped;
        }

        stack.Commit();
        SetRegister(s, 5 * 8, size, frame);
        return SlowOutcome.Next;
    }

    public static SlowOutcome LeaveFrame(CpuState* s, Insn* i)
    {
        var stack = new SlowStack(s);
        var mask = CpuModes.Is64(s) ? ~0UL : (s->Seg(SegmentIndex.Ss)->Attributes & Segment.Default32) != 0 ? 0xFFFFFFFFUL : 0xFFFF;
        stack.Pointer = (stack.Pointer & ~mask) | (s->Gpr[5] & mask);
        if (!stack.Pop(i->OperandSize, out var value))
        {
            return SlowOutcome.Stopped;
        }

        stack.Commit();
        SetRegister(s, 5 * 8, i->OperandSize, value);
        return SlowOutcome.Next;
    }

    public static SlowOutcome CallRelative(CpuState* s, Insn* i) =>
        PushReturn(s, i) ? Jump(s, i, s->BlockRip + i->Imm) : SlowOutcome.Stopped;

    public static SlowOutcome JumpRelative(CpuState* s, Insn* i) => Jump(s, i, s->BlockRip + i->Imm);

    public static SlowOutcome JumpReg(CpuState* s, Insn* i) => Jump(s, i, *(ulong*)((byte*)s + i->R0));

    public static SlowOutcome JumpMem(CpuState* s, Insn* i) =>
        LoadOperand(s, i, i->OperandSize, out var target) ? Jump(s, i, target) : SlowOutcome.Stopped;

    public static SlowOutcome CallReg(CpuState* s, Insn* i) => CallTo(s, i, *(ulong*)((byte*)s + i->R0));

    public static SlowOutcome CallMem(CpuState* s, Insn* i) =>
        LoadOperand(s, i, i->OperandSize, out var target) ? CallTo(s, i, target) : SlowOutcome.Stopped;

    public static SlowOutcome Return(CpuState* s, Insn* i)
    {
        var stack = new SlowStack(s);
        if (!stack.Pop(i->OperandSize, out var target) || !CheckTarget(s, i, ref target))
        {
            return SlowOutcome.Stopped;
        }

        stack.Skip((int)i->Imm);
        stack.Commit();
        s->Rip = target;
        return SlowOutcome.Jumped;
    }

    /// <summary>loop, loope, loopne, jcxz, jecxz, jrcxz; which one is in <see cref="Insn.R2"/>.</summary>
    public static SlowOutcome Loop(CpuState* s, Insn* i)
    {
        var count = s->Gpr[1];
        bool taken;
        var mask = i->AddressSize switch { 2 => 0xFFFFUL, 4 => 0xFFFFFFFF, _ => ~0UL };
        if (i->R2 == (ushort)LoopKind.IfZero)
        {
            taken = (count & mask) == 0;
        }
        else
        {
            var next = (count - 1) & mask;
            taken = next != 0 && ((LoopKind)i->R2 switch
            {
                LoopKind.WhileEqual => Flags.Zf(s),
                LoopKind.WhileNotEqual => !Flags.Zf(s),
                _ => true,
            });
            var target = s->BlockRip + i->Imm;
            if (taken && !CheckTarget(s, i, ref target))
            {
                return SlowOutcome.Stopped;
            }

            s->Gpr[1] = i->AddressSize == 2 ? (count & ~mask) | next : next;
        }

        return taken ? Jump(s, i, s->BlockRip + i->Imm) : SlowOutcome.Next;
    }

    /// <summary>Reads the memory operand.</summary>
    public static bool LoadOperand(CpuState* s, Insn* i, int size, out ulong value)
    {
        value = 0;
        if (!OperandAddress(s, i, size, false, out var linear))
        {
            return false;
        }

        var p = SlowAccess.Read(s, (SegmentIndex)i->Seg, linear, size);
        if (p != null)
        {
            value = SlowAccess.Load(p, size);
        }

        return p != null;
    }

    /// <summary>Writes the memory operand.</summary>
    public static bool StoreOperand(CpuState* s, Insn* i, int size, ulong value) =>
        OperandAddress(s, i, size, true, out var linear) && SlowAccess.Write(s, (SegmentIndex)i->Seg, linear, value, size);

    /// <summary>Linear address of the memory operand, checked.</summary>
    public static bool OperandAddress(CpuState* s, Insn* i, int size, bool write, out ulong linear) =>
        Access.Linear(s, (SegmentIndex)i->Seg, Handlers.AddressChecked.Offset(s, i), size, write, out linear);

    /// <summary>Writes a general register of a size.</summary>
    public static void SetRegister(CpuState* s, ushort register, int size, ulong value)
    {
        var p = (byte*)s + register;
        switch (size)
        {
            case 1: *p = (byte)value; break;
            case 2: *(ushort*)p = (ushort)value; break;
            case 4: *(ulong*)p = (uint)value; break;
            default: *(ulong*)p = value; break;
        }
    }

    private static SlowOutcome PushValue(CpuState* s, Insn* i, ulong value)
    {
        var stack = new SlowStack(s);
        if (!stack.Push(i->OperandSize, value))
        {
            return SlowOutcome.Stopped;
        }

        stack.Commit();
        return SlowOutcome.Next;
    }

    private static bool PushReturn(CpuState* s, Insn* i)
    {
        var target = s->BlockRip + i->Imm;
        var stack = new SlowStack(s);
        if (!CheckTarget(s, i, ref target) || !stack.Push(i->OperandSize, s->Rip + i->Length))
        {
            return false;
        }

        stack.Commit();
        return true;
    }

    private static SlowOutcome CallTo(CpuState* s, Insn* i, ulong target)
    {
        var stack = new SlowStack(s);
        if (!CheckTarget(s, i, ref target) || !stack.Push(i->OperandSize, s->Rip + i->Length))
        {
            return SlowOutcome.Stopped;
        }

        stack.Commit();
        s->Rip = target;
        return SlowOutcome.Jumped;
    }

    private static SlowOutcome Jump(CpuState* s, Insn* i, ulong target)
    {
        if (!CheckTarget(s, i, ref target))
        {
            return SlowOutcome.Stopped;
        }

        s->Rip = target;
        return SlowOutcome.Jumped;
    }

    /// <summary>Truncates a branch target to the operand size and checks it against limit or canonical form.</summary>
    private static bool CheckTarget(CpuState* s, Insn* i, ref ulong target)
    {
        target = i->OperandSize switch { 2 => (ushort)target, 4 => (uint)target, _ => target };
        return CpuModes.Is64(s)
            ? Mmu.IsCanonical(s, target) || Fault.GeneralProtection(s, 0)
            : target <= s->Seg(SegmentIndex.Cs)->Limit || Fault.GeneralProtection(s, 0);
    }
}

/// <summary>The LOOP family.</summary>
internal enum LoopKind : ushort
{
    Always,
    WhileEqual,
    WhileNotEqual,
    IfZero,
}
