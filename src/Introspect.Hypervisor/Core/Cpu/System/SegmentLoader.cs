namespace Introspect.Hypervisor.Core.Cpu.SystemMode;

/// <summary>
/// Loads ES, SS, DS, FS and GS: MOV Sreg, POP Sreg, LDS and its kin (Intel SDM vol. 2, MOV; vol. 3, 5.6 and
/// 5.7). RIP is not touched.
/// </summary>
internal static unsafe class SegmentLoader
{
    private const uint RealCode = 0x9B;
    private const uint RealData = 0x93;
    private const uint Vm86Data = 0xF3;

    /// <summary>Loads a data or stack segment register with every check of the current mode.</summary>
    public static bool Load(CpuState* s, SegmentIndex index, ushort selector)
    {
        if (CpuModes.IsRealOrVm86(s))
        {
            LoadReal(s, index, selector);
            CpuModes.Update(s);
            return true;
        }

        if (Selectors.IsNull(selector))
        {
            if (index == SegmentIndex.Ss && !IsNullStackAllowed(s, selector))
            {
                return Fault.GeneralProtection(s, 0);
            }

            LoadNull(s, index, selector);
            CpuModes.Update(s);
            return true;
        }

        if (!DescriptorTables.Read(s, selector, Vector.GeneralProtection, out var descriptor)
            || !(index == SegmentIndex.Ss
                ? CheckStack(s, selector, in descriptor, s->Cpl, Vector.GeneralProtection)
                : CheckData(s, selector, in descriptor))
            || !DescriptorTables.MarkAccessed(s, ref descriptor))
        {
            return false;
        }

        *s->Seg(index) = descriptor.ToSegment(selector);
        CpuModes.Update(s);
        return true;
    }

    /// <summary>MOV Sreg: a load of SS holds back debug traps and interrupts for one instruction. CS is #UD.</summary>
    public static bool Move(CpuState* s, SegmentIndex index, ushort selector)
    {
        if (index == SegmentIndex.Cs || index > SegmentIndex.Gs)
        {
            return Fault.InvalidOpcode(s);
        }

        if (!Load(s, index, selector))
        {
            return false;
        }

        if (index == SegmentIndex.Ss)
        {
            s->Shadow |= CpuShadow.MovSs;
        }

        return true;
    }

    /// <summary>POP Sreg.</summary>
    public static bool Pop(CpuState* s, SegmentIndex index, int operandSize)
    {
        var stack = Stack.Current(s);

        // Only 16 bits are read, whatever the operand size.
        if (!stack.Peek(0, 2, out var selector))
        {
            return false;
        }

        // SS changes the width of the stack pointer; the pop itself still has the old one.
        stack.Discard(operandSize);
        if (!Move(s, index, (ushort)selector))
        {
            return false;
        }

        stack.Commit();
        return true;
    }

    /// <summary>PUSH Sreg: an operand of 32 or 64 bits is zero-extended.</summary>
    public static bool Push(CpuState* s, SegmentIndex index, int operandSize)
    {
        var stack = Stack.Current(s);
        if (!stack.Push(operandSize, s->Seg(index)->Selector))
        {
            return false;
        }

        stack.Commit();
        return true;
    }

    /// <summary>LDS, LES, LSS, LFS, LGS: offset and selector from memory; the register is written last.</summary>
    public static bool LoadFarPointer(CpuState* s, SegmentIndex index, int register, SegmentIndex segment, ulong offset, int operandSize)
    {
        if (!Access.Linear(s, segment, offset, operandSize + 2, write: false, out var linear)
            || !Access.Read(s, linear, operandSize, out var pointer)
            || !Access.Read(s, linear + (uint)operandSize, 2, out var selector)
            || !Load(s, index, (ushort)selector))
        {
            return false;
        }

        Registers.Write(s, register, operandSize, pointer);
        return true;
    }

    /// <summary>What real and virtual-8086 mode do: base from the selector, hidden limit and size kept in real mode.</summary>
    public static void LoadReal(CpuState* s, SegmentIndex index, ushort selector)
    {
        var segment = s->Seg(index);
        segment->Selector = selector;
        segment->Base = (ulong)selector << 4;
        if ((s->FlagsOther & RFlags.Vm) != 0)
        {
            segment->Limit = 0xFFFF;
            segment->Attributes = Vm86Data;
            return;
        }

        segment->Attributes = (segment->Attributes & (Segment.Default32 | Segment.Granularity))
            | (index == SegmentIndex.Cs ? RealCode : RealData);
    }

    /// <summary>
    /// A null selector: the register is unusable. Intel's processors clear the base, AMD's keep it (which FS and GS
    /// show in 64-bit mode).
    /// </summary>
    public static void LoadNull(CpuState* s, SegmentIndex index, ushort selector)
    {
        var segment = s->Seg(index);
        var keepBase = Cpu.Of(s).Vendor == CpuVendor.Svm && index is SegmentIndex.Fs or SegmentIndex.Gs;
        *segment = new Segment
        {
            Base = keepBase ? segment->Base : 0,
            Selector = selector,
            Attributes = Segment.Unusable | (index == SegmentIndex.Ss ? (uint)s->Cpl << 5 : 0),
        };
    }

    /// <summary>
    /// Takes a data segment away that an outer level may not use: data and non-conforming code with a DPL below it.
    /// AMD's processors keep what they had loaded, as not present.
    /// </summary>
    public static void DropInnerSegments(CpuState* s, int cpl)
    {
        for (var index = SegmentIndex.Es; index <= SegmentIndex.Gs; index++)
        {
            if (index is SegmentIndex.Cs or SegmentIndex.Ss)
            {
                continue;
            }

            var segment = s->Seg(index);
            if ((segment->Attributes & Segment.Unusable) != 0)
            {
                // Null selectors 1 to 3 become 0; a base that was set through its MSR stays.
                segment->Selector = 0;
                continue;
            }

            var conforming = (segment->Attributes & 0xC) == 0xC;
            if (conforming || segment->Dpl >= cpl)
            {
                continue;
            }

            if (Cpu.Of(s).Vendor == CpuVendor.Svm)
            {
                segment->Selector = 0;
                segment->Attributes = (segment->Attributes & ~Segment.Present) | Segment.Unusable;
            }
            else
            {
                LoadNull(s, index, 0);
            }
        }
    }

    /// <summary>
    /// Rules of a stack segment for a privilege level: writable data whose RPL and DPL are that level, else the given
    /// exception; not present is #SS.
    /// </summary>
    public static bool CheckStack(CpuState* s, ushort selector, in Descriptor descriptor, int cpl, byte vector)
    {
        if (Selectors.Rpl(selector) != cpl || !descriptor.IsWritableData || descriptor.Dpl != cpl)
        {
            return Fault.Raise(s, vector, Selectors.ErrorCode(selector));
        }

        return descriptor.IsPresent || Fault.Raise(s, Vector.StackFault, Selectors.ErrorCode(selector));
    }

    /// <summary>Rules of a data segment: readable, and reachable from CPL and RPL unless it is conforming code.</summary>
    public static bool CheckData(CpuState* s, ushort selector, in Descriptor descriptor, byte vector = Vector.GeneralProtection)
    {
        var outOfReach = !descriptor.IsConforming
            && (Selectors.Rpl(selector) > descriptor.Dpl || s->Cpl > descriptor.Dpl);
        if (!descriptor.IsReadable || outOfReach)
        {
            return Fault.Raise(s, vector, Selectors.ErrorCode(selector));
        }

        return descriptor.IsPresent || Fault.Raise(s, Vector.SegmentNotPresent, Selectors.ErrorCode(selector));
    }

    private static bool IsNullStackAllowed(CpuState* s, ushort selector) =>
        CpuModes.Is64(s) && s->Cpl != 3 && Selectors.Rpl(selector) == s->Cpl;
}
