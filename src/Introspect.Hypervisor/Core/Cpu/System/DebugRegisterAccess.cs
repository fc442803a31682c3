namespace Introspect.Hypervisor.Core.Cpu.SystemMode;

/// <summary>MOV to and from debug registers (Intel SDM vol. 3, 18.2; vol. 2, MOV DRn).</summary>
internal static unsafe class DebugRegisterAccess
{
    private const ulong Cr4De = 1 << 3;
    private const ulong Dr6Fixed = 0xFFFF0FF0;
    private const ulong Dr6Writable = 0xE00F;
    private const ulong Dr7Fixed = 0x400;
    private const ulong Dr7Writable = 0xFFFF23FF;
    private const ulong Dr7GeneralDetect = 1 << 13;

    /// <summary>
    /// May the program touch the register? #UD for DR4 and DR5 with CR4.DE (and those beyond 7), #GP(0) above CPL 0,
    /// #DB with DR6.BD under general detection.
    /// </summary>
    public static bool Check(CpuState* s, int index)
    {
        if (index > 7 || (index is 4 or 5 && (s->Cr4 & Cr4De) != 0))
        {
            return Fault.InvalidOpcode(s);
        }

        if (s->Cpl != 0)
        {
            return Fault.GeneralProtection(s, 0);
        }

        if ((s->Dr7 & Dr7GeneralDetect) != 0)
        {
            Fault.Raise(s, Vector.Debug);
            s->Pending.Payload = Dr7GeneralDetect; // DR6.BD has the same position
            return false;
        }

        return true;
    }

    /// <summary>MOV from DR.</summary>
    public static bool Read(CpuState* s, int index, out ulong value)
    {
        value = 0;
        if (!Check(s, index))
        {
            return false;
        }

        value = index switch
        {
            0 => s->Dr0,
            1 => s->Dr1,
            2 => s->Dr2,
            3 => s->Dr3,
            4 or 6 => s->Dr6,
            _ => s->Dr7,
        };
        return true;
    }

    /// <summary>MOV to DR; the upper half of DR6 and DR7 must be 0.</summary>
    public static bool Write(CpuState* s, int index, ulong value)
    {
        if (!Check(s, index))
        {
            return false;
        }

        if (!CpuModes.Is64(s))
        {
            value = (uint)value;
        }

        if (index >= 4 && value >> 32 != 0)
        {
            return Fault.GeneralProtection(s, 0);
        }

        switch (index)
        {
            case 0: s->Dr0 = value; break;
            case 1: s->Dr1 = value; break;
            case 2: s->Dr2 = value; break;
            case 3: s->Dr3 = value; break;
            case 4 or 6: s->Dr6 = (value & Dr6Writable) | Dr6Fixed; break;
            default: s->Dr7 = (value & Dr7Writable) | Dr7Fixed; break;
        }

        DebugRegisters.Update(s);
        return true;
    }
}
