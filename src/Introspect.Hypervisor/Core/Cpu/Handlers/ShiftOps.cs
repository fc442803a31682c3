using System.Runtime.CompilerServices;

namespace Introspect.Hypervisor.Core.Cpu.Handlers;

/// <summary>
/// Shifts and rotates as operations with the count as second operand. A count of 0 (after masking to 5 or 6
/// bits) changes neither flags nor, but for the zero extension of 32-bit registers, the operand.
/// </summary>
internal static unsafe class ShiftCount
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int Mask<T>(ulong count)
        where T : unmanaged => (int)count & (sizeof(T) == 8 ? 63 : 31);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool TopBit<T>(ulong value)
        where T : unmanaged => ((value >> ((8 * sizeof(T)) - 1)) & 1) != 0;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Truncate<T>(ulong value)
        where T : unmanaged => sizeof(T) == 8 ? value : value & ((1UL << (8 * sizeof(T))) - 1);

    /// <summary>Rotates set CF and OF alone.</summary>
    public static void SetCfOf(CpuState* s, bool cf, bool of) =>
        s->FlagsAux = (s->FlagsAux & 0x3FFFFFFF) | (cf ? 0x80000000u : 0) | (cf != of ? 0x40000000u : 0);
}

internal readonly struct Shl : IAluOp
{
    public static bool Writes => true;

    public static unsafe ulong Apply<T>(CpuState* s, ulong a, ulong b)
        where T : unmanaged
    {
        var count = ShiftCount.Mask<T>(b);
        if (count == 0)
        {
            return a;
        }

        var bits = 8 * sizeof(T);
        var cf = count <= bits && ((a >> (bits - count)) & 1) != 0;
        var r = ShiftCount.Truncate<T>(a << count);
        Flags.SetResult<T>(s, r, cf, ShiftCount.TopBit<T>(r) != cf);
        return r;
    }
}

internal readonly struct Shr : IAluOp
{
    public static bool Writes => true;

    public static unsafe ulong Apply<T>(CpuState* s, ulong a, ulong b)
        where T : unmanaged
    {
        var count = ShiftCount.Mask<T>(b);
        if (count == 0)
        {
            return a;
        }

        var cf = ((a >> (count - 1)) & 1) != 0;
        var r = a >> count;

        // OF is the top bit of the operand for a count of 1; the same rule serves the undefined others
        // as processors have it: the two topmost bits of the result differ.
        var of = count == 1 && ShiftCount.TopBit<T>(a);
        Flags.SetResult<T>(s, r, cf, of);
        return r;
    }
}

internal readonly struct Sar : IAluOp
{
    public static bool Writes => true;

    public static unsafe ulong Apply<T>(CpuState* s, ulong a, ulong b)
        where T : unmanaged
    {
        var count = ShiftCount.Mask<T>(b);
        if (count == 0)
        {
            return a;
        }

        var value = (long)Flags.SignExtend<T>(a);
        var cf = ((value >> Math.Min(count - 1, 63)) & 1) != 0;
        var r = ShiftCount.Truncate<T>((ulong)(value >> count));
        Flags.SetResult<T>(s, r, cf, false);
        return r;
    }
}

internal readonly struct Rol : IAluOp
{
    public static bool Writes => true;

    public static unsafe ulong Apply<T>(CpuState* s, ulong a, ulong b)
        where T : unmanaged
    {
        if (ShiftCount.Mask<T>(b) == 0)
        {
            return a;
        }

        var bits = 8 * sizeof(T);
        var count = (int)b & (bits - 1);
        var r = count == 0 ? a : ShiftCount.Truncate<T>((a << count) | (a >> (bits - count)));
        var cf = (r & 1) != 0;
        ShiftCount.SetCfOf(s, cf, ShiftCount.TopBit<T>(r) != cf);
        return r;
    }
}

internal readonly struct Ror : IAluOp
{
    public static bool Writes => true;

    public static unsafe ulong Apply<T>(CpuState* s, ulong a, ulong b)
        where T : unmanaged
    {
        if (ShiftCount.Mask<T>(b) == 0)
        {
            return a;
        }

        var bits = 8 * sizeof(T);
        var count = (int)b & (bits - 1);
        var r = count == 0 ? a : ShiftCount.Truncate<T>((a >> count) | (a << (bits - count)));
        var cf = ShiftCount.TopBit<T>(r);
        ShiftCount.SetCfOf(s, cf, ((r >> (bits - 2)) & 1) != 0 != cf);
        return r;
    }
}

internal readonly struct Rcl : IAluOp
{
    public static bool Writes => true;

    public static unsafe ulong Apply<T>(CpuState* s, ulong a, ulong b)
        where T : unmanaged
    {
        var bits = 8 * sizeof(T);
        var count = ShiftCount.Mask<T>(b) % (bits + 1);
        if (count == 0)
        {
            return a;
        }

        var cf = Flags.Cf(s);
        for (var n = 0; n < count; n++)
        {
            var top = ShiftCount.TopBit<T>(a);
            a = ShiftCount.Truncate<T>(a << 1) | (cf ? 1UL : 0);
            cf = top;
        }

        ShiftCount.SetCfOf(s, cf, ShiftCount.TopBit<T>(a) != cf);
        return a;
    }
}

internal readonly struct Rcr : IAluOp
{
    public static bool Writes => true;

    public static unsafe ulong Apply<T>(CpuState* s, ulong a, ulong b)
        where T : unmanaged
    {
        var bits = 8 * sizeof(T);
        var count = ShiftCount.Mask<T>(b) % (bits + 1);
        if (count == 0)
        {
            return a;
        }

        var cf = Flags.Cf(s);
        for (var n = 0; n < count; n++)
        {
            var low = (a & 1) != 0;
            a = (a >> 1) | (cf ? 1UL << (bits - 1) : 0);
            cf = low;
        }

        ShiftCount.SetCfOf(s, cf, ShiftCount.TopBit<T>(a) != (((a >> (bits - 2)) & 1) != 0));
        return a;
    }
}

/// <summary>The count of a shift by CL.</summary>
internal readonly struct FromCl : ISource
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe ulong Get<T>(CpuState* s, Insn* i)
        where T : unmanaged => *(byte*)(s->Gpr + 1);
}

/// <summary>shift reg, imm or CL.</summary>
internal readonly struct ShiftReg<TOp, TSource> : ISizedHandler
    where TOp : struct, IAluOp
    where TSource : struct, ISource
{
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static unsafe void Run<T>(CpuState* s, Insn* i)
        where T : unmanaged
    {
        Operand.Set<T>(s, i->R0, TOp.Apply<T>(s, Operand.Get<T>(s, i->R0), TSource.Get<T>(s, i)));
        i[1].Handler(s, i + 1);
    }
}
