namespace Introspect.Hypervisor.Core.Cpu.SystemMode;

/// <summary>What a write to a control register brought with it.</summary>
[Flags]
internal enum ControlEffects
{
    None = 0,

    /// <summary>Translations that are not global are stale.</summary>
    FlushNonGlobal = 1,

    /// <summary>Every translation is stale.</summary>
    FlushAll = 2,

    /// <summary>The PAE page-directory-pointer registers were loaded.</summary>
    PdptesChanged = 4,

    /// <summary>Paging, protection or long mode changed; <see cref="CpuState.Mode"/> is up to date.</summary>
    ModeChanged = 8,
}

/// <summary>Bits that the CPU has, as its CPUID tells the guest.</summary>
/// <param name="Cr4">Bits of CR4 that may be set.</param>
/// <param name="Efer">Bits of EFER that may be set; LMA needs no mention.</param>
/// <param name="Xcr0">State components that XCR0 may have.</param>
internal readonly record struct ControlLimits(ulong Cr4, ulong Efer, ulong Xcr0);

/// <summary>
/// Validity and consequences of writes to CR0, CR3, CR4, CR8, EFER and XCR0 (Intel SDM vol. 3, 2.5, 2.6, 4.1; vol.
/// 2, MOV CRn). An invalid value is #GP(0) and changes nothing. The caller flushes what the effects name.
/// </summary>
internal static unsafe class ControlRegisters
{
    private const ulong Cr0Et = 1 << 4;
    private const ulong Cr0Nw = 1UL << 29;
    private const ulong Cr0Cd = 1UL << 30;
    private const ulong Cr0Defined = 0xE005003F;
    private const ulong Cr4Smep = CpuModes.Cr4Smep;
    private const ulong Cr4Pcide = 1 << 17;
    private const ulong Cr4Cet = 1 << 23;

    // A change of these makes cached translations wrong.
    private const ulong Cr4Flushing = CpuModes.Cr4Pge | CpuModes.Cr4Pae | CpuModes.Cr4Pse | Cr4Pcide | Cr4Smep
        | CpuModes.Cr4Smap | CpuModes.Cr4La57 | (1 << 22) | (1 << 24);

    private const ulong Cr4ReloadsPdptes = CpuModes.Cr4Pae | CpuModes.Cr4Pge | CpuModes.Cr4Pse | Cr4Smep;
    private const ulong Cr3NoFlush = 1UL << 63;
    private const ulong Cr3Pcid = 0xFFF;

    /// <summary>May the program name this control register at all? #UD for one that is not there, #GP(0) above CPL 0.</summary>
    public static bool CheckAccess(CpuState* s, int index)
    {
        if (index is not (0 or 2 or 3 or 4 or 8))
        {
            return Fault.InvalidOpcode(s);
        }

        return s->Cpl == 0 || Fault.GeneralProtection(s, 0);
    }

    /// <summary>What CR0 becomes by LMSW: the low four bits, where PE can be set but not cleared.</summary>
    public static ulong LmswValue(CpuState* s, ushort source) =>
        (s->Cr0 & ~0xEUL) | (source & 0xFu);

    /// <summary>A value of CR0 without the bits that it does not have, and with ET, which is always set.</summary>
    public static ulong DefinedCr0(ulong value) => (value & Cr0Defined) | Cr0Et;

    /// <summary>Writes CR0; EFER.LMA follows paging and EFER.LME.</summary>
    public static bool WriteCr0(CpuState* s, ulong value, out ControlEffects effects)
    {
        effects = ControlEffects.None;
        if (value >> 32 != 0)
        {
            return Fault.GeneralProtection(s, 0);
        }

        value = DefinedCr0(value);
        var paging = (value & CpuModes.Cr0Pg) != 0;
        var protection = (value & CpuModes.Cr0Pe) != 0;
        var wasPaging = (s->Cr0 & CpuModes.Cr0Pg) != 0;
        var cacheMode = value & (Cr0Nw | Cr0Cd);
        var invalid = (paging && !protection)
            || cacheMode == Cr0Nw
            || ((value & CpuModes.Cr0Wp) == 0 && (s->Cr4 & Cr4Cet) != 0)
            || (wasPaging && !paging && !MayDisablePaging(s))
            || (!wasPaging && paging && (s->Efer & CpuModes.EferLme) != 0 && !MayEnterLongMode(s));
        if (invalid)
        {
            return Fault.GeneralProtection(s, 0);
        }

        var changed = value ^ s->Cr0;
        var longMode = paging && (s->Efer & CpuModes.EferLme) != 0;
        var paePaging = paging && !longMode && (s->Cr4 & CpuModes.Cr4Pae) != 0;
        if (paePaging && (changed & (CpuModes.Cr0Pg | Cr0Nw | Cr0Cd)) != 0)
        {
            if (!LoadPdptes(s, s->Cr3))
            {
                return false;
            }

            effects |= ControlEffects.PdptesChanged;
        }

        s->Cr0 = value;
        s->Efer = longMode ? s->Efer | CpuModes.EferLma : s->Efer & ~CpuModes.EferLma;
        if ((changed & (CpuModes.Cr0Pg | CpuModes.Cr0Wp | CpuModes.Cr0Pe)) != 0)
        {
            effects |= ControlEffects.FlushAll;
        }

        if ((changed & (CpuModes.Cr0Pg | CpuModes.Cr0Pe | CpuModes.Cr0Am)) != 0)
        {
            effects |= ControlEffects.ModeChanged;
            CpuModes.Update(s);
        }

        return true;
    }

    /// <summary>Writes CR3. With CR4.PCIDE, bit 63 keeps the translations of the new PCID.</summary>
    public static bool WriteCr3(CpuState* s, ulong value, out ControlEffects effects)
    {
        effects = ControlEffects.None;
        if (CpuModes.IsLongMode(s))
        {
            var keeps = (s->Cr4 & Cr4Pcide) != 0 && (value & Cr3NoFlush) != 0;
            if ((s->Cr4 & Cr4Pcide) != 0)
            {
                value &= ~Cr3NoFlush;
            }

            if (value >> Mmu.PhysicalBits != 0)
            {
                return Fault.GeneralProtection(s, 0);
            }

            s->Cr3 = value;
            effects = keeps ? ControlEffects.None : ControlEffects.FlushNonGlobal;
            return true;
        }

        // Outside of long mode the register has 32 bits; in 64-bit mode, which needs long mode, nobody can be here.
        value = (uint)value;
        if ((s->Cr0 & CpuModes.Cr0Pg) != 0 && (s->Cr4 & CpuModes.Cr4Pae) != 0)
        {
            if (!LoadPdptes(s, value))
            {
                return false;
            }

            effects |= ControlEffects.PdptesChanged;
        }

        s->Cr3 = value;
        effects |= ControlEffects.FlushNonGlobal;
        return true;
    }

    /// <summary>Writes CR4.</summary>
    public static bool WriteCr4(CpuState* s, ulong value, in ControlLimits limits, out ControlEffects effects)
    {
        effects = ControlEffects.None;
        var longMode = CpuModes.IsLongMode(s);
        var changed = value ^ s->Cr4;
        var set = value & changed;
        var invalid = (value & ~limits.Cr4) != 0
            || (longMode && (value & CpuModes.Cr4Pae) == 0)
            || (longMode && (changed & CpuModes.Cr4La57) != 0)
            || ((set & Cr4Pcide) != 0 && (!longMode || (s->Cr3 & Cr3Pcid) != 0))
            || ((value & Cr4Pcide) != 0 && !longMode)
            || ((value & Cr4Cet) != 0 && (s->Cr0 & CpuModes.Cr0Wp) == 0);
        if (invalid)
        {
            return Fault.GeneralProtection(s, 0);
        }

        var paging = (s->Cr0 & CpuModes.Cr0Pg) != 0;
        if (paging && !longMode && (value & CpuModes.Cr4Pae) != 0 && (changed & Cr4ReloadsPdptes) != 0)
        {
            if (!LoadPdptes(s, s->Cr3))
            {
                return false;
            }

            effects |= ControlEffects.PdptesChanged;
        }

        s->Cr4 = value;
        if ((changed & Cr4Flushing) != 0)
        {
            effects |= ControlEffects.FlushAll;
        }

        if (changed != 0)
        {
            effects |= ControlEffects.ModeChanged;
            CpuModes.Update(s);
        }

        return true;
    }

    /// <summary>Writes CR8, the task priority: four bits.</summary>
    public static bool WriteCr8(CpuState* s, ulong value)
    {
        if (value > 15)
        {
            return Fault.GeneralProtection(s, 0);
        }

        s->Cr8 = value;
        return true;
    }

    /// <summary>WRMSR to EFER: LMA is the processor's own, LME cannot change while paging is on.</summary>
    public static bool WriteEfer(CpuState* s, ulong value, in ControlLimits limits, out ControlEffects effects)
    {
        effects = ControlEffects.None;
        var paging = (s->Cr0 & CpuModes.Cr0Pg) != 0;
        value = (value & ~CpuModes.EferLma) | (s->Efer & CpuModes.EferLma);
        var changed = value ^ s->Efer;
        if ((value & ~(limits.Efer | CpuModes.EferLma)) != 0 || (paging && (changed & CpuModes.EferLme) != 0))
        {
            return Fault.GeneralProtection(s, 0);
        }

        s->Efer = value;
        if ((changed & CpuModes.EferNxe) != 0)
        {
            effects = ControlEffects.FlushAll;
        }

        return true;
    }

    /// <summary>Checks of XSETBV after #UD and CPL: the register and a combination of components that can be.</summary>
    public static bool WriteXcr0(CpuState* s, uint index, ulong value, in ControlLimits limits)
    {
        const ulong X87 = 1;
        const ulong Sse = 2;
        const ulong Avx = 4;
        const ulong Mpx = 3 << 3;
        const ulong Avx512 = 7 << 5;
        const ulong Amx = 3 << 17;
        var invalid = index != 0
            || (value & X87) == 0
            || (value & ~limits.Xcr0) != 0
            || ((value & Avx) != 0 && (value & Sse) == 0)
            || IsPartial(value, Mpx)
            || IsPartial(value, Avx512)
            || ((value & Avx512) != 0 && (value & Avx) == 0)
            || IsPartial(value, Amx);
        if (invalid)
        {
            return Fault.GeneralProtection(s, 0);
        }

        s->Xcr0 = value;
        return true;
    }

    private static bool IsPartial(ulong value, ulong group) => (value & group) != 0 && (value & group) != group;

    private static bool MayDisablePaging(CpuState* s) =>
        !CpuModes.Is64(s) && (s->Cr4 & Cr4Pcide) == 0;

    /// <summary>Long mode starts from PAE, with code that is not 64-bit yet and no 16-bit TSS.</summary>
    private static bool MayEnterLongMode(CpuState* s)
    {
        var tr = s->Seg(SegmentIndex.Tr);
        var tss16 = (tr->Attributes & (Segment.Unusable | 8)) == 0;
        return (s->Cr4 & CpuModes.Cr4Pae) != 0
            && (s->Seg(SegmentIndex.Cs)->Attributes & Segment.LongMode) == 0
            && !tss16;
    }

    private static bool LoadPdptes(CpuState* s, ulong cr3) =>
        PageDirectoryPointers.Load(s, cr3) || (s->Stop != StopReason.Exit && Fault.GeneralProtection(s, 0));
}
