namespace Introspect.Hypervisor.Core.Cpu.SystemMode;

/// <summary>A descriptor table register with base and limit.</summary>
internal enum TableRegister
{
    Gdtr,
    Idtr,
}

/// <summary>
/// Bodies of LGDT, LIDT, LLDT, LTR, SGDT, SIDT, SLDT, STR and SMSW; also what a monitor runs after it intercepted
/// them. RIP is not touched.
/// </summary>
internal static unsafe class SystemRegisters
{
    private const ulong Cr4Umip = 1 << 11;

    /// <summary>LGDT, LIDT: 16-bit limit and a base of 24, 32 or 64 bits.</summary>
    public static bool LoadTable(CpuState* s, TableRegister register, SegmentIndex segment, ulong offset, int operandSize)
    {
        if (s->Cpl != 0)
        {
            return Fault.GeneralProtection(s, 0);
        }

        var size = CpuModes.Is64(s) ? 8 : 4;
        if (!Access.Linear(s, segment, offset, 2 + size, write: false, out var linear)
            || !Access.Read(s, linear, 2, out var limit)
            || !Access.Read(s, linear + 2, size, out var address))
        {
            return false;
        }

        if (size == 8 && !Mmu.IsCanonical(s, address))
        {
            return Fault.GeneralProtection(s, 0);
        }

        if (size == 4 && operandSize == 2)
        {
            address &= 0xFFFFFF;
        }

        if (register == TableRegister.Gdtr)
        {
            (s->GdtrBase, s->GdtrLimit) = (address, (uint)limit);
        }
        else
        {
            (s->IdtrBase, s->IdtrLimit) = (address, (uint)limit);
        }

        return true;
    }

    /// <summary>SGDT, SIDT: always the whole base.</summary>
    public static bool StoreTable(CpuState* s, TableRegister register, SegmentIndex segment, ulong offset)
    {
        if (!CheckUmip(s))
        {
            return false;
        }

        var size = CpuModes.Is64(s) ? 8 : 4;
        var (address, limit) = register == TableRegister.Gdtr ? (s->GdtrBase, s->GdtrLimit) : (s->IdtrBase, s->IdtrLimit);
        return Access.Linear(s, segment, offset, 2 + size, write: true, out var linear)
            && Access.ProbeWrite(s, linear + 2, size)
            && Access.Write(s, linear, 2, limit)
            && Access.Write(s, linear + 2, size, address);
    }

    /// <summary>LLDT: a null selector makes the LDT unusable.</summary>
    public static bool LoadLdt(CpuState* s, ushort selector)
    {
        if (!CheckLoad(s))
        {
            return false;
        }

        if (Selectors.IsNull(selector))
        {
            *s->Seg(SegmentIndex.Ldtr) = new Segment { Selector = selector, Attributes = Segment.Unusable };
            return true;
        }

        if (!ReadSystemSegment(s, selector, static type => type == SystemType.Ldt, out var descriptor))
        {
            return false;
        }

        *s->Seg(SegmentIndex.Ldtr) = descriptor.ToSegment(selector);
        return true;
    }

    /// <summary>LTR: the TSS must be available and becomes busy.</summary>
    public static bool LoadTask(CpuState* s, ushort selector)
    {
        if (!CheckLoad(s))
        {
            return false;
        }

        if (Selectors.IsNull(selector))
        {
            return Fault.GeneralProtection(s, 0);
        }

        var longMode = CpuModes.IsLongMode(s);
        var known = ReadSystemSegment(
            s,
            selector,
            longMode
                ? static type => type == SystemType.TssAvailable
                : static type => type is SystemType.TssAvailable or SystemType.Tss16Available,
            out var descriptor);
        if (!known || !DescriptorTables.MarkBusy(s, ref descriptor, busy: true))
        {
            return false;
        }

        *s->Seg(SegmentIndex.Tr) = descriptor.ToSegment(selector);
        return true;
    }

    /// <summary>SLDT and STR: the selector, which a register destination takes zero-extended and memory in 16 bits.</summary>
    public static bool StoreSelector(CpuState* s, SegmentIndex register, out ushort selector)
    {
        selector = s->Seg(register)->Selector;
        return CpuModes.IsRealOrVm86(s) ? Fault.InvalidOpcode(s) : CheckUmip(s);
    }

    /// <summary>SMSW: CR0, of which memory takes 16 bits and a register as many as the operand size has.</summary>
    public static bool StoreMachineStatus(CpuState* s, out ulong value)
    {
        value = s->Cr0;
        return CheckUmip(s);
    }

    /// <summary>CR4.UMIP keeps descriptor table addresses from programs: #GP(0) above CPL 0.</summary>
    public static bool CheckUmip(CpuState* s) =>
        s->Cpl == 0 || (s->Cr4 & Cr4Umip) == 0 || Fault.GeneralProtection(s, 0);

    /// <summary>LLDT and LTR before their operand is read: #UD without protection, #GP(0) above CPL 0.</summary>
    public static bool CheckLoad(CpuState* s)
    {
        if (CpuModes.IsRealOrVm86(s))
        {
            return Fault.InvalidOpcode(s);
        }

        return s->Cpl == 0 || Fault.GeneralProtection(s, 0);
    }

    /// <summary>Reads an LDT or TSS descriptor from the GDT: type #GP(selector), presence #NP(selector).</summary>
    private static bool ReadSystemSegment(CpuState* s, ushort selector, Func<SystemType, bool> isExpected, out Descriptor descriptor)
    {
        descriptor = default;
        var error = Selectors.ErrorCode(selector);
        if (Selectors.IsLocal(selector))
        {
            return Fault.GeneralProtection(s, error);
        }

        if (!DescriptorTables.Read(s, selector, Vector.GeneralProtection, out descriptor))
        {
            return false;
        }

        if (!descriptor.IsSystem || !isExpected(descriptor.SystemType))
        {
            return Fault.GeneralProtection(s, error);
        }

        if (CpuModes.IsLongMode(s))
        {
            if (!DescriptorTables.ReadSecondHalf(s, selector, Vector.GeneralProtection, ref descriptor))
            {
                return false;
            }

            if (!Mmu.IsCanonical(s, descriptor.Base))
            {
                return Fault.GeneralProtection(s, error);
            }
        }

        return descriptor.IsPresent || Fault.Raise(s, Vector.SegmentNotPresent, error);
    }
}
