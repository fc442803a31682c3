namespace Introspect.Hypervisor.Core.Cpu.SystemMode;

/// <summary>IRET, IRETD and IRETQ in every mode (Intel SDM vol. 2, IRET).</summary>
internal static unsafe class InterruptReturn
{
    private const uint Low16 = RFlags.Arithmetic | RFlags.Tf | RFlags.If | RFlags.Df | RFlags.Iopl | RFlags.Nt;
    private const uint Wide = RFlags.Rf | RFlags.Ac | RFlags.Id;

    /// <summary>Returns from a handler. NMIs are open again afterwards, also when it faults; not when it is to be tried again.</summary>
    public static bool Return(CpuState* s, int operandSize, int length)
    {
        var done = CpuModes.IsRealOrVm86(s) ? ReturnReal(s, operandSize) : ReturnProtected(s, operandSize, length);
        if (done || s->Stop != StopReason.Exit)
        {
            s->Shadow &= ~CpuShadow.Nmi;
        }

        return done;
    }

    private static bool ReturnReal(CpuState* s, int operandSize)
    {
        var vm86 = (s->FlagsOther & RFlags.Vm) != 0;
        var trusted = !vm86 || (s->FlagsOther & RFlags.Iopl) == RFlags.Iopl;
        if (!trusted && !(operandSize == 2 && VirtualInterrupts.IsVme(s)))
        {
            return Fault.GeneralProtection(s, 0);
        }

        var stack = Stack.Current(s);
        if (!Pop(ref stack, operandSize, out var offset, out var selector, out var image))
        {
            return false;
        }

        if (!trusted && !VirtualInterrupts.CheckImage(s, image))
        {
            return false;
        }

        if (!CodeSegments.EnterReal(s, selector, offset))
        {
            return false;
        }

        stack.Commit();
        var mask = Low16 | (operandSize > 2 ? Wide : 0);
        if (!trusted)
        {
            Flags.Write(s, image, mask & ~(RFlags.If | RFlags.Iopl));
            VirtualInterrupts.SetVif(s, (image & RFlags.If) != 0);
        }
        else
        {
            Flags.Write(s, image, vm86 ? mask & ~RFlags.Iopl : mask);
        }

        CpuModes.Update(s);
        return true;
    }

    private static bool ReturnProtected(CpuState* s, int operandSize, int length)
    {
        if ((s->FlagsOther & RFlags.Nt) != 0)
        {
            return CpuModes.IsLongMode(s)
                ? Fault.GeneralProtection(s, 0)
                : TaskSwitch.Finish(s, TaskSwitch.ReturnToOuterTask(s, Registers.NextRip(s, length)));
        }

        var stack = Stack.Current(s);
        if (!Pop(ref stack, operandSize, out var offset, out var selector, out var image))
        {
            return false;
        }

        if ((image & RFlags.Vm) != 0 && s->Cpl == 0 && operandSize == 4 && !CpuModes.IsLongMode(s))
        {
            return ReturnToVm86(s, ref stack, offset, selector, image);
        }

        if (!CodeSegments.ReadForReturn(s, selector, out var code))
        {
            return false;
        }

        var level = Selectors.Rpl(selector);
        var mask = WritableFlags(s, operandSize);
        if (level == s->Cpl && !CpuModes.Is64(s))
        {
            if (!CodeSegments.CheckOffset(s, in code, ref offset) || !DescriptorTables.MarkAccessed(s, ref code))
            {
                return false;
            }

            stack.Commit();
            Flags.Write(s, image, mask);
            CodeSegments.Enter(s, selector, in code, level, offset);
            return true;
        }

        // To an outer level, and from 64-bit mode always.
        var outer = level != s->Cpl;
        if (!stack.Peek(0, operandSize, out var pointer)
            || !stack.Peek((uint)operandSize, 2, out var ss)
            || !OuterStack.Read(s, (ushort)ss, level, in code, out var target)
            || !CodeSegments.CheckOffset(s, in code, ref offset)
            || !DescriptorTables.MarkAccessed(s, ref code)
            || !target.MarkAccessed(s))
        {
            return false;
        }

        Flags.Write(s, image, mask);
        CodeSegments.Enter(s, selector, in code, level, offset);
        target.Load(s, pointer, 0);
        if (outer)
        {
            SegmentLoader.DropInnerSegments(s, level);
        }

        CpuModes.Update(s);
        return true;
    }

    /// <summary>Reads RIP, CS and RFLAGS and takes them off the stack.</summary>
    private static bool Pop(ref Stack stack, int size, out ulong offset, out ushort selector, out uint image)
    {
        var read = stack.Peek(0, size, out offset);
        ulong cs = 0;
        ulong flags = 0;
        read = read && stack.Peek((uint)size, 2, out cs) && stack.Peek((uint)size * 2, size, out flags);
        selector = (ushort)cs;
        image = (uint)flags;
        stack.Discard(3 * size);
        return read;
    }

    /// <summary>Which flags the image may change: IF by CPL and IOPL, IOPL and the virtual interrupt flags at CPL 0.</summary>
    private static uint WritableFlags(CpuState* s, int operandSize)
    {
        var mask = Low16 & ~(RFlags.If | RFlags.Iopl);
        if (operandSize > 2)
        {
            mask |= Wide;
        }

        if (s->Cpl <= IoPrivilege.Iopl(s))
        {
            mask |= RFlags.If;
        }

        if (s->Cpl == 0)
        {
            mask |= RFlags.Iopl | (operandSize > 2 ? RFlags.Vif | RFlags.Vip : 0);
        }

        return mask;
    }

    private static bool ReturnToVm86(CpuState* s, ref Stack stack, ulong offset, ushort selector, uint image)
    {
        const int Size = 4;
        const int Words = 6; // ESP SS ES DS FS GS
        var words = stackalloc ulong[Words];
        for (var n = 0; n < Words; n++)
        {
            if (!stack.Peek((uint)(n * Size), n == 0 ? Size : 2, out words[n]))
            {
                return false;
            }
        }

        if (offset > 0xFFFF)
        {
            return Fault.GeneralProtection(s, 0);
        }

        Flags.Write(s, image, RFlags.All & ~RFlags.Fixed1);
        s->Gpr[Registers.Rsp] = words[0];
        SegmentLoader.LoadReal(s, SegmentIndex.Cs, selector);
        SegmentLoader.LoadReal(s, SegmentIndex.Ss, (ushort)words[1]);
        SegmentLoader.LoadReal(s, SegmentIndex.Es, (ushort)words[2]);
        SegmentLoader.LoadReal(s, SegmentIndex.Ds, (ushort)words[3]);
        SegmentLoader.LoadReal(s, SegmentIndex.Fs, (ushort)words[4]);
        SegmentLoader.LoadReal(s, SegmentIndex.Gs, (ushort)words[5]);
        s->Cpl = 3;
        s->Rip = offset;
        CpuModes.Update(s);
        return true;
    }
}
