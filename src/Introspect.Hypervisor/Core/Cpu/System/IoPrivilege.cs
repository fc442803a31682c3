namespace Introspect.Hypervisor.Core.Cpu.SystemMode;

/// <summary>May this program use this port? IOPL and the I/O permission bitmap (Intel SDM vol. 1, 19.5).</summary>
internal static unsafe class IoPrivilege
{
    private const uint MapBaseAt = 102;

    public static int Iopl(CpuState* s) => (int)(s->FlagsOther >> RFlags.IoplShift) & 3;

    /// <summary>Checks an access of 1, 2 or 4 bytes; #GP(0) when it is refused.</summary>
    public static bool Check(CpuState* s, ushort port, int size)
    {
        var vm86 = (s->FlagsOther & RFlags.Vm) != 0;
        if ((s->Cr0 & CpuModes.Cr0Pe) == 0 || (!vm86 && s->Cpl <= Iopl(s)))
        {
            return true;
        }

        if (!ReadMapBase(s, out var map))
        {
            return false;
        }

        // Two bytes are read always, because an access may cross into the next one.
        var tr = s->Seg(SegmentIndex.Tr);
        var at = map + (port / 8u);
        if (at + 1 > tr->Limit)
        {
            return Fault.GeneralProtection(s, 0);
        }

        if (!Access.ReadSystem(s, tr->Base + at, 2, out var bits))
        {
            return false;
        }

        var mask = ((1u << size) - 1) << (port & 7);
        return (bits & mask) == 0 || Fault.GeneralProtection(s, 0);
    }

    /// <summary>The I/O map base of a 32-bit or 64-bit TSS; #GP(0) for a TSS that has none.</summary>
    public static bool ReadMapBase(CpuState* s, out uint map)
    {
        map = 0;
        var tr = s->Seg(SegmentIndex.Tr);
        var wide = (tr->Attributes & 8) != 0 && (tr->Attributes & Segment.Unusable) == 0;
        if (!wide || tr->Limit < MapBaseAt + 1)
        {
            return Fault.GeneralProtection(s, 0);
        }

        if (!Access.ReadSystem(s, tr->Base + MapBaseAt, 2, out var value))
        {
            return false;
        }

        map = (uint)value;
        return true;
    }
}
