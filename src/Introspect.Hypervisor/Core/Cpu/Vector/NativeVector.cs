using System.Runtime.CompilerServices;

namespace Introspect.Hypervisor.Core.Cpu.VectorUnit;

/// <summary>
/// MMX and SSE instructions that the host's processor runs: <see cref="Insn.Imm"/> is the native function,
/// <see cref="Insn.R0"/> and <see cref="Insn.R1"/> the operands in the state, <see cref="Insn.R2"/> the
/// <see cref="NativeForm"/>, <see cref="Insn.OperandSize"/> the bytes of the memory operand.
/// </summary>
internal static unsafe class NativeVector
{
    private const int ScratchSize = 64;
    private const uint HostMxcsr = 0x1F80;

    /// <summary>Both operands are registers and no exception can come of it.</summary>
    [SkipLocalsInit]
    public static SlowOutcome RunRegister(CpuState* s, Insn* i)
    {
        if (!VectorGuard.Check(s, Class(i)))
        {
            return SlowOutcome.Stopped;
        }

        Finish(s, i, (byte*)s + i->R0, (byte*)s + i->R1);
        return SlowOutcome.Next;
    }

    /// <summary>The second operand is memory.</summary>
    [SkipLocalsInit]
    public static SlowOutcome RunLoad(CpuState* s, Insn* i)
    {
        var scratch = stackalloc byte[ScratchSize];
        scratch = Aligned(scratch);
        if (!VectorGuard.Check(s, Class(i)) || !LoadOperand(s, i, scratch))
        {
            return SlowOutcome.Stopped;
        }

        Finish(s, i, (byte*)s + i->R0, scratch);
        return SlowOutcome.Next;
    }

    /// <summary>The result goes to memory.</summary>
    [SkipLocalsInit]
    public static SlowOutcome RunStore(CpuState* s, Insn* i)
    {
        var scratch = stackalloc byte[ScratchSize];
        scratch = Aligned(scratch);
        var alignment = (i->R2 & (ushort)NativeForm.Aligned) != 0 ? i->OperandSize : 1;
        if (!VectorGuard.Check(s, Class(i))
            || !VectorMemory.Address(s, i, i->OperandSize, alignment, true, out var linear))
        {
            return SlowOutcome.Stopped;
        }

        NativeFrame frame = default;
        Call(i, scratch, (byte*)s + i->R1, &frame);
        if (!SlowAccess.WriteBytes(s, (SegmentIndex)i->Seg, linear, scratch, i->OperandSize, AccessRights.Current))
        {
            return SlowOutcome.Stopped;
        }

        EnterMmx(s, i);
        return SlowOutcome.Next;
    }

    /// <summary>Floating point between registers.</summary>
    [SkipLocalsInit]
    public static SlowOutcome RunFloatRegister(CpuState* s, Insn* i) =>
        VectorGuard.Check(s, Class(i)) && Float(s, i, (byte*)s + i->R1) ? SlowOutcome.Next : SlowOutcome.Stopped;

    /// <summary>Floating point with a memory operand.</summary>
    [SkipLocalsInit]
    public static SlowOutcome RunFloatLoad(CpuState* s, Insn* i)
    {
        var scratch = stackalloc byte[ScratchSize];
        scratch = Aligned(scratch);
        return VectorGuard.Check(s, Class(i)) && LoadOperand(s, i, scratch) && Float(s, i, scratch)
            ? SlowOutcome.Next
            : SlowOutcome.Stopped;
    }

    /// <summary>PCMPESTRI, PCMPESTRM, PCMPISTRI, PCMPISTRM.</summary>
    [SkipLocalsInit]
    public static SlowOutcome RunStringCompare(CpuState* s, Insn* i)
    {
        var scratch = stackalloc byte[ScratchSize];
        scratch = Aligned(scratch);
        var second = (byte*)s + i->R1;
        if (!VectorGuard.Check(s, VectorClass.Sse))
        {
            return SlowOutcome.Stopped;
        }

        if ((i->Flags & InsnFlags.Memory) != 0)
        {
            if (!LoadOperand(s, i, scratch))
            {
                return SlowOutcome.Stopped;
            }

            second = scratch;
        }

        var frame = new NativeFrame { Xmm0 = (byte*)s->Ymm, Rax = s->Gpr[0], Rcx = s->Gpr[1], Rdx = s->Gpr[2] };
        Call(i, (byte*)s + i->R0, second, &frame);
        s->Gpr[1] = frame.Rcx;
        Flags.WriteArithmetic(s, (uint)frame.Flags & RFlags.Arithmetic);
        return SlowOutcome.Next;
    }

    private static VectorClass Class(Insn* i) => (VectorClass)(byte)i->R2;

    private static byte* Aligned(byte* p) => (byte*)(((nuint)p + 15) & ~(nuint)15);

    private static bool LoadOperand(CpuState* s, Insn* i, byte* scratch)
    {
        var size = i->OperandSize;
        var alignment = (i->R2 & (ushort)NativeForm.Aligned) != 0 ? size : 1;
        if (!VectorMemory.Address(s, i, size, alignment, false, out var linear))
        {
            return false;
        }

        var p = SlowAccess.Read(s, (SegmentIndex)i->Seg, linear, size);
        if (p == null)
        {
            return false;
        }

        Buffer.MemoryCopy(p, scratch, ScratchSize - 16, size);
        return true;
    }

    private static void Finish(CpuState* s, Insn* i, byte* first, byte* second)
    {
        var frame = new NativeFrame { Xmm0 = (byte*)s->Ymm };
        Call(i, first, second, &frame);
        if ((i->R2 & (ushort)NativeForm.WritesFlags) != 0)
        {
            Flags.WriteArithmetic(s, (uint)frame.Flags & RFlags.Arithmetic);
        }

        EnterMmx(s, i);
    }

    private static bool Float(CpuState* s, Insn* i, byte* second)
    {
        var form = (NativeForm)i->R2;
        var unmasked = Mxcsr.Unmasked(s->Mxcsr);
        var result = stackalloc ulong[2];
        var first = (ulong*)((byte*)s + i->R0);
        result[0] = first[0];
        result[1] = first[1];
        var frame = new NativeFrame { Mxcsr = Mxcsr.ForHost(s->Mxcsr), HostMxcsr = HostMxcsr };
        Call(i, (byte*)result, second, &frame);
        var raised = frame.Mxcsr & Mxcsr.Flags;
        if (unmasked != 0)
        {
            raised = Mxcsr.Raised(raised, unmasked, result, form);
        }

        s->Mxcsr |= raised;
        if ((raised & unmasked) != 0)
        {
            return VectorGuard.SimdFault(s);
        }

        // Only what the instruction has for a result: the next word of the state is another register.
        first[0] = result[0];
        if ((form & NativeForm.ResultInMmx) == 0 && i->R0 >= StateOffsets.Zero)
        {
            first[1] = result[1];
        }

        if ((form & NativeForm.WritesFlags) != 0)
        {
            Flags.WriteArithmetic(s, (uint)frame.Flags & RFlags.Arithmetic);
        }

        EnterMmx(s, i);
        return true;
    }

    private static void EnterMmx(CpuState* s, Insn* i)
    {
        if ((i->R2 & (ushort)NativeForm.EntersMmx) == 0)
        {
            return;
        }

        X87Status.EnterMmx(s);
        if ((i->R2 & (ushort)NativeForm.ResultInMmx) != 0)
        {
            *(ushort*)((byte*)s + i->R0 + 8) = 0xFFFF;
        }
    }

    private static void Call(Insn* i, byte* first, byte* second, NativeFrame* frame) =>
        ((delegate* unmanaged[SuppressGCTransition]<byte*, byte*, NativeFrame*, void>)i->Imm)(first, second, frame);
}
