namespace Introspect.Hypervisor.Core.Platform;

/// <summary>
/// Cycles to nanoseconds as pvclock tells it: shift the cycles by <see cref="Shift"/> (left when positive), then
/// multiply by <see cref="Multiplier"/> / 2^32.
/// </summary>
internal readonly record struct TimeScale(uint Multiplier, sbyte Shift)
{
    private const ulong NanosecondsPerSecond = 1_000_000_000;

    /// <summary>The scale of a frequency in Hz, with the multiplier in its upper half so that precision is greatest.</summary>
    public static TimeScale ForFrequency(ulong hertz)
    {
        ArgumentOutOfRangeException.ThrowIfZero(hertz);
        var shift = 0;
        var ticks = hertz;
        while (ticks > NanosecondsPerSecond * 2)
        {
            ticks >>= 1;
            shift--;
        }

        while (ticks <= NanosecondsPerSecond)
        {
            ticks <<= 1;
            shift++;
        }

        return new((uint)((NanosecondsPerSecond << 32) / ticks), (sbyte)shift);
    }

    /// <summary>Nanoseconds that a number of cycles takes, exactly as a guest computes it.</summary>
    public ulong ToNanoseconds(ulong cycles)
    {
        var shifted = Shift >= 0 ? (UInt128)cycles << Shift : cycles >> -Shift;
        return (ulong)((shifted * Multiplier) >> 32);
    }
}
