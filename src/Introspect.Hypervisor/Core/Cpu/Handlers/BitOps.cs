using System.Numerics;
using System.Runtime.CompilerServices;

namespace Introspect.Hypervisor.Core.Cpu.Handlers;

/// <summary>
/// BT, BTS, BTR, BTC as operations with the bit number as second operand, taken modulo the operand size. They
/// set CF; the other flags, of which only ZF is defined, stay as they are.
/// </summary>
internal static unsafe class TestedBit
{
    /// <summary>Sets CF from the bit and gives the bit's mask.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Take<T>(CpuState* s, ulong value, ulong number)
        where T : unmanaged
    {
        var bit = (int)number & ((8 * sizeof(T)) - 1);
        Flags.SetCf(s, ((value >> bit) & 1) != 0);
        return 1UL << bit;
    }
}

internal readonly struct Bt : IAluOp
{
    public static bool Writes => false;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe ulong Apply<T>(CpuState* s, ulong a, ulong b)
        where T : unmanaged => TestedBit.Take<T>(s, a, b);
}

internal readonly struct Bts : IAluOp
{
    public static bool Writes => true;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe ulong Apply<T>(CpuState* s, ulong a, ulong b)
        where T : unmanaged => a | TestedBit.Take<T>(s, a, b);
}

internal readonly struct Btr : IAluOp
{
    public static bool Writes => true;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe ulong Apply<T>(CpuState* s, ulong a, ulong b)
        where T : unmanaged => a & ~TestedBit.Take<T>(s, a, b);
}

internal readonly struct Btc : IAluOp
{
    public static bool Writes => true;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe ulong Apply<T>(CpuState* s, ulong a, ulong b)
        where T : unmanaged => a ^ TestedBit.Take<T>(s, a, b);
}

/// <summary>tzcnt: CF tells of a zero source, ZF of a zero result; OF and AF are 0, SF and PF follow the result.</summary>
internal readonly struct Tzcnt : IAluOp
{
    public static bool Writes => true;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe ulong Apply<T>(CpuState* s, ulong a, ulong b)
        where T : unmanaged
    {
        var r = b == 0 ? 8 * (ulong)sizeof(T) : (ulong)BitOperations.TrailingZeroCount(b);
        Flags.SetResult<T>(s, r, b == 0, false);
        return r;
    }
}

/// <summary>lzcnt, with the flags of <see cref="Tzcnt"/>.</summary>
internal readonly struct Lzcnt : IAluOp
{
    public static bool Writes => true;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe ulong Apply<T>(CpuState* s, ulong a, ulong b)
        where T : unmanaged
    {
        var r = (ulong)BitOperations.LeadingZeroCount(b) - (64 - (8 * (ulong)sizeof(T)));
        Flags.SetResult<T>(s, r, b == 0, false);
        return r;
    }
}

/// <summary>popcnt: ZF tells of a zero source, every other flag is 0.</summary>
internal readonly struct Popcnt : IAluOp
{
    public static bool Writes => true;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe ulong Apply<T>(CpuState* s, ulong a, ulong b)
        where T : unmanaged
    {
        // A result of 1 has odd parity, so PF is 0; for a result of 0 the correction makes it so.
        s->FlagsResult = b == 0 ? 0UL : 1;
        s->FlagsAux = b == 0 ? 0x100u : 0;
        return (ulong)BitOperations.PopCount(b);
    }
}

/// <summary>adcx: an addition that reads and writes CF alone.</summary>
internal readonly struct Adcx : IAluOp
{
    public static bool Writes => true;

    public static unsafe ulong Apply<T>(CpuState* s, ulong a, ulong b)
        where T : unmanaged
    {
        var r = a + b + (Flags.Cf(s) ? 1UL : 0);
        Flags.SetCf(s, ShiftCount.TopBit<T>((a & b) | ((a | b) & ~r)));
        return r;
    }
}

/// <summary>adox: an addition that reads and writes OF alone, as a carry.</summary>
internal readonly struct Adox : IAluOp
{
    public static bool Writes => true;

    public static unsafe ulong Apply<T>(CpuState* s, ulong a, ulong b)
        where T : unmanaged
    {
        var r = a + b + (Flags.Of(s) ? 1UL : 0);
        Flags.SetOf(s, ShiftCount.TopBit<T>((a & b) | ((a | b) & ~r)));
        return r;
    }
}
