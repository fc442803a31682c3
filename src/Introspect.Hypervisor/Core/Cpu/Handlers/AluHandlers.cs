using System.Runtime.CompilerServices;

namespace Introspect.Hypervisor.Core.Cpu.Handlers;

/// <summary>op reg, reg.</summary>
internal readonly struct AluRegReg<TOp> : ISizedHandler
    where TOp : struct, IAluOp
{
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static unsafe void Run<T>(CpuState* s, Insn* i)
        where T : unmanaged
    {
        var r = TOp.Apply<T>(s, Operand.Get<T>(s, i->R0), Operand.Get<T>(s, i->R1));
        if (TOp.Writes)
        {
            Operand.Set<T>(s, i->R0, r);
        }

        i[1].Handler(s, i + 1);
    }
}

/// <summary>op reg, imm.</summary>
internal readonly struct AluRegImm<TOp> : ISizedHandler
    where TOp : struct, IAluOp
{
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static unsafe void Run<T>(CpuState* s, Insn* i)
        where T : unmanaged
    {
        var r = TOp.Apply<T>(s, Operand.Get<T>(s, i->R0), i->Imm);
        if (TOp.Writes)
        {
            Operand.Set<T>(s, i->R0, r);
        }

        i[1].Handler(s, i + 1);
    }
}

/// <summary>op reg, [mem].</summary>
internal readonly struct AluRegMem<TOp> : IMemoryHandler
    where TOp : struct, IAluOp
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

        var r = TOp.Apply<T>(s, Operand.Get<T>(s, i->R0), Operand.Load<T>(p));
        if (TOp.Writes)
        {
            Operand.Set<T>(s, i->R0, r);
        }

        i[1].Handler(s, i + 1);
    }
}

/// <summary>The second operand of an operation on memory.</summary>
internal unsafe interface ISource
{
    static abstract ulong Get<T>(CpuState* s, Insn* i)
        where T : unmanaged;
}

internal readonly struct FromRegister : ISource
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe ulong Get<T>(CpuState* s, Insn* i)
        where T : unmanaged => Operand.Get<T>(s, i->R1);
}

internal readonly struct FromImmediate : ISource
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe ulong Get<T>(CpuState* s, Insn* i)
        where T : unmanaged => i->Imm;
}

/// <summary>op [mem], reg or imm; also INC, DEC, NEG and NOT of memory.</summary>
internal readonly struct AluMem<TOp, TSource> : IMemoryHandler
    where TOp : struct, IAluOp
    where TSource : struct, ISource
{
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static unsafe void Run<T, TAddress>(CpuState* s, Insn* i)
        where T : unmanaged
        where TAddress : struct, IEffectiveAddress
    {
        var linear = TAddress.Linear(s, i, sizeof(T), TOp.Writes);
        if (TOp.Writes)
        {
            var p = Access.Modify<T>(s, i, linear);
            if (p == null)
            {
                ControlHandlers.Leave(s, i);
                return;
            }

            Operand.Store<T>(p, TOp.Apply<T>(s, Operand.Load<T>(p), TSource.Get<T>(s, i)));
            if (Operand.IsBounce(s, p) && !SlowAccess.CommitBounce(s, i, linear, sizeof(T)))
            {
                ControlHandlers.Leave(s, i);
                return;
            }
        }
        else
        {
            var p = Access.Read<T>(s, i, linear);
            if (p == null)
            {
                ControlHandlers.Leave(s, i);
                return;
            }

            TOp.Apply<T>(s, Operand.Load<T>(p), TSource.Get<T>(s, i));
        }

        i[1].Handler(s, i + 1);
    }
}

/// <summary>lock op [mem], reg or imm.</summary>
internal readonly struct AluMemLocked<TOp, TSource> : IMemoryHandler
    where TOp : struct, IAluOp
    where TSource : struct, ISource
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

        // Carry goes in anew at each try, for ADC and SBB.
        var aux = s->FlagsAux;
        ulong old;
        ulong value;
        do
        {
            s->FlagsAux = aux;
            old = Operand.Load<T>(p);
            value = TOp.Apply<T>(s, old, TSource.Get<T>(s, i));
        }
        while (!Operand.CompareExchange<T>(p, old, value));

        if (Operand.IsBounce(s, p) && !SlowAccess.CommitBounce(s, i, linear, sizeof(T)))
        {
            ControlHandlers.Leave(s, i);
            return;
        }

        i[1].Handler(s, i + 1);
    }
}

/// <summary>INC, DEC, NEG, NOT of a register.</summary>
internal readonly struct UnaryReg<TOp> : ISizedHandler
    where TOp : struct, IAluOp
{
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static unsafe void Run<T>(CpuState* s, Insn* i)
        where T : unmanaged
    {
        Operand.Set<T>(s, i->R0, TOp.Apply<T>(s, Operand.Get<T>(s, i->R0), 0));
        i[1].Handler(s, i + 1);
    }
}
