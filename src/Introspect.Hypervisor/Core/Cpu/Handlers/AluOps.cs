using System.Runtime.CompilerServices;

namespace Introspect.Hypervisor.Core.Cpu.Handlers;

/// <summary>A two-operand arithmetic or logic operation: computes the result and sets the flags.</summary>
internal unsafe interface IAluOp
{
    /// <summary>False for CMP and TEST, which drop the result.</summary>
    static abstract bool Writes { get; }

    static abstract ulong Apply<T>(CpuState* s, ulong a, ulong b)
        where T : unmanaged;
}

internal readonly struct Add : IAluOp
{
    public static bool Writes => true;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe ulong Apply<T>(CpuState* s, ulong a, ulong b)
        where T : unmanaged
    {
        var r = a + b;
        Flags.SetAdd<T>(s, a, b, r);
        return r;
    }
}

internal readonly struct Adc : IAluOp
{
    public static bool Writes => true;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe ulong Apply<T>(CpuState* s, ulong a, ulong b)
        where T : unmanaged
    {
        var r = a + b + (s->FlagsAux >> 31);
        Flags.SetAdd<T>(s, a, b, r);
        return r;
    }
}

internal readonly struct Sub : IAluOp
{
    public static bool Writes => true;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe ulong Apply<T>(CpuState* s, ulong a, ulong b)
        where T : unmanaged
    {
        var r = a - b;
        Flags.SetSub<T>(s, a, b, r);
        return r;
    }
}

internal readonly struct Sbb : IAluOp
{
    public static bool Writes => true;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe ulong Apply<T>(CpuState* s, ulong a, ulong b)
        where T : unmanaged
    {
        var r = a - b - (s->FlagsAux >> 31);
        Flags.SetSub<T>(s, a, b, r);
        return r;
    }
}

internal readonly struct Cmp : IAluOp
{
    public static bool Writes => false;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe ulong Apply<T>(CpuState* s, ulong a, ulong b)
        where T : unmanaged => Sub.Apply<T>(s, a, b);
}

internal readonly struct And : IAluOp
{
    public static bool Writes => true;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe ulong Apply<T>(CpuState* s, ulong a, ulong b)
        where T : unmanaged
    {
        var r = a & b;
        Flags.SetLogic<T>(s, r);
        return r;
    }
}

internal readonly struct Or : IAluOp
{
    public static bool Writes => true;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe ulong Apply<T>(CpuState* s, ulong a, ulong b)
        where T : unmanaged
    {
        var r = a | b;
        Flags.SetLogic<T>(s, r);
        return r;
    }
}

internal readonly struct Xor : IAluOp
{
    public static bool Writes => true;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe ulong Apply<T>(CpuState* s, ulong a, ulong b)
        where T : unmanaged
    {
        var r = a ^ b;
        Flags.SetLogic<T>(s, r);
        return r;
    }
}

internal readonly struct Test : IAluOp
{
    public static bool Writes => false;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe ulong Apply<T>(CpuState* s, ulong a, ulong b)
        where T : unmanaged => And.Apply<T>(s, a, b);
}

/// <summary>A one-operand operation, given as a two-operand one whose second operand is unused.</summary>
internal readonly struct Inc : IAluOp
{
    public static bool Writes => true;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe ulong Apply<T>(CpuState* s, ulong a, ulong b)
        where T : unmanaged
    {
        var r = a + 1;
        Flags.SetIncDec<T>(s, (a & 1) | ((a | 1) & ~r), r);
        return r;
    }
}

internal readonly struct Dec : IAluOp
{
    public static bool Writes => true;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe ulong Apply<T>(CpuState* s, ulong a, ulong b)
        where T : unmanaged
    {
        var r = a - 1;
        Flags.SetIncDec<T>(s, (~a & 1) | (~(a ^ 1) & r), r);
        return r;
    }
}

internal readonly struct Neg : IAluOp
{
    public static bool Writes => true;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe ulong Apply<T>(CpuState* s, ulong a, ulong b)
        where T : unmanaged => Sub.Apply<T>(s, 0, a);
}

internal readonly struct Not : IAluOp
{
    public static bool Writes => true;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe ulong Apply<T>(CpuState* s, ulong a, ulong b)
        where T : unmanaged => ~a;
}
