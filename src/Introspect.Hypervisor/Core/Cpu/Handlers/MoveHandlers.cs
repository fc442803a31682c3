using System.Runtime.CompilerServices;

namespace Introspect.Hypervisor.Core.Cpu.Handlers;

/// <summary>mov reg, reg.</summary>
internal readonly struct MovRegReg : ISizedHandler
{
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static unsafe void Run<T>(CpuState* s, Insn* i)
        where T : unmanaged
    {
        Operand.Set<T>(s, i->R0, Operand.Get<T>(s, i->R1));
        i[1].Handler(s, i + 1);
    }
}

/// <summary>mov reg, imm.</summary>
internal readonly struct MovRegImm : ISizedHandler
{
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static unsafe void Run<T>(CpuState* s, Insn* i)
        where T : unmanaged
    {
        Operand.Set<T>(s, i->R0, i->Imm);
        i[1].Handler(s, i + 1);
    }
}

/// <summary>mov reg, [mem].</summary>
internal readonly struct MovRegMem : IMemoryHandler
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

        Operand.Set<T>(s, i->R0, Operand.Load<T>(p));
        i[1].Handler(s, i + 1);
    }
}

/// <summary>mov [mem], reg or imm.</summary>
internal readonly struct MovMem<TSource> : IMemoryHandler
    where TSource : struct, ISource
{
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static unsafe void Run<T, TAddress>(CpuState* s, Insn* i)
        where T : unmanaged
        where TAddress : struct, IEffectiveAddress
    {
        if (!Access.Write<T>(s, i, TAddress.Linear(s, i, sizeof(T), true), TSource.Get<T>(s, i)))
        {
            ControlHandlers.Leave(s, i);
            return;
        }

        i[1].Handler(s, i + 1);
    }
}

/// <summary>movzx, movsx, movsxd reg, reg. The source's size is T; the destination's is the insn's.</summary>
internal readonly struct ExtendReg<TSign> : ISizedHandler
    where TSign : struct, IExtension
{
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static unsafe void Run<T>(CpuState* s, Insn* i)
        where T : unmanaged
    {
        ExtendInto.Register(s, i, TSign.Extend<T>(Operand.Get<T>(s, i->R1)));
        i[1].Handler(s, i + 1);
    }
}

/// <summary>movzx, movsx, movsxd reg, [mem].</summary>
internal readonly struct ExtendMem<TSign> : IMemoryHandler
    where TSign : struct, IExtension
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

        ExtendInto.Register(s, i, TSign.Extend<T>(Operand.Load<T>(p)));
        i[1].Handler(s, i + 1);
    }
}

/// <summary>Zero or sign extension of a source of size T.</summary>
internal interface IExtension
{
    static abstract ulong Extend<T>(ulong value)
        where T : unmanaged;
}

internal readonly struct ZeroExtension : IExtension
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Extend<T>(ulong value)
        where T : unmanaged => value;
}

internal readonly struct SignExtension : IExtension
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Extend<T>(ulong value)
        where T : unmanaged => Flags.SignExtend<T>(value);
}

internal static unsafe class ExtendInto
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Register(CpuState* s, Insn* i, ulong value)
    {
        var register = (byte*)s + i->R0;
        if (i->OperandSize == 4)
        {
            *(ulong*)register = (uint)value;
        }
        else if (i->OperandSize == 8)
        {
            *(ulong*)register = value;
        }
        else
        {
            *(ushort*)register = (ushort)value;
        }
    }
}

/// <summary>lea: T is the operand size.</summary>
internal readonly struct Lea : ISizedHandler
{
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static unsafe void Run<T>(CpuState* s, Insn* i)
        where T : unmanaged
    {
        Operand.Set<T>(s, i->R0, AddressChecked.Offset(s, i));
        i[1].Handler(s, i + 1);
    }
}

/// <summary>lea with 64-bit addresses.</summary>
internal readonly struct LeaWide : ISizedHandler
{
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static unsafe void Run<T>(CpuState* s, Insn* i)
        where T : unmanaged
    {
        Operand.Set<T>(s, i->R0, *(ulong*)((byte*)s + i->Base) + (*(ulong*)((byte*)s + i->Index) << i->Scale) + i->Disp);
        i[1].Handler(s, i + 1);
    }
}

/// <summary>xchg reg, reg.</summary>
internal readonly struct XchgRegReg : ISizedHandler
{
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static unsafe void Run<T>(CpuState* s, Insn* i)
        where T : unmanaged
    {
        var a = Operand.Get<T>(s, i->R0);
        Operand.Set<T>(s, i->R0, Operand.Get<T>(s, i->R1));
        Operand.Set<T>(s, i->R1, a);
        i[1].Handler(s, i + 1);
    }
}

/// <summary>xchg [mem], reg: always locked.</summary>
internal readonly struct XchgMem : IMemoryHandler
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

        var value = Operand.Get<T>(s, i->R1);
        ulong old;
        do
        {
            old = Operand.Load<T>(p);
        }
        while (!Operand.CompareExchange<T>(p, old, value));

        if (Operand.IsBounce(s, p) && !SlowAccess.CommitBounce(s, i, linear, sizeof(T)))
        {
            ControlHandlers.Leave(s, i);
            return;
        }

        Operand.Set<T>(s, i->R1, old);
        i[1].Handler(s, i + 1);
    }
}

/// <summary>xadd reg, reg.</summary>
internal readonly struct XaddRegReg : ISizedHandler
{
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static unsafe void Run<T>(CpuState* s, Insn* i)
        where T : unmanaged
    {
        var a = Operand.Get<T>(s, i->R0);
        var sum = Add.Apply<T>(s, a, Operand.Get<T>(s, i->R1));
        Operand.Set<T>(s, i->R1, a);
        Operand.Set<T>(s, i->R0, sum);
        i[1].Handler(s, i + 1);
    }
}

/// <summary>[lock] xadd [mem], reg. Without the prefix it is done atomically, too, which nobody can tell.</summary>
internal readonly struct XaddMem : IMemoryHandler
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

        ulong old;
        do
        {
            old = Operand.Load<T>(p);
        }
        while (!Operand.CompareExchange<T>(p, old, old + Operand.Get<T>(s, i->R1)));

        if (Operand.IsBounce(s, p) && !SlowAccess.CommitBounce(s, i, linear, sizeof(T)))
        {
            ControlHandlers.Leave(s, i);
            return;
        }

        Add.Apply<T>(s, old, Operand.Get<T>(s, i->R1));
        Operand.Set<T>(s, i->R1, old);
        i[1].Handler(s, i + 1);
    }
}

/// <summary>cmpxchg reg, reg.</summary>
internal readonly struct CmpxchgRegReg : ISizedHandler
{
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static unsafe void Run<T>(CpuState* s, Insn* i)
        where T : unmanaged
    {
        var accumulator = Operand.Get<T>(s, 0);
        var old = Operand.Get<T>(s, i->R0);
        Sub.Apply<T>(s, accumulator, old);
        if (accumulator == old)
        {
            Operand.Set<T>(s, i->R0, Operand.Get<T>(s, i->R1));
        }
        else
        {
            Operand.Set<T>(s, 0, old);
        }

        i[1].Handler(s, i + 1);
    }
}

/// <summary>[lock] cmpxchg [mem], reg. Memory is written in either case, as the processor does.</summary>
internal readonly struct CmpxchgMem : IMemoryHandler
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

        var accumulator = Operand.Get<T>(s, 0);
        ulong old;
        do
        {
            old = Operand.Load<T>(p);
        }
        while (!Operand.CompareExchange<T>(p, old, old == accumulator ? Operand.Get<T>(s, i->R1) : old));

        if (Operand.IsBounce(s, p) && !SlowAccess.CommitBounce(s, i, linear, sizeof(T)))
        {
            ControlHandlers.Leave(s, i);
            return;
        }

        Sub.Apply<T>(s, accumulator, old);
        if (accumulator != old)
        {
            Operand.Set<T>(s, 0, old);
        }

        i[1].Handler(s, i + 1);
    }
}

/// <summary>bswap.</summary>
internal readonly struct Bswap : ISizedHandler
{
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static unsafe void Run<T>(CpuState* s, Insn* i)
        where T : unmanaged
    {
        var value = System.Buffers.Binary.BinaryPrimitives.ReverseEndianness(Operand.Get<T>(s, i->R0));
        Operand.Set<T>(s, i->R0, sizeof(T) == 2 ? 0 : value >> (64 - (8 * sizeof(T))));
        i[1].Handler(s, i + 1);
    }
}

/// <summary>Instructions without explicit operands.</summary>
internal static unsafe class SimpleHandlers
{
    /// <summary>nop, prefetch, fences, endbr and what else changes nothing.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Nop(CpuState* s, Insn* i) => i[1].Handler(s, i + 1);

    /// <summary>An instruction that is unknown, not implemented or not allowed in this form.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void InvalidOpcode(CpuState* s, Insn* i)
    {
        Fault.InvalidOpcode(s);
        s->Pending.InsnLength = i->Length;
        ControlHandlers.Leave(s, i);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Cbw(CpuState* s, Insn* i)
    {
        *(ushort*)s->Gpr = (ushort)(sbyte)*(byte*)s->Gpr;
        i[1].Handler(s, i + 1);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Cwde(CpuState* s, Insn* i)
    {
        s->Gpr[0] = (uint)(short)s->Gpr[0];
        i[1].Handler(s, i + 1);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Cdqe(CpuState* s, Insn* i)
    {
        s->Gpr[0] = (ulong)(int)s->Gpr[0];
        i[1].Handler(s, i + 1);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Cwd(CpuState* s, Insn* i)
    {
        *(ushort*)(s->Gpr + 2) = (ushort)((short)s->Gpr[0] >> 15);
        i[1].Handler(s, i + 1);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Cdq(CpuState* s, Insn* i)
    {
        s->Gpr[2] = (uint)((int)s->Gpr[0] >> 31);
        i[1].Handler(s, i + 1);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Cqo(CpuState* s, Insn* i)
    {
        s->Gpr[2] = (ulong)((long)s->Gpr[0] >> 63);
        i[1].Handler(s, i + 1);
    }
}
