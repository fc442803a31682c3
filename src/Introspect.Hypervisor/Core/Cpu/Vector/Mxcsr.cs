namespace Introspect.Hypervisor.Core.Cpu.VectorUnit;

/// <summary>MXCSR: which exceptions an instruction raises, by what the host says of it with everything masked.</summary>
internal static unsafe class Mxcsr
{
    /// <summary>The six sticky flags: IE, DE, ZE, OE, UE, PE.</summary>
    public const uint Flags = 0x3F;

    private const uint BeforeResult = 0x07;
    private const uint Underflow = 0x10;
    private const uint Masks = 0x1F80;
    private const int MaskShift = 7;
    private const uint FlushToZero = 1 << 15;

    /// <summary>Flags that fault when raised.</summary>
    public static uint Unmasked(uint mxcsr) => (~mxcsr >> MaskShift) & Flags;

    /// <summary>What the host runs with: no flags, all masked. Flushing to zero does not apply to unmasked underflow.</summary>
    public static uint ForHost(uint mxcsr)
    {
        var control = (mxcsr & ~Flags) | Masks;
        return (Unmasked(mxcsr) & Underflow) != 0 ? control & ~FlushToZero : control;
    }

    /// <summary>
    /// Flags that an instruction raises when some are not masked: an unmasked exception of the operands ends it
    /// before there is a result, and unmasked underflow comes of a tiny result even if it is exact (Intel SDM
    /// vol. 1, 4.9.1.5, 4.9.2 and 11.5.2).
    /// </summary>
    public static uint Raised(uint flags, uint unmasked, ulong* result, NativeForm form)
    {
        if ((flags & unmasked & BeforeResult) != 0)
        {
            return flags & BeforeResult;
        }

        return (unmasked & Underflow) != 0 && IsTiny(result, form) ? flags | Underflow : flags;
    }

    private static bool IsTiny(ulong* result, NativeForm form)
    {
        if ((form & NativeForm.DoubleResult) != 0)
        {
            return IsDenormal(result[0]) || ((form & NativeForm.ScalarResult) == 0 && IsDenormal(result[1]));
        }

        if ((form & NativeForm.SingleResult) == 0)
        {
            return false;
        }

        var singles = (uint*)result;
        var count = (form & NativeForm.ScalarResult) != 0 ? 1 : 4;
        for (var n = 0; n < count; n++)
        {
            if ((singles[n] & 0x7F800000) == 0 && (singles[n] & 0x7FFFFF) != 0)
            {
                return true;
            }
        }

        return false;
    }

    private static bool IsDenormal(ulong bits) => (bits & 0x7FF0000000000000) == 0 && (bits & 0xFFFFFFFFFFFFF) != 0;
}
