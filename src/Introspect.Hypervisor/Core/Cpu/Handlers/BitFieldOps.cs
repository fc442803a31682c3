using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics.X86;

namespace Introspect.Hypervisor.Core.Cpu.Handlers;

// BMI1 and BMI2 as operations: the first operand is the register or memory one of the encoding, the second the
// VEX register or the immediate. Undefined flags: AF is 0, PF follows the result.
internal readonly struct Andn : IAluOp
{
    public static bool Writes => true;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe ulong Apply<T>(CpuState* s, ulong a, ulong b)
        where T : unmanaged
    {
        var r = a & ~b;
        Flags.SetLogic<T>(s, r);
        return r;
    }
}

/// <summary>blsi: CF tells of a source that is not zero.</summary>
internal readonly struct Blsi : IAluOp
{
    public static bool Writes => true;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe ulong Apply<T>(CpuState* s, ulong a, ulong b)
        where T : unmanaged
    {
        var r = a & (0 - a);
        Flags.SetResult<T>(s, r, a != 0, false);
        return r;
    }
}

/// <summary>blsmsk: CF tells of a zero source.</summary>
internal readonly struct Blsmsk : IAluOp
{
    public static bool Writes => true;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe ulong Apply<T>(CpuState* s, ulong a, ulong b)
        where T : unmanaged
    {
        var r = ShiftCount.Truncate<T>(a ^ (a - 1));
        Flags.SetResult<T>(s, r, a == 0, false);
        return r;
    }
}

/// <summary>blsr: CF tells of a zero source.</summary>
internal readonly struct Blsr : IAluOp
{
    public static bool Writes => true;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe ulong Apply<T>(CpuState* s, ulong a, ulong b)
        where T : unmanaged
    {
        var r = a & (a - 1);
        Flags.SetResult<T>(s, r, a == 0, false);
        return r;
    }
}

/// <summary>bextr: start in bits 0–7 of the control, length in bits 8–15. ZF alone is defined beside CF and OF.</summary>
internal readonly struct Bextr : IAluOp
{
    public static bool Writes => true;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe ulong Apply<T>(CpuState* s, ulong a, ulong b)
        where T : unmanaged
    {
        var start = (int)(b & 0xFF);
        var length = (int)((b >> 8) & 0xFF);
        var r = start < 64 ? a >> start : 0;
        r = length < 64 ? r & ((1UL << length) - 1) : r;
        Flags.SetLogic<T>(s, r);
        return r;
    }
}

/// <summary>bzhi: CF tells of an index beyond the operand.</summary>
internal readonly struct Bzhi : IAluOp
{
    public static bool Writes => true;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe ulong Apply<T>(CpuState* s, ulong a, ulong b)
        where T : unmanaged
    {
        var index = (int)(b & 0xFF);
        var beyond = index >= 8 * sizeof(T);
        var r = beyond ? a : a & ((1UL << index) - 1);
        Flags.SetResult<T>(s, r, beyond, false);
        return r;
    }
}

/// <summary>pdep: the first operand is the mask. No flags.</summary>
internal readonly struct Pdep : IAluOp
{
    public static bool Writes => true;

    public static unsafe ulong Apply<T>(CpuState* s, ulong a, ulong b)
        where T : unmanaged
    {
        if (Bmi2.X64.IsSupported)
        {
            return Bmi2.X64.ParallelBitDeposit(b, a);
        }

        var r = 0UL;
        for (; a != 0; a &= a - 1)
        {
            r |= (b & 1) != 0 ? a & (0 - a) : 0;
            b >>= 1;
        }

        return r;
    }
}

/// <summary>pext: the first operand is the mask. No flags.</summary>
internal readonly struct Pext : IAluOp
{
    public static bool Writes => true;

    public static unsafe ulong Apply<T>(CpuState* s, ulong a, ulong b)
        where T : unmanaged
    {
        if (Bmi2.X64.IsSupported)
        {
            return Bmi2.X64.ParallelBitExtract(b, a);
        }

        var r = 0UL;
        for (var n = 0; a != 0; a &= a - 1)
        {
            r |= (b & (0 - a) & a) != 0 ? 1UL << n : 0;
            n++;
        }

        return r;
    }
}

internal readonly struct Sarx : IAluOp
{
    public static bool Writes => true;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe ulong Apply<T>(CpuState* s, ulong a, ulong b)
        where T : unmanaged => (ulong)((long)Flags.SignExtend<T>(a) >> ShiftCount.Mask<T>(b));
}

internal readonly struct Shlx : IAluOp
{
    public static bool Writes => true;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe ulong Apply<T>(CpuState* s, ulong a, ulong b)
        where T : unmanaged => a << ShiftCount.Mask<T>(b);
}

internal readonly struct Shrx : IAluOp
{
    public static bool Writes => true;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe ulong Apply<T>(CpuState* s, ulong a, ulong b)
        where T : unmanaged => a >> ShiftCount.Mask<T>(b);
}

internal readonly struct Rorx : IAluOp
{
    public static bool Writes => true;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe ulong Apply<T>(CpuState* s, ulong a, ulong b)
        where T : unmanaged => sizeof(T) == 8 ? BitOperations.RotateRight(a, (int)b) : BitOperations.RotateRight((uint)a, (int)b);
}

/// <summary>The VEX register of a three-operand instruction.</summary>
internal readonly struct FromThird : ISource
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe ulong Get<T>(CpuState* s, Insn* i)
        where T : unmanaged => Operand.Get<T>(s, i->R2);
}

/// <summary>op reg, reg, reg or imm: the destination is written only.</summary>
internal readonly struct ThreeReg<TOp, TSource> : ISizedHandler
    where TOp : struct, IAluOp
    where TSource : struct, ISource
{
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static unsafe void Run<T>(CpuState* s, Insn* i)
        where T : unmanaged
    {
        Operand.Set<T>(s, i->R0, TOp.Apply<T>(s, Operand.Get<T>(s, i->R1), TSource.Get<T>(s, i)));
        i[1].Handler(s, i + 1);
    }
}

/// <summary>op reg, [mem], reg or imm.</summary>
internal readonly struct ThreeMem<TOp, TSource> : IMemoryHandler
    where TOp : struct, IAluOp
    where TSource : struct, ISource
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

        Operand.Set<T>(s, i->R0, TOp.Apply<T>(s, Operand.Load<T>(p), TSource.Get<T>(s, i)));
        i[1].Handler(s, i + 1);
    }
}
