namespace Introspect.Hypervisor.Core.Monitoring;

/// <summary>Which MSRs are monitored: three ranges of 8192, as the processors' own intercept bitmaps have them and one for the hypervisor's.</summary>
internal sealed class MsrMonitorBitmap
{
    private const uint RangeSize = 0x2000;
    private const int Ranges = 3;
    private const int WordBits = 64;

    private readonly ulong[] _monitored = new ulong[Ranges * RangeSize / WordBits];
    private readonly ulong[] _onChangeOnly = new ulong[Ranges * RangeSize / WordBits];
    private int _count;

    /// <summary>Nothing is monitored.</summary>
    public bool IsEmpty => _count == 0;

    /// <summary>The MSR can be monitored at all.</summary>
    public static bool IsInRange(uint msr) => IndexOf(msr) >= 0;

    /// <summary>The MSR is monitored.</summary>
    public bool IsMonitored(uint msr) => Test(_monitored, msr);

    /// <summary>Only writes that change it.</summary>
    public bool IsOnChangeOnly(uint msr) => Test(_onChangeOnly, msr);

    /// <summary>Switches monitoring of an MSR in one of the ranges.</summary>
    public void Set(uint msr, bool on, bool onChangeOnly)
    {
        if (IsMonitored(msr) != on)
        {
            _count += on ? 1 : -1;
        }

        Assign(_monitored, msr, on);
        Assign(_onChangeOnly, msr, on && onChangeOnly);
    }

    private static int IndexOf(uint msr) => msr switch
    {
        < RangeSize => (int)msr,
        >= 0x40000000 and < 0x40000000 + RangeSize => (int)(msr - 0x40000000 + RangeSize),
        >= 0xc0000000 and < 0xc0000000 + RangeSize => (int)(msr - 0xc0000000 + (2 * RangeSize)),
        _ => -1,
    };

    private static bool Test(ulong[] bits, uint msr)
    {
        var index = IndexOf(msr);
        return index >= 0 && (bits[index / WordBits] & (1UL << (index % WordBits))) != 0;
    }

    private static void Assign(ulong[] bits, uint msr, bool value)
    {
        var index = IndexOf(msr);
        ref var word = ref bits[index / WordBits];
        var bit = 1UL << (index % WordBits);
        word = value ? word | bit : word & ~bit;
    }
}
