using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Introspect.Hypervisor.Core.Cpu.VectorUnit;

namespace Introspect.Hypervisor.Core.Cpu.Handlers;

/// <summary>Alignment of a 16-byte operand.</summary>
internal interface IVectorAlignment
{
    static abstract bool Required { get; }
}

/// <summary>MOVAPS and its like.</summary>
internal readonly struct AlignedVector : IVectorAlignment
{
    public static bool Required
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => true;
    }
}

/// <summary>MOVUPS and its like.</summary>
internal readonly struct UnalignedVector : IVectorAlignment
{
    public static bool Required
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => false;
    }
}

/// <summary>What the moves share. The control bits are looked at in place; only a refusal is a call.</summary>
internal static unsafe class VectorMove
{
    private const ulong Refusing = CpuModes.Cr0Em | CpuModes.Cr0Ts;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Allowed(CpuState* s) =>
        ((s->Cr0 & Refusing) == 0 && (s->Cr4 & VectorGuard.Cr4OsFxsr) != 0) || VectorGuard.Check(s, VectorClass.Sse);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static byte* Read<TAlignment>(CpuState* s, Insn* i, ulong linear)
        where TAlignment : struct, IVectorAlignment =>
        TAlignment.Required && (linear & 15) != 0 ? Misaligned(s) : Access.Read<Vector128<byte>>(s, i, linear);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Write<TAlignment>(CpuState* s, Insn* i, ulong linear)
        where TAlignment : struct, IVectorAlignment
    {
        if (TAlignment.Required && (linear & 15) != 0)
        {
            return Misaligned(s) != null;
        }

        var entry = Tlb.Slot(s->Tlb, linear);
        if ((linear ^ entry->Write) > 4096 - 16)
        {
            return SlowAccess.WriteBytes(s, (SegmentIndex)i->Seg, linear, (byte*)s + i->R1, 16, AccessRights.Current);
        }

        Copy((byte*)(linear + entry->Addend), (byte*)s + i->R1);
        return true;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Copy(byte* to, byte* from) => *(Vector128<byte>*)to = *(Vector128<byte>*)from;

    // An address that was refused already has left its fault, and looks misaligned.
    [MethodImpl(MethodImplOptions.NoInlining)]
    private static byte* Misaligned(CpuState* s)
    {
        if (s->Stop != StopReason.Fault)
        {
            Fault.GeneralProtection(s, 0);
        }

        return null;
    }
}

/// <summary>A whole XMM register to another.</summary>
internal static unsafe class VectorCopy
{
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Run(CpuState* s, Insn* i)
    {
        if (!VectorMove.Allowed(s))
        {
            ControlHandlers.Leave(s, i);
            return;
        }

        VectorMove.Copy((byte*)s + i->R0, (byte*)s + i->R1);
        i[1].Handler(s, i + 1);
    }
}

/// <summary>16 bytes of memory to an XMM register. The size parameter is not used.</summary>
internal readonly struct VectorLoad<TAlignment> : IMemoryHandler
    where TAlignment : struct, IVectorAlignment
{
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static unsafe void Run<T, TAddress>(CpuState* s, Insn* i)
        where T : unmanaged
        where TAddress : struct, IEffectiveAddress
    {
        if (!VectorMove.Allowed(s))
        {
            ControlHandlers.Leave(s, i);
            return;
        }

        var p = VectorMove.Read<TAlignment>(s, i, TAddress.Linear(s, i, 16, false));
        if (p == null)
        {
            ControlHandlers.Leave(s, i);
            return;
        }

        VectorMove.Copy((byte*)s + i->R0, p);
        i[1].Handler(s, i + 1);
    }
}

/// <summary>An XMM register to 16 bytes of memory. The size parameter is not used.</summary>
internal readonly struct VectorStore<TAlignment> : IMemoryHandler
    where TAlignment : struct, IVectorAlignment
{
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static unsafe void Run<T, TAddress>(CpuState* s, Insn* i)
        where T : unmanaged
        where TAddress : struct, IEffectiveAddress
    {
        if (!VectorMove.Allowed(s) || !VectorMove.Write<TAlignment>(s, i, TAddress.Linear(s, i, 16, true)))
        {
            ControlHandlers.Leave(s, i);
            return;
        }

        i[1].Handler(s, i + 1);
    }
}

/// <summary>4 or 8 bytes of memory to an XMM register, whose other bytes become zero.</summary>
internal readonly struct VectorLoadScalar : IMemoryHandler
{
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static unsafe void Run<T, TAddress>(CpuState* s, Insn* i)
        where T : unmanaged
        where TAddress : struct, IEffectiveAddress
    {
        if (!VectorMove.Allowed(s))
        {
            ControlHandlers.Leave(s, i);
            return;
        }

        var p = Access.Read<T>(s, i, TAddress.Linear(s, i, sizeof(T), false));
        if (p == null)
        {
            ControlHandlers.Leave(s, i);
            return;
        }

        var register = (ulong*)((byte*)s + i->R0);
        register[0] = Operand.Load<T>(p);
        register[1] = 0;
        i[1].Handler(s, i + 1);
    }
}

/// <summary>The low 4 or 8 bytes of an XMM register to memory.</summary>
internal readonly struct VectorStoreScalar : IMemoryHandler
{
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static unsafe void Run<T, TAddress>(CpuState* s, Insn* i)
        where T : unmanaged
        where TAddress : struct, IEffectiveAddress
    {
        if (!VectorMove.Allowed(s)
            || !Access.Write<T>(s, i, TAddress.Linear(s, i, sizeof(T), true), *(ulong*)((byte*)s + i->R1)))
        {
            ControlHandlers.Leave(s, i);
            return;
        }

        i[1].Handler(s, i + 1);
    }
}

/// <summary>MOVD and MOVQ from a general or XMM register to an XMM register: zero-extended.</summary>
internal readonly struct VectorFromRegister : ISizedHandler
{
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static unsafe void Run<T>(CpuState* s, Insn* i)
        where T : unmanaged
    {
        if (!VectorMove.Allowed(s))
        {
            ControlHandlers.Leave(s, i);
            return;
        }

        var register = (ulong*)((byte*)s + i->R0);
        register[0] = Operand.Get<T>(s, i->R1);
        register[1] = 0;
        i[1].Handler(s, i + 1);
    }
}

/// <summary>MOVD and MOVQ from an XMM register to a general register.</summary>
internal readonly struct VectorToRegister : ISizedHandler
{
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static unsafe void Run<T>(CpuState* s, Insn* i)
        where T : unmanaged
    {
        if (!VectorMove.Allowed(s))
        {
            ControlHandlers.Leave(s, i);
            return;
        }

        Operand.Set<T>(s, i->R0, Operand.Get<T>(s, i->R1));
        i[1].Handler(s, i + 1);
    }
}
