using System.Runtime.InteropServices;

namespace Introspect.Hypervisor.Core.Platform;

/// <summary>
/// <c>struct vcpu_time_info</c>, 32 bytes: version 0, TSC 8, system time 16, multiplier 24, shift 28, flags 29. The
/// version is odd while the rest changes.
/// </summary>
internal static class PvClockRecord
{
    /// <summary>Bytes of the structure.</summary>
    public const int Size = 32;

    /// <summary><c>XEN_PVCLOCK_TSC_STABLE_BIT</c>.</summary>
    public const byte TscStable = 1;

    /// <summary>Writes new values; a reader that runs beside sees all of them or tries again.</summary>
    public static void Write(Span<byte> destination, ulong timestamp, ulong nanoseconds, TimeScale scale, bool stable)
    {
        var words = MemoryMarshal.Cast<byte, uint>(destination);
        var longs = MemoryMarshal.Cast<byte, ulong>(destination);
        Volatile.Write(ref words[0], (words[0] + 1) | 1);
        Interlocked.MemoryBarrier();
        longs[1] = timestamp;
        longs[2] = nanoseconds;
        words[6] = scale.Multiplier;
        destination[28] = unchecked((byte)scale.Shift);
        destination[29] = stable ? TscStable : (byte)0;
        Volatile.Write(ref words[0], words[0] + 1);
    }
}
