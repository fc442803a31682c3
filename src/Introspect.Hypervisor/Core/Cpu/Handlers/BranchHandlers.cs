using System.Runtime.CompilerServices;
using Iced.Intel;

namespace Introspect.Hypervisor.Core.Cpu.Handlers;

/// <summary>Jcc: a branch not taken goes on inside the block.</summary>
internal static unsafe class Branch<TCondition>
    where TCondition : struct, ICondition
{
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Near(CpuState* s, Insn* i)
    {
        if (TCondition.Holds(s))
        {
            ControlHandlers.JumpLinked(s, i);
            return;
        }

        i[1].Handler(s, i + 1);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Far(CpuState* s, Insn* i)
    {
        if (TCondition.Holds(s))
        {
            ControlHandlers.JumpFar(s, i);
            return;
        }

        i[1].Handler(s, i + 1);
    }

    /// <summary>The target is truncated or checked: <see cref="Insn.Aux"/> has the function that goes there.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Checked(CpuState* s, Insn* i)
    {
        if (TCondition.Holds(s))
        {
            ControlHandlers.Slow(s, i);
            return;
        }

        i[1].Handler(s, i + 1);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void SetReg(CpuState* s, Insn* i)
    {
        *((byte*)s + i->R0) = TCondition.Holds(s) ? (byte)1 : (byte)0;
        i[1].Handler(s, i + 1);
    }
}

/// <summary>setcc [mem].</summary>
internal readonly struct SetMem<TCondition> : IMemoryHandler
    where TCondition : struct, ICondition
{
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static unsafe void Run<T, TAddress>(CpuState* s, Insn* i)
        where T : unmanaged
        where TAddress : struct, IEffectiveAddress
    {
        if (!Access.Write<byte>(s, i, TAddress.Linear(s, i, 1, true), TCondition.Holds(s) ? 1UL : 0))
        {
            ControlHandlers.Leave(s, i);
            return;
        }

        i[1].Handler(s, i + 1);
    }
}

/// <summary>cmovcc reg, reg. A 32-bit one clears the upper half even when it does not move.</summary>
internal readonly struct CmovReg<TCondition> : ISizedHandler
    where TCondition : struct, ICondition
{
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static unsafe void Run<T>(CpuState* s, Insn* i)
        where T : unmanaged
    {
        Operand.Set<T>(s, i->R0, Operand.Get<T>(s, TCondition.Holds(s) ? i->R1 : i->R0));
        i[1].Handler(s, i + 1);
    }
}

/// <summary>cmovcc reg, [mem]. Memory is read in any case.</summary>
internal readonly struct CmovMem<TCondition> : IMemoryHandler
    where TCondition : struct, ICondition
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
        Operand.Set<T>(s, i->R0, TCondition.Holds(s) ? value : Operand.Get<T>(s, i->R0));
        i[1].Handler(s, i + 1);
    }
}

/// <summary>Near jumps, calls and returns of 64-bit mode, which need no limit checks.</summary>
internal static unsafe class NearTransfers64
{
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void CallNear(CpuState* s, Insn* i)
    {
        if (!Push(s, i, s->BlockRip + i->Offset + i->Length))
        {
            ControlHandlers.Leave(s, i);
            return;
        }

        ControlHandlers.JumpLinked(s, i);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void CallFar(CpuState* s, Insn* i)
    {
        if (!Push(s, i, s->BlockRip + i->Offset + i->Length))
        {
            ControlHandlers.Leave(s, i);
            return;
        }

        ControlHandlers.JumpFar(s, i);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Ret(CpuState* s, Insn* i)
    {
        var p = Access.Read<ulong>(s, i, s->Gpr[4]);
        if (p == null || !CanonicalTarget(s, *(ulong*)p))
        {
            ControlHandlers.Leave(s, i);
            return;
        }

        s->Rip = *(ulong*)p;
        s->Gpr[4] += 8 + i->Imm;
        s->Budget -= i->Ordinal + 1;
        ControlHandlers.JumpToRip(s, i);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void JmpReg(CpuState* s, Insn* i)
    {
        var target = Operand.Get<ulong>(s, i->R0);
        if (!CanonicalTarget(s, target))
        {
            ControlHandlers.Leave(s, i);
            return;
        }

        s->Rip = target;
        s->Budget -= i->Ordinal + 1;
        ControlHandlers.JumpToRip(s, i);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void CallReg(CpuState* s, Insn* i)
    {
        var target = Operand.Get<ulong>(s, i->R0);
        if (!CanonicalTarget(s, target) || !Push(s, i, s->BlockRip + i->Offset + i->Length))
        {
            ControlHandlers.Leave(s, i);
            return;
        }

        s->Rip = target;
        s->Budget -= i->Ordinal + 1;
        ControlHandlers.JumpToRip(s, i);
    }

    /// <summary>push: RSP moves only when the store was done.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Push(CpuState* s, Insn* i, ulong value)
    {
        var rsp = s->Gpr[4] - 8;
        if (!Access.Write<ulong>(s, i, rsp, value))
        {
            return false;
        }

        s->Gpr[4] = rsp;
        return true;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static bool CanonicalTarget(CpuState* s, ulong target) =>
        (ulong)((long)(target << 16) >> 16) == target || Uncommon(s, target);

    private static bool Uncommon(CpuState* s, ulong target) => Mmu.IsCanonical(s, target) || Fault.GeneralProtection(s, 0);
}

/// <summary>jmp and call [mem] of 64-bit mode.</summary>
internal readonly struct JmpMem64 : IMemoryHandler
{
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static unsafe void Run<T, TAddress>(CpuState* s, Insn* i)
        where T : unmanaged
        where TAddress : struct, IEffectiveAddress
    {
        var p = Access.Read<ulong>(s, i, TAddress.Linear(s, i, 8, false));
        if (p == null || !(Mmu.IsCanonical(s, *(ulong*)p) || Fault.GeneralProtection(s, 0)))
        {
            ControlHandlers.Leave(s, i);
            return;
        }

        s->Rip = *(ulong*)p;
        s->Budget -= i->Ordinal + 1;
        ControlHandlers.JumpToRip(s, i);
    }
}

internal readonly struct CallMem64 : IMemoryHandler
{
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static unsafe void Run<T, TAddress>(CpuState* s, Insn* i)
        where T : unmanaged
        where TAddress : struct, IEffectiveAddress
    {
        var p = Access.Read<ulong>(s, i, TAddress.Linear(s, i, 8, false));
        if (p == null)
        {
            ControlHandlers.Leave(s, i);
            return;
        }

        var target = *(ulong*)p;
        if (!(Mmu.IsCanonical(s, target) || Fault.GeneralProtection(s, 0))
            || !NearTransfers64.Push(s, i, s->BlockRip + i->Offset + i->Length))
        {
            ControlHandlers.Leave(s, i);
            return;
        }

        s->Rip = target;
        s->Budget -= i->Ordinal + 1;
        ControlHandlers.JumpToRip(s, i);
    }
}

/// <summary>push and pop of 64-bit mode.</summary>
internal static unsafe class Stack64
{
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void PushReg(CpuState* s, Insn* i)
    {
        if (!NearTransfers64.Push(s, i, Operand.Get<ulong>(s, i->R0)))
        {
            ControlHandlers.Leave(s, i);
            return;
        }

        i[1].Handler(s, i + 1);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void PushImm(CpuState* s, Insn* i)
    {
        if (!NearTransfers64.Push(s, i, i->Imm))
        {
            ControlHandlers.Leave(s, i);
            return;
        }

        i[1].Handler(s, i + 1);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void PopReg(CpuState* s, Insn* i)
    {
        var p = Access.Read<ulong>(s, i, s->Gpr[4]);
        if (p == null)
        {
            ControlHandlers.Leave(s, i);
            return;
        }

        // pop rsp gives the popped value, not the moved pointer.
        var value = *(ulong*)p;
        s->Gpr[4] += 8;
        Operand.Set<ulong>(s, i->R0, value);
        i[1].Handler(s, i + 1);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Leave(CpuState* s, Insn* i)
    {
        var p = Access.Read<ulong>(s, i, s->Gpr[5]);
        if (p == null)
        {
            ControlHandlers.Leave(s, i);
            return;
        }

        s->Gpr[4] = s->Gpr[5] + 8;
        s->Gpr[5] = *(ulong*)p;
        i[1].Handler(s, i + 1);
    }
}

/// <summary>Chooses the handler of a condition.</summary>
internal static unsafe class PickCondition
{
    public static delegate*<CpuState*, Insn*, void> Jump(ConditionCode code, JumpForm form) => code switch
    {
        ConditionCode.o => Jump<CondO>(form),
        ConditionCode.no => Jump<Opposite<CondO>>(form),
        ConditionCode.b => Jump<CondB>(form),
        ConditionCode.ae => Jump<Opposite<CondB>>(form),
        ConditionCode.e => Jump<CondE>(form),
        ConditionCode.ne => Jump<Opposite<CondE>>(form),
        ConditionCode.be => Jump<CondBe>(form),
        ConditionCode.a => Jump<Opposite<CondBe>>(form),
        ConditionCode.s => Jump<CondS>(form),
        ConditionCode.ns => Jump<Opposite<CondS>>(form),
        ConditionCode.p => Jump<CondP>(form),
        ConditionCode.np => Jump<Opposite<CondP>>(form),
        ConditionCode.l => Jump<CondL>(form),
        ConditionCode.ge => Jump<Opposite<CondL>>(form),
        ConditionCode.le => Jump<CondLe>(form),
        _ => Jump<Opposite<CondLe>>(form),
    };

    public static delegate*<CpuState*, Insn*, void> Set(ConditionCode code, AddressForm? memory) => code switch
    {
        ConditionCode.o => Set<CondO>(memory),
        ConditionCode.no => Set<Opposite<CondO>>(memory),
        ConditionCode.b => Set<CondB>(memory),
        ConditionCode.ae => Set<Opposite<CondB>>(memory),
        ConditionCode.e => Set<CondE>(memory),
        ConditionCode.ne => Set<Opposite<CondE>>(memory),
        ConditionCode.be => Set<CondBe>(memory),
        ConditionCode.a => Set<Opposite<CondBe>>(memory),
        ConditionCode.s => Set<CondS>(memory),
        ConditionCode.ns => Set<Opposite<CondS>>(memory),
        ConditionCode.p => Set<CondP>(memory),
        ConditionCode.np => Set<Opposite<CondP>>(memory),
        ConditionCode.l => Set<CondL>(memory),
        ConditionCode.ge => Set<Opposite<CondL>>(memory),
        ConditionCode.le => Set<CondLe>(memory),
        _ => Set<Opposite<CondLe>>(memory),
    };

    public static delegate*<CpuState*, Insn*, void> Move(ConditionCode code, int size, AddressForm? memory) => code switch
    {
        ConditionCode.o => Move<CondO>(size, memory),
        ConditionCode.no => Move<Opposite<CondO>>(size, memory),
        ConditionCode.b => Move<CondB>(size, memory),
        ConditionCode.ae => Move<Opposite<CondB>>(size, memory),
        ConditionCode.e => Move<CondE>(size, memory),
        ConditionCode.ne => Move<Opposite<CondE>>(size, memory),
        ConditionCode.be => Move<CondBe>(size, memory),
        ConditionCode.a => Move<Opposite<CondBe>>(size, memory),
        ConditionCode.s => Move<CondS>(size, memory),
        ConditionCode.ns => Move<Opposite<CondS>>(size, memory),
        ConditionCode.p => Move<CondP>(size, memory),
        ConditionCode.np => Move<Opposite<CondP>>(size, memory),
        ConditionCode.l => Move<CondL>(size, memory),
        ConditionCode.ge => Move<Opposite<CondL>>(size, memory),
        ConditionCode.le => Move<CondLe>(size, memory),
        _ => Move<Opposite<CondLe>>(size, memory),
    };

    private static delegate*<CpuState*, Insn*, void> Jump<TCondition>(JumpForm form)
        where TCondition : struct, ICondition => form switch
        {
            JumpForm.Near => &Branch<TCondition>.Near,
            JumpForm.Far => &Branch<TCondition>.Far,
            _ => &Branch<TCondition>.Checked,
        };

    private static delegate*<CpuState*, Insn*, void> Set<TCondition>(AddressForm? memory)
        where TCondition : struct, ICondition =>
        memory is { } form ? Pick.Memory<SetMem<TCondition>>(1, form) : &Branch<TCondition>.SetReg;

    private static delegate*<CpuState*, Insn*, void> Move<TCondition>(int size, AddressForm? memory)
        where TCondition : struct, ICondition =>
        memory is { } form ? Pick.Memory<CmovMem<TCondition>>(size, form) : Pick.Sized<CmovReg<TCondition>>(size);
}

/// <summary>How a relative jump gets to its target.</summary>
internal enum JumpForm
{
    /// <summary>In the block's page: by a link.</summary>
    Near,

    /// <summary>In another page.</summary>
    Far,

    /// <summary>The target is truncated to the operand size and checked against the code segment first.</summary>
    Checked,
}
