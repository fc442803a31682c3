using System.Numerics;
using Iced.Intel;
using Introspect.Hypervisor.Core.Cpu.Handlers;

namespace Introspect.Hypervisor.Core.Cpu;

/// <summary>
/// Gives a decoded instruction its handler and operands. What no binder knows is #UD, as on a processor that
/// lacks the feature.
/// </summary>
internal static unsafe partial class Binder
{
    /// <summary>Binds an instruction.</summary>
    /// <param name="ins">What Iced decoded, at an IP that is the distance from the block's start.</param>
    /// <param name="i">Where the result goes; offset and length are set.</param>
    /// <param name="mode">Mode of the block.</param>
    /// <param name="blockOffset">Offset of the block in its page, negative when branches must not be linked.</param>
    /// <returns>True when the block ends here.</returns>
    public static bool Bind(in Instruction ins, Insn* i, CpuMode mode, int blockOffset)
    {
        i->Code = (ushort)ins.Code;
        i->Flags = (ins.HasRepPrefix ? InsnFlags.Rep : 0) | (ins.HasRepnePrefix ? InsnFlags.Repne : 0)
            | (ins.HasLockPrefix ? InsnFlags.Lock : 0);
        i->Seg = (byte)SegmentIndex.Ds;
        if (ins.IsInvalid)
        {
            i->Handler = &SimpleHandlers.InvalidOpcode;
            return true;
        }

        var context = new BindContext(mode, blockOffset);
        if (BindAlu(in ins, i, context) || BindMove(in ins, i, context) || BindShift(in ins, i, context)
            || BindBits(in ins, i, context) || BindVector(in ins, i, context))
        {
            return false;
        }

        if (BindStack(in ins, i, context))
        {
            return false;
        }

        if (BindBranch(in ins, i, context, out var ends) || BindString(in ins, i, context, out ends)
            || BindSystem(in ins, i, context, out ends))
        {
            return ends;
        }

        if (ins.Mnemonic is not (Mnemonic.Ud0 or Mnemonic.Ud1 or Mnemonic.Ud2))
        {
            i->Flags |= InsnFlags.Unimplemented;
        }

        i->Handler = &SimpleHandlers.InvalidOpcode;
        return true;
    }

    /// <summary>An instruction longer than 15 bytes is #GP(0).</summary>
    public static void BindTooLong(Insn* i) => BindSlow(i, &SlowHandlers.TooLong);

    private static void BindSlow(Insn* i, delegate*<CpuState*, Insn*, SlowOutcome> function)
    {
        i->Handler = &ControlHandlers.Slow;
        i->Aux = (nint)function;
    }

    /// <summary>Fills the memory operand and tells how its address is computed.</summary>
    private static AddressForm BindMemory(in Instruction ins, Insn* i, BindContext context)
    {
        i->Flags |= InsnFlags.Memory;
        var @base = ins.MemoryBase;
        var index = ins.MemoryIndex;
        i->Base = @base switch
        {
            Register.None => StateOffsets.Zero,
            Register.RIP or Register.EIP => StateOffsets.BlockRip,
            _ => StateOffsets.Of(@base),
        };
        i->Index = index == Register.None ? StateOffsets.Zero : StateOffsets.Of(index);
        i->Scale = (byte)BitOperations.Log2((uint)ins.MemoryIndexScale);
        i->Disp = ins.MemoryDisplacement64;
        i->AddressSize = (byte)(@base != Register.None ? @base.GetSize() : index != Register.None ? index.GetSize() : ins.MemoryDisplSize);
        return BindSegment(i, DataSegment(in ins, context), context);
    }

    /// <summary>Segment of the operand. 64-bit mode ignores overrides of ES, CS, SS and DS, also for whether a fault is #SS.</summary>
    private static SegmentIndex DataSegment(in Instruction ins, BindContext context)
    {
        var segment = StateOffsets.Segment(ins.MemorySegment);
        return !context.Is64 || segment is SegmentIndex.Fs or SegmentIndex.Gs ? segment
            : ins.MemoryBase is Register.RSP or Register.ESP or Register.RBP or Register.EBP ? SegmentIndex.Ss : SegmentIndex.Ds;
    }

    private static AddressForm BindSegment(Insn* i, SegmentIndex segment, BindContext context)
    {
        i->Seg = (byte)segment;
        if (context.Is64)
        {
            i->SegBase = segment is SegmentIndex.Fs or SegmentIndex.Gs ? StateOffsets.SegmentBase(segment) : StateOffsets.Zero;
            return i->AddressSize == 8 ? AddressForm.Wide : AddressForm.Narrow;
        }

        i->SegBase = StateOffsets.Zero;
        var dataSegment = segment is SegmentIndex.Ds or SegmentIndex.Es or SegmentIndex.Ss;
        return context.Flat && dataSegment && i->AddressSize == 4 ? AddressForm.Narrow : AddressForm.Checked;
    }

    private static bool IsMemory(in Instruction ins, int operand) => ins.GetOpKind(operand) == OpKind.Memory;

    private static bool IsRegister(in Instruction ins, int operand) => ins.GetOpKind(operand) == OpKind.Register;

    private static bool IsImmediate(in Instruction ins, int operand) =>
        operand < ins.OpCount && ins.GetOpKind(operand) is OpKind.Immediate8 or OpKind.Immediate16 or OpKind.Immediate32 or OpKind.Immediate64
            or OpKind.Immediate8to16 or OpKind.Immediate8to32 or OpKind.Immediate8to64 or OpKind.Immediate32to64;

    /// <summary>Operand size in bytes of a register or memory operand.</summary>
    private static int SizeOf(in Instruction ins, int operand) =>
        IsRegister(in ins, operand) ? ins.GetOpRegister(operand).GetSize() : ins.MemorySize.GetSize();

    /// <summary>What the binders of one instruction share.</summary>
    private readonly record struct BindContext(CpuMode Mode, int BlockOffset)
    {
        public bool Is64 => (Mode & CpuMode.SizeMask) == CpuMode.Code64;

        public bool Flat => (Mode & CpuMode.FlatData) != 0;

        public bool RealOrVm86 => (Mode & CpuMode.RealOrVm86) != 0;
    }
}
