namespace Introspect.Hypervisor.Core.Cpu.VectorUnit;

/// <summary>The x87 control, status and tag words.</summary>
internal static unsafe class X87Status
{
    public const ushort Exceptions = 0x3F;
    public const ushort StackFault = 1 << 6;

    /// <summary>ES: an exception that is not masked is pending.</summary>
    public const ushort Summary = 1 << 7;
    public const ushort Busy = 1 << 15;
    public const int TopShift = 11;
    public const ushort TopMask = 7 << TopShift;

    /// <summary>FCW after FNINIT: every exception masked, 64-bit precision.</summary>
    public const ushort InitialControl = 0x37F;

    private const ushort ControlWritable = 0x1F3F;
    private const ushort ControlFixed = 0x40;

    /// <summary>Physical number of ST(0).</summary>
    public static int Top(CpuState* s) => (s->Fsw >> TopShift) & 7;

    /// <summary>Loads the control word and looks again whether an exception is pending.</summary>
    public static void SetControl(CpuState* s, ushort value)
    {
        s->Fcw = (ushort)((value & ControlWritable) | ControlFixed);
        UpdateSummary(s);
    }

    /// <summary>ES and B follow the flags that are not masked.</summary>
    public static void UpdateSummary(CpuState* s)
    {
        var pending = (s->Fsw & ~s->Fcw & Exceptions) != 0;
        s->Fsw = (ushort)((s->Fsw & ~(Summary | Busy)) | (pending ? Summary | Busy : 0));
    }

    /// <summary>The state after FNINIT. The registers keep their contents and become empty.</summary>
    public static void Initialize(CpuState* s)
    {
        s->Fcw = InitialControl;
        s->Fsw = 0;
        s->FtwAbridged = 0;
        s->Fop = 0;
        s->Fip = 0;
        s->Fdp = 0;
    }

    /// <summary>An MMX instruction makes the stack full, with its top at register 0.</summary>
    public static void EnterMmx(CpuState* s)
    {
        s->FtwAbridged = 0xFF;
        s->Fsw &= unchecked((ushort)~TopMask);
    }

    /// <summary>The tag word with two bits a register: valid, zero, special, empty.</summary>
    public static ushort FullTags(CpuState* s)
    {
        var tags = 0;
        for (var n = 0; n < 8; n++)
        {
            tags |= Tag(s, n) << (2 * n);
        }

        return (ushort)tags;
    }

    /// <summary>Takes a tag word with two bits a register: all but empty is computed anew when asked.</summary>
    public static void SetFullTags(CpuState* s, ushort tags)
    {
        var abridged = 0;
        for (var n = 0; n < 8; n++)
        {
            abridged |= ((tags >> (2 * n)) & 3) == 3 ? 0 : 1 << n;
        }

        s->FtwAbridged = (byte)abridged;
    }

    private static int Tag(CpuState* s, int n)
    {
        if ((s->FtwAbridged & (1 << n)) == 0)
        {
            return 3;
        }

        var significand = s->X87[n * 2];
        var exponent = (uint)s->X87[(n * 2) + 1] & 0x7FFF;
        if (exponent == 0 && significand == 0)
        {
            return 1;
        }

        return exponent is 0 or 0x7FFF || (significand >> 63) == 0 ? 2 : 0;
    }
}
