using System.Runtime.CompilerServices;

namespace Introspect.Hypervisor.Core.Cpu.Handlers;

/// <summary>mul, imul (one operand), div, idiv: on rDX:rAX, or AX for bytes.</summary>
internal unsafe interface IWideOp
{
    /// <summary>Works on the accumulator; false when #DE was raised.</summary>
    static abstract bool Apply<T>(CpuState* s, ulong operand)
        where T : unmanaged;
}

internal static unsafe class Accumulator
{
    public static void SetPair<T>(CpuState* s, ulong low, ulong high)
        where T : unmanaged
    {
        if (sizeof(T) == 1)
        {
            *(ushort*)s->Gpr = (ushort)((byte)low | (high << 8));
            return;
        }

        Operand.Set<T>(s, 0, low);
        Operand.Set<T>(s, 16, high);
    }

    public static UInt128 GetPair<T>(CpuState* s)
        where T : unmanaged => sizeof(T) == 1
            ? *(ushort*)s->Gpr
            : ((UInt128)Operand.Get<T>(s, 16) << (8 * sizeof(T))) | Operand.Get<T>(s, 0);
}

internal readonly struct Mul : IWideOp
{
    [MethodImpl(MethodImplOptions.NoInlining)]
    public static unsafe bool Apply<T>(CpuState* s, ulong operand)
        where T : unmanaged
    {
        var product = (UInt128)Operand.Get<T>(s, 0) * operand;
        var low = ShiftCount.Truncate<T>((ulong)product);
        var high = ShiftCount.Truncate<T>((ulong)(product >> (8 * sizeof(T))));
        Accumulator.SetPair<T>(s, low, high);
        Flags.SetResult<T>(s, low, high != 0, high != 0);
        return true;
    }
}

internal readonly struct Imul : IWideOp
{
    [MethodImpl(MethodImplOptions.NoInlining)]
    public static unsafe bool Apply<T>(CpuState* s, ulong operand)
        where T : unmanaged
    {
        var product = (Int128)(long)Flags.SignExtend<T>(Operand.Get<T>(s, 0)) * (long)Flags.SignExtend<T>(operand);
        var low = ShiftCount.Truncate<T>((ulong)product);
        Accumulator.SetPair<T>(s, low, ShiftCount.Truncate<T>((ulong)(product >> (8 * sizeof(T)))));
        var overflow = product != (long)Flags.SignExtend<T>(low);
        Flags.SetResult<T>(s, low, overflow, overflow);
        return true;
    }
}

internal readonly struct Div : IWideOp
{
    [MethodImpl(MethodImplOptions.NoInlining)]
    public static unsafe bool Apply<T>(CpuState* s, ulong operand)
        where T : unmanaged
    {
        if (operand == 0)
        {
            return Fault.Raise(s, Vector.DivideError);
        }

        if (sizeof(T) == 4)
        {
            var dividend = ((ulong)(uint)s->Gpr[2] << 32) | (uint)s->Gpr[0];
            var (q, r) = Math.DivRem(dividend, operand);
            if (q > uint.MaxValue)
            {
                return Fault.Raise(s, Vector.DivideError);
            }

            Accumulator.SetPair<T>(s, q, r);
            return true;
        }

        if (sizeof(T) == 8 && s->Gpr[2] == 0)
        {
            var (q, r) = Math.DivRem(s->Gpr[0], operand);
            Accumulator.SetPair<T>(s, q, r);
            return true;
        }

        var wide = Accumulator.GetPair<T>(s);
        var quotient = wide / operand;
        if (quotient > ShiftCount.Truncate<T>(~0UL))
        {
            return Fault.Raise(s, Vector.DivideError);
        }

        Accumulator.SetPair<T>(s, (ulong)quotient, (ulong)(wide % operand));
        return true;
    }
}

internal readonly struct Idiv : IWideOp
{
    [MethodImpl(MethodImplOptions.NoInlining)]
    public static unsafe bool Apply<T>(CpuState* s, ulong operand)
        where T : unmanaged
    {
        var divisor = (Int128)(long)Flags.SignExtend<T>(operand);
        if (divisor == 0)
        {
            return Fault.Raise(s, Vector.DivideError);
        }

        var dividend = sizeof(T) == 1
            ? (Int128)(short)*(ushort*)s->Gpr
            : ((Int128)(long)Flags.SignExtend<T>(Operand.Get<T>(s, 16)) << (8 * sizeof(T))) | (Int128)Operand.Get<T>(s, 0);
        if (sizeof(T) == 8 && dividend == Int128.MinValue && divisor == -1)
        {
            return Fault.Raise(s, Vector.DivideError);
        }

        var quotient = dividend / divisor;
        var limit = (Int128)1 << ((8 * sizeof(T)) - 1);
        if (quotient >= limit || quotient < -limit)
        {
            return Fault.Raise(s, Vector.DivideError);
        }

        Accumulator.SetPair<T>(s, ShiftCount.Truncate<T>((ulong)quotient), ShiftCount.Truncate<T>((ulong)(dividend - (quotient * divisor))));
        return true;
    }
}

/// <summary>mul, imul, div, idiv of a register.</summary>
internal readonly struct WideReg<TOp> : ISizedHandler
    where TOp : struct, IWideOp
{
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static unsafe void Run<T>(CpuState* s, Insn* i)
        where T : unmanaged
    {
        if (!TOp.Apply<T>(s, Operand.Get<T>(s, i->R0)))
        {
            ControlHandlers.Leave(s, i);
            return;
        }

        i[1].Handler(s, i + 1);
    }
}

/// <summary>mul, imul, div, idiv of memory.</summary>
internal readonly struct WideMem<TOp> : IMemoryHandler
    where TOp : struct, IWideOp
{
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static unsafe void Run<T, TAddress>(CpuState* s, Insn* i)
        where T : unmanaged
        where TAddress : struct, IEffectiveAddress
    {
        var p = Access.Read<T>(s, i, TAddress.Linear(s, i, sizeof(T), false));
        if (p == null || !TOp.Apply<T>(s, Operand.Load<T>(p)))
        {
            ControlHandlers.Leave(s, i);
            return;
        }

        i[1].Handler(s, i + 1);
    }
}

/// <summary>imul with an explicit destination, as an operation: CF and OF tell of a truncated product.</summary>
internal readonly struct ImulTruncated : IAluOp
{
    public static bool Writes => true;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe ulong Apply<T>(CpuState* s, ulong a, ulong b)
        where T : unmanaged
    {
        bool overflow;
        ulong low;
        if (sizeof(T) == 8)
        {
            low = a * b;
            overflow = HighHalf((long)a, (long)b) != (long)low >> 63;
        }
        else
        {
            var product = (long)Flags.SignExtend<T>(a) * (long)Flags.SignExtend<T>(b);
            low = (ulong)product;
            overflow = product != (long)Flags.SignExtend<T>(low);
        }

        Flags.SetResult<T>(s, low, overflow, overflow);
        return low;
    }

    // Not inlined: BigMul's out parameter would take a local's address, and the handler lose its tail call.
    [MethodImpl(MethodImplOptions.NoInlining)]
    private static long HighHalf(long a, long b) => Math.BigMul(a, b, out _);
}

/// <summary>imul reg, reg, imm.</summary>
internal readonly struct ImulRegRegImm : ISizedHandler
{
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static unsafe void Run<T>(CpuState* s, Insn* i)
        where T : unmanaged
    {
        Operand.Set<T>(s, i->R0, ImulTruncated.Apply<T>(s, Operand.Get<T>(s, i->R1), i->Imm));
        i[1].Handler(s, i + 1);
    }
}

/// <summary>imul reg, [mem], imm.</summary>
internal readonly struct ImulRegMemImm : IMemoryHandler
{
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static unsafe void Run<T, TAddress>(CpuState* s, Insn* i)
        where T : unmanaged
        where TAddress : struct, IEffectiveAddress
    {
        var p = Access.Read<T>(s, i, TAddress.Linear(s, i, sizeof(T), false));
        if (p == null)
        {
            ControlHandlers.Leave(s, i);
            return;
        }

        Operand.Set<T>(s, i->R0, ImulTruncated.Apply<T>(s, Operand.Load<T>(p), i->Imm));
        i[1].Handler(s, i + 1);
    }
}
