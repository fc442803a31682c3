namespace Introspect.Hypervisor.Core.Cpu.SystemMode;

/// <summary>VIF and VIP: the interrupt flag that virtual-8086 code (VME) and level 3 (PVI) may have of their own.</summary>
internal static unsafe class VirtualInterrupts
{
    private const ulong Cr4Vme = 1 << 0;
    private const ulong Cr4Pvi = 1 << 1;

    /// <summary>Virtual-8086 mode extensions are on.</summary>
    public static bool IsVme(CpuState* s) => (s->Cr4 & Cr4Vme) != 0;

    /// <summary>Protected-mode virtual interrupts apply: CR4.PVI at CPL 3.</summary>
    public static bool IsPvi(CpuState* s) => (s->Cr4 & Cr4Pvi) != 0 && s->Cpl == 3;

    public static void SetVif(CpuState* s, bool value) => Flags.Write(s, value ? RFlags.Vif : 0, RFlags.Vif);

    /// <summary>POPF and IRET of less privileged virtual-8086 code: no TF, and no IF while an interrupt is pending; else #GP(0).</summary>
    public static bool CheckImage(CpuState* s, uint image)
    {
        var pending = (s->FlagsOther & RFlags.Vip) != 0 && (image & RFlags.If) != 0;
        return (!pending && (image & RFlags.Tf) == 0) || Fault.GeneralProtection(s, 0);
    }

    /// <summary>
    /// Is an INT n of virtual-8086 mode redirected to the 8086 program's own handler? Its bit in the map of 32 bytes
    /// before the I/O bitmap is clear then (Intel SDM vol. 3, 21.3).
    /// </summary>
    public static bool Redirected(CpuState* s, byte vector, out bool redirected)
    {
        redirected = false;
        if (!IoPrivilege.ReadMapBase(s, out var map))
        {
            return false;
        }

        var at = map - 32 + (vector / 8u);
        var tr = s->Seg(SegmentIndex.Tr);
        if (map < 32 || at > tr->Limit)
        {
            return Fault.GeneralProtection(s, 0);
        }

        if (!Access.ReadSystem(s, tr->Base + at, 1, out var bits))
        {
            return false;
        }

        redirected = (bits & (1UL << (vector & 7))) == 0;
        return true;
    }
}
