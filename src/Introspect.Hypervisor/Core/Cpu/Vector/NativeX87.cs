using System.Runtime.CompilerServices;
using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Introspect.Hypervisor.Core.Cpu.VectorUnit;

/// <summary>
/// x87 arithmetic, moves and compares on the host's own unit: the guest's whole x87 state is loaded, with its own
/// masks, the one instruction runs, and the state is taken back. An exception that is not masked stays pending in
/// the status word on the host as it does in the guest, whose next waiting instruction is then #MF; the host's unit
/// is initialised before anything can wait for it there. Transcendental results are the host processor's.
/// </summary>
internal static unsafe class NativeX87
{
    private const int ScratchSize = 16;
    private const uint HostMxcsr = 0x1F80;

    // Exceptions that end a store before it writes; an unmasked inexact result is written.
    private const int PreventsStore = X87Status.Exceptions & ~0x20;

    /// <summary>True for x87 instructions with at most one memory operand that every x86-64 processor has.</summary>
    public static bool IsListed(in Instruction ins)
    {
        if (ins.Encoding != EncodingKind.Legacy)
        {
            return false;
        }

        var x87 = false;
        foreach (var feature in ins.CpuidFeatures)
        {
            switch (feature)
            {
                case CpuidFeature.FPU or CpuidFeature.FPU287 or CpuidFeature.FPU387:
                    x87 = true;
                    break;
                case CpuidFeature.SSE3 or CpuidFeature.CMOV:
                    break;
                default:
                    return false;
            }
        }

        return x87;
    }

    /// <summary>The instruction with the operands that functions use.</summary>
    public static bool TryNormalize(in Instruction guest, out Instruction ins)
    {
        ins = new Instruction { Code = guest.Code };
        for (var n = 0; n < guest.OpCount; n++)
        {
            var kind = guest.GetOpKind(n);
            ins.SetOpKind(n, kind);
            if (kind == OpKind.Memory)
            {
                ins.MemoryBase = Register.RSI;
            }
            else if (kind == OpKind.Register && guest.GetOpRegister(n).IsST())
            {
                ins.SetOpRegister(n, guest.GetOpRegister(n));
            }
            else
            {
                return false;
            }
        }

        return true;
    }

    /// <summary>A function called with rdi = FXSAVE image, rsi = memory operand, rdx = <see cref="NativeFrame"/>.</summary>
    public static void Write(Assembler a, in Instruction ins)
    {
        a.push(__qword_ptr[rdx + NativeFrame.FlagsOffset]);
        a.popfq();
        a.fxrstor(__[rdi]);
        a.AddInstruction(ins);
        a.fxsave(__[rdi]);
        a.fninit();
        a.pushfq();
        a.pop(__qword_ptr[rdx + NativeFrame.FlagsOffset]);
        a.ret();
    }

    /// <summary>Only registers.</summary>
    [SkipLocalsInit]
    public static SlowOutcome RunRegister(CpuState* s, Insn* i)
    {
        var image = stackalloc byte[FxImage.Size + 16];
        image = Aligned(image);
        if (!VectorGuard.Check(s, VectorClass.X87))
        {
            return SlowOutcome.Stopped;
        }

        Call(s, i, image, null);
        Commit(s, i, image);
        return SlowOutcome.Next;
    }

    /// <summary>With a memory operand that is read.</summary>
    [SkipLocalsInit]
    public static SlowOutcome RunLoad(CpuState* s, Insn* i)
    {
        var image = stackalloc byte[FxImage.Size + 16];
        image = Aligned(image);
        var scratch = stackalloc byte[ScratchSize];
        if (!VectorGuard.Check(s, VectorClass.X87)
            || !SlowHandlers.OperandAddress(s, i, i->OperandSize, false, out var linear)
            || !VectorMemory.Read(s, i, linear, scratch, i->OperandSize))
        {
            return SlowOutcome.Stopped;
        }

        Call(s, i, image, scratch);
        Commit(s, i, image);
        return SlowOutcome.Next;
    }

    /// <summary>With a memory operand that is written.</summary>
    [SkipLocalsInit]
    public static SlowOutcome RunStore(CpuState* s, Insn* i)
    {
        var image = stackalloc byte[FxImage.Size + 16];
        image = Aligned(image);
        var scratch = stackalloc byte[ScratchSize];
        if (!VectorGuard.Check(s, VectorClass.X87)
            || !SlowHandlers.OperandAddress(s, i, i->OperandSize, true, out var linear))
        {
            return SlowOutcome.Stopped;
        }

        Call(s, i, image, scratch);
        var stored = (*(ushort*)(image + 2) & ~s->Fcw & PreventsStore) == 0;
        if (stored && !SlowAccess.WriteBytes(s, (SegmentIndex)i->Seg, linear, scratch, i->OperandSize, AccessRights.Current))
        {
            return SlowOutcome.Stopped;
        }

        Commit(s, i, image);
        return SlowOutcome.Next;
    }

    private static byte* Aligned(byte* p) => (byte*)(((nuint)p + 15) & ~(nuint)15);

    private static void Call(CpuState* s, Insn* i, byte* image, byte* operand)
    {
        FxImage.StoreX87(s, image, wide: true);
        *(uint*)(image + FxImage.MxcsrOffset) = HostMxcsr;
        var frame = new NativeFrame { Flags = RFlags.Fixed1 | Flags.ReadArithmetic(s) };
        ((delegate* unmanaged[SuppressGCTransition]<byte*, byte*, NativeFrame*, void>)i->Imm)(image, operand, &frame);
        *(uint*)(image + FxImage.MxcsrOffset) = (uint)frame.Flags;
    }

    private static void Commit(CpuState* s, Insn* i, byte* image)
    {
        s->Fsw = *(ushort*)(image + 2);
        s->FtwAbridged = image[4];
        FxImage.LoadStack(s, image + FxImage.X87Offset, 16);
        s->Fip = s->Rip;
        if ((i->Flags & InsnFlags.Memory) != 0)
        {
            s->Fdp = Handlers.AddressChecked.Offset(s, i);
        }

        if ((s->Fsw & X87Status.Summary) != 0)
        {
            s->Fop = i->R1;
        }

        if ((i->R2 & (ushort)NativeForm.WritesFlags) != 0)
        {
            Flags.WriteArithmetic(s, *(uint*)(image + FxImage.MxcsrOffset) & RFlags.Arithmetic);
        }
    }
}
