using System.Runtime.CompilerServices;

namespace Introspect.Hypervisor.Core.Cpu.Handlers;

/// <summary>
/// SHLD and SHRD. A masked count of 0 changes nothing. OF, defined for a count of 1, is set for every count by
/// the same rule: the sign changed. AF is cleared. A 16-bit operation with a count beyond 16, whose result is
/// undefined, goes on with the destination's own bits.
/// </summary>
internal unsafe interface IDoubleShift
{
    static abstract ulong Apply<T>(CpuState* s, ulong a, ulong fill, int count)
        where T : unmanaged;
}

internal readonly struct Shld : IDoubleShift
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe ulong Apply<T>(CpuState* s, ulong a, ulong fill, int count)
        where T : unmanaged
    {
        ulong r;
        bool cf;
        if (sizeof(T) == 2)
        {
            var wide = (a << 32) | (fill << 16) | a;
            r = (ushort)((wide << count) >> 32);
            cf = ((wide >> (48 - count)) & 1) != 0;
        }
        else
        {
            var bits = 8 * sizeof(T);
            r = ShiftCount.Truncate<T>((a << count) | (fill >> (bits - count)));
            cf = ((a >> (bits - count)) & 1) != 0;
        }

        Flags.SetResult<T>(s, r, cf, ShiftCount.TopBit<T>(r ^ a));
        return r;
    }
}

internal readonly struct Shrd : IDoubleShift
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe ulong Apply<T>(CpuState* s, ulong a, ulong fill, int count)
        where T : unmanaged
    {
        ulong r;
        bool cf;
        if (sizeof(T) == 2)
        {
            var wide = (a << 32) | (fill << 16) | a;
            r = (ushort)(wide >> count);
            cf = ((wide >> (count - 1)) & 1) != 0;
        }
        else
        {
            r = ShiftCount.Truncate<T>((a >> count) | (fill << ((8 * sizeof(T)) - count)));
            cf = ((a >> (count - 1)) & 1) != 0;
        }

        Flags.SetResult<T>(s, r, cf, ShiftCount.TopBit<T>(r ^ a));
        return r;
    }
}

/// <summary>shld, shrd reg, reg, imm or CL.</summary>
internal readonly struct DoubleShiftReg<TOp, TCount> : ISizedHandler
    where TOp : struct, IDoubleShift
    where TCount : struct, ISource
{
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static unsafe void Run<T>(CpuState* s, Insn* i)
        where T : unmanaged
    {
        var a = Operand.Get<T>(s, i->R0);
        var count = ShiftCount.Mask<T>(TCount.Get<T>(s, i));
        Operand.Set<T>(s, i->R0, count == 0 ? a : TOp.Apply<T>(s, a, Operand.Get<T>(s, i->R1), count));
        i[1].Handler(s, i + 1);
    }
}

/// <summary>shld, shrd [mem], reg, imm or CL.</summary>
internal readonly struct DoubleShiftMem<TOp, TCount> : IMemoryHandler
    where TOp : struct, IDoubleShift
    where TCount : struct, ISource
{
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static unsafe void Run<T, TAddress>(CpuState* s, Insn* i)
        where T : unmanaged
        where TAddress : struct, IEffectiveAddress
    {
        var linear = TAddress.Linear(s, i, sizeof(T), true);
        var p = Access.Modify<T>(s, i, linear);
        if (p == null)
        {
            ControlHandlers.Leave(s, i);
            return;
        }

        var count = ShiftCount.Mask<T>(TCount.Get<T>(s, i));
        if (count != 0)
        {
            Operand.Store<T>(p, TOp.Apply<T>(s, Operand.Load<T>(p), Operand.Get<T>(s, i->R1), count));
        }

        if (Operand.IsBounce(s, p) && !SlowAccess.CommitBounce(s, i, linear, sizeof(T)))
        {
            ControlHandlers.Leave(s, i);
            return;
        }

        i[1].Handler(s, i + 1);
    }
}
