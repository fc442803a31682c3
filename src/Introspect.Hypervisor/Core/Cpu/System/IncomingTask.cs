namespace Introspect.Hypervisor.Core.Cpu.SystemMode;

/// <summary>
/// The second half of a task switch: registers, CR3, LDT and segments of the new task, with the exceptions of
/// Intel SDM vol. 3, table 8-1, which are #TS where a load by MOV would be #GP.
/// </summary>
internal static unsafe class IncomingTask
{
    /// <summary>Loads the task. On failure the fault or exit is in the state, and what was not loaded is unusable.</summary>
    public static bool Enter(CpuState* s, ushort selector, in Descriptor tss, ref TaskImage image, bool wide)
    {
        // The busy bit belongs to TR's hidden part whatever the cause of the switch.
        *s->Seg(SegmentIndex.Tr) = tss.WithTypeBits(2, 0).ToSegment(selector);
        s->Cr0 |= CpuModes.Cr0Ts;
        var pdptesValid = LoadCr3(s, ref image, wide);

        s->Rip = wide ? image.Eip : (ushort)image.Eip;
        Flags.Write(s, wide ? image.Eflags : (ushort)image.Eflags, RFlags.All & ~RFlags.Fixed1);
        for (var n = 0; n < 8; n++)
        {
            s->Gpr[n] = image.Gpr[n];
        }

        var vm86 = (s->FlagsOther & RFlags.Vm) != 0;
        s->Cpl = vm86 ? 3 : Selectors.Rpl(image.Selector[(int)SegmentIndex.Cs]);
        for (var index = SegmentIndex.Es; index <= SegmentIndex.Gs; index++)
        {
            if (vm86)
            {
                SegmentLoader.LoadReal(s, index, image.Selector[(int)index]);
            }
            else
            {
                Invalidate(s, index, image.Selector[(int)index]);
            }
        }

        *s->Seg(SegmentIndex.Ldtr) = new Segment { Selector = image.Ldt, Attributes = Segment.Unusable };
        CpuModes.Update(s);
        if (!pdptesValid)
        {
            return s->Stop == StopReason.Exit ? false : Fault.GeneralProtection(s, 0);
        }

        if (!LoadLdt(s, image.Ldt))
        {
            return false;
        }

        if (!vm86 && !(LoadCode(s, image.Selector[(int)SegmentIndex.Cs])
            && LoadStack(s, image.Selector[(int)SegmentIndex.Ss])
            && LoadData(s, SegmentIndex.Ds, image.Selector[(int)SegmentIndex.Ds])
            && LoadData(s, SegmentIndex.Es, image.Selector[(int)SegmentIndex.Es])
            && LoadData(s, SegmentIndex.Fs, image.Selector[(int)SegmentIndex.Fs])
            && LoadData(s, SegmentIndex.Gs, image.Selector[(int)SegmentIndex.Gs])))
        {
            return false;
        }

        CpuModes.Update(s);
        return s->Rip <= s->Seg(SegmentIndex.Cs)->Limit || Fault.GeneralProtection(s, 0);
    }

    /// <summary>A 32-bit TSS brings its CR3 where paging is on.</summary>
    private static bool LoadCr3(CpuState* s, ref TaskImage image, bool wide)
    {
        if (!wide || (s->Cr0 & CpuModes.Cr0Pg) == 0)
        {
            return true;
        }

        var valid = (s->Cr4 & CpuModes.Cr4Pae) == 0 || PageDirectoryPointers.Load(s, image.Cr3);
        if (valid)
        {
            s->Cr3 = image.Cr3;
            Tlb.FlushNonGlobal(s);
        }

        return valid;
    }

    /// <summary>
    /// The selector is in the register before its descriptor is checked; until then the hidden part is unusable. CS
    /// keeps the old one, so that a fault of the new task can be taken at all.
    /// </summary>
    private static void Invalidate(CpuState* s, SegmentIndex index, ushort selector)
    {
        var segment = s->Seg(index);
        segment->Selector = selector;
        if (index != SegmentIndex.Cs)
        {
            segment->Attributes |= Segment.Unusable;
        }
    }

    private static bool LoadLdt(CpuState* s, ushort selector)
    {
        if (Selectors.IsNull(selector))
        {
            return true;
        }

        if (Selectors.IsLocal(selector))
        {
            return InvalidTss(s, selector);
        }

        if (!DescriptorTables.Read(s, selector, Vector.InvalidTss, out var descriptor))
        {
            return false;
        }

        if (!descriptor.IsSystem || descriptor.SystemType != SystemType.Ldt || !descriptor.IsPresent)
        {
            return InvalidTss(s, selector);
        }

        *s->Seg(SegmentIndex.Ldtr) = descriptor.ToSegment(selector);
        return true;
    }

    private static bool LoadCode(CpuState* s, ushort selector)
    {
        if (Selectors.IsNull(selector))
        {
            return InvalidTss(s, selector);
        }

        if (!DescriptorTables.Read(s, selector, Vector.InvalidTss, out var code))
        {
            return false;
        }

        var rpl = Selectors.Rpl(selector);
        if (!code.IsCode || (code.IsConforming ? code.Dpl > rpl : code.Dpl != rpl))
        {
            return InvalidTss(s, selector);
        }

        if (!code.IsPresent)
        {
            return Fault.Raise(s, Vector.SegmentNotPresent, Selectors.ErrorCode(selector));
        }

        if (!DescriptorTables.MarkAccessed(s, ref code))
        {
            return false;
        }

        *s->Seg(SegmentIndex.Cs) = code.ToSegment(selector);
        return true;
    }

    private static bool LoadStack(CpuState* s, ushort selector)
    {
        if (Selectors.IsNull(selector))
        {
            return InvalidTss(s, selector);
        }

        if (!DescriptorTables.Read(s, selector, Vector.InvalidTss, out var stack)
            || !SegmentLoader.CheckStack(s, selector, in stack, s->Cpl, Vector.InvalidTss)
            || !DescriptorTables.MarkAccessed(s, ref stack))
        {
            return false;
        }

        *s->Seg(SegmentIndex.Ss) = stack.ToSegment(selector);
        return true;
    }

    private static bool LoadData(CpuState* s, SegmentIndex index, ushort selector)
    {
        if (Selectors.IsNull(selector))
        {
            SegmentLoader.LoadNull(s, index, selector);
            return true;
        }

        if (!DescriptorTables.Read(s, selector, Vector.InvalidTss, out var data)
            || !SegmentLoader.CheckData(s, selector, in data, Vector.InvalidTss)
            || !DescriptorTables.MarkAccessed(s, ref data))
        {
            return false;
        }

        *s->Seg(index) = data.ToSegment(selector);
        return true;
    }

    private static bool InvalidTss(CpuState* s, ushort selector) =>
        Fault.Raise(s, Vector.InvalidTss, Selectors.ErrorCode(selector));
}
