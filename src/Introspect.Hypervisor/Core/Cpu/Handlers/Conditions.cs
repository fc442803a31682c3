using System.Runtime.CompilerServices;

namespace Introspect.Hypervisor.Core.Cpu.Handlers;

/// <summary>A condition of Jcc, SETcc and CMOVcc.</summary>
internal unsafe interface ICondition
{
    static abstract bool Holds(CpuState* s);
}

internal readonly struct CondO : ICondition
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe bool Holds(CpuState* s) => Flags.Of(s);
}

internal readonly struct CondB : ICondition
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe bool Holds(CpuState* s) => Flags.Cf(s);
}

internal readonly struct CondE : ICondition
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe bool Holds(CpuState* s) => Flags.Zf(s);
}

internal readonly struct CondBe : ICondition
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe bool Holds(CpuState* s) => Flags.Cf(s) | Flags.Zf(s);
}

internal readonly struct CondS : ICondition
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe bool Holds(CpuState* s) => Flags.Sf(s);
}

internal readonly struct CondP : ICondition
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe bool Holds(CpuState* s) => Flags.Pf(s);
}

internal readonly struct CondL : ICondition
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe bool Holds(CpuState* s) => Flags.Sf(s) != Flags.Of(s);
}

internal readonly struct CondLe : ICondition
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe bool Holds(CpuState* s) => Flags.Zf(s) | (Flags.Sf(s) != Flags.Of(s));
}

/// <summary>The opposite of a condition.</summary>
internal readonly struct Opposite<TCondition> : ICondition
    where TCondition : struct, ICondition
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe bool Holds(CpuState* s) => !TCondition.Holds(s);
}
