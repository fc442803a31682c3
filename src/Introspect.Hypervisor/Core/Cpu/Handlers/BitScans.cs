using System.Numerics;
using System.Runtime.CompilerServices;

namespace Introspect.Hypervisor.Core.Cpu.Handlers;

/// <summary>
/// BSF and BSR. A zero source leaves all 64 bits of the destination alone, as current processors do, even with
/// 32-bit operands. Of the undefined flags SF and PF follow the source, and CF, OF and AF are 0.
/// </summary>
internal interface IBitScan
{
    static abstract ulong Find(ulong value);
}

internal readonly struct Bsf : IBitScan
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Find(ulong value) => (ulong)BitOperations.TrailingZeroCount(value);
}

internal readonly struct Bsr : IBitScan
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Find(ulong value) => (ulong)BitOperations.Log2(value);
}

/// <summary>bsf, bsr reg, reg.</summary>
internal readonly struct BitScanReg<TScan> : ISizedHandler
    where TScan : struct, IBitScan
{
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static unsafe void Run<T>(CpuState* s, Insn* i)
        where T : unmanaged
    {
        var value = Operand.Get<T>(s, i->R1);
        Flags.SetLogic<T>(s, value);
        if (value != 0)
        {
            Operand.Set<T>(s, i->R0, TScan.Find(value));
        }

        i[1].Handler(s, i + 1);
    }
}

/// <summary>bsf, bsr reg, [mem].</summary>
internal readonly struct BitScanMem<TScan> : IMemoryHandler
    where TScan : struct, IBitScan
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

        var value = Operand.Load<T>(p);
        Flags.SetLogic<T>(s, value);
        if (value != 0)
        {
            Operand.Set<T>(s, i->R0, TScan.Find(value));
        }

        i[1].Handler(s, i + 1);
    }
}
