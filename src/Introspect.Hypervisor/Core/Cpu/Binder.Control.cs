using Iced.Intel;
using Introspect.Hypervisor.Core.Cpu.Handlers;

namespace Introspect.Hypervisor.Core.Cpu;

/// <summary>Stack instructions and near transfers.</summary>
internal static unsafe partial class Binder
{
    private static bool BindStack(in Instruction ins, Insn* i, BindContext context)
    {
        switch (ins.Mnemonic)
        {
            case Mnemonic.Push:
                return Push(in ins, i, context);
            case Mnemonic.Pop:
                return Pop(in ins, i, context);
            case Mnemonic.Pusha or Mnemonic.Pushad:
                i->OperandSize = (byte)(ins.Mnemonic == Mnemonic.Pusha ? 2 : 4);
                BindSlow(i, &SlowHandlers.PushAll);
                return true;
            case Mnemonic.Popa or Mnemonic.Popad:
                i->OperandSize = (byte)(ins.Mnemonic == Mnemonic.Popa ? 2 : 4);
                BindSlow(i, &SlowHandlers.PopAll);
                return true;
            case Mnemonic.Enter:
                i->OperandSize = FrameSize(in ins);
                i->Imm = ins.Immediate16;
                i->Disp = ins.Immediate8_2nd;
                BindSlow(i, &SlowHandlers.Enter);
                return true;
            case Mnemonic.Leave:
                i->OperandSize = FrameSize(in ins);
                i->Seg = (byte)SegmentIndex.Ss;
                if (i->OperandSize == 8)
                {
                    i->Handler = &Stack64.Leave;
                }
                else
                {
                    BindSlow(i, &SlowHandlers.LeaveFrame);
                }

                return true;
            default:
                return false;
        }
    }

    private static bool Push(in Instruction ins, Insn* i, BindContext context)
    {
        if (IsRegister(in ins, 0) && !ins.Op0Register.IsGPR())
        {
            return false;
        }

        var size = Math.Abs(ins.StackPointerIncrement);
        i->OperandSize = (byte)size;
        if (IsMemory(in ins, 0))
        {
            BindMemory(in ins, i, context);
            BindSlow(i, &SlowHandlers.PushMem);
            return true;
        }

        i->Seg = (byte)SegmentIndex.Ss;
        var fast = context.Is64 && size == 8;
        if (IsRegister(in ins, 0))
        {
            i->R0 = StateOffsets.Of(ins.Op0Register);
            if (fast)
            {
                i->Handler = &Stack64.PushReg;
            }
            else
            {
                BindSlow(i, &SlowHandlers.PushReg);
            }

            return true;
        }

        i->Imm = ins.GetImmediate(0);
        if (fast)
        {
            i->Handler = &Stack64.PushImm;
        }
        else
        {
            BindSlow(i, &SlowHandlers.PushImm);
        }

        return true;
    }

    private static bool Pop(in Instruction ins, Insn* i, BindContext context)
    {
        if (IsRegister(in ins, 0) && !ins.Op0Register.IsGPR())
        {
            return false;
        }

        i->OperandSize = (byte)Math.Abs(ins.StackPointerIncrement);
        if (IsMemory(in ins, 0))
        {
            BindMemory(in ins, i, context);
            BindSlow(i, &SlowHandlers.PopMem);
            return true;
        }

        i->Seg = (byte)SegmentIndex.Ss;
        i->R0 = StateOffsets.Of(ins.Op0Register);
        if (context.Is64 && i->OperandSize == 8)
        {
            i->Handler = &Stack64.PopReg;
        }
        else
        {
            BindSlow(i, &SlowHandlers.PopReg);
        }

        return true;
    }

    private static bool BindBranch(in Instruction ins, Insn* i, BindContext context, out bool ends)
    {
        ends = true;
        switch (ins.FlowControl)
        {
            case FlowControl.ConditionalBranch when ins.IsJccShortOrNear:
                ends = false;
                BindTarget(in ins, i);
                i->Aux = (nint)(delegate*<CpuState*, Insn*, SlowOutcome>)&SlowHandlers.JumpRelative;
                i->Handler = PickCondition.Jump(ins.ConditionCode, FormOf(i, context));
                return true;
            case FlowControl.ConditionalBranch when IsLoop(ins.Mnemonic, out var kind):
                ends = false;
                BindTarget(in ins, i);
                i->R2 = (ushort)kind;
                i->AddressSize = LoopCountSize(in ins);
                BindSlow(i, &SlowHandlers.Loop);
                return true;
            case FlowControl.UnconditionalBranch when ins.IsJmpShortOrNear:
                BindTarget(in ins, i);
                switch (FormOf(i, context))
                {
                    case JumpForm.Near:
                        i->Handler = &ControlHandlers.JumpLinked;
                        break;
                    case JumpForm.Far:
                        i->Handler = &ControlHandlers.JumpFar;
                        break;
                    default:
                        BindSlow(i, &SlowHandlers.JumpRelative);
                        break;
                }

                return true;
            case FlowControl.Call when ins.IsCallNear:
                BindTarget(in ins, i);
                i->Seg = (byte)SegmentIndex.Ss;
                if (context.Is64 && i->OperandSize == 8)
                {
                    i->Handler = IsLinkable(i, context) ? &NearTransfers64.CallNear : &NearTransfers64.CallFar;
                }
                else
                {
                    BindSlow(i, &SlowHandlers.CallRelative);
                }

                return true;
            case FlowControl.IndirectBranch when ins.IsJmpNearIndirect:
                return Indirect(in ins, i, context, call: false);
            case FlowControl.IndirectCall when ins.IsCallNearIndirect:
                return Indirect(in ins, i, context, call: true);
            case FlowControl.Return when ins.Mnemonic == Mnemonic.Ret:
                i->Imm = ins.OpCount > 0 ? ins.Immediate16 : 0UL;
                i->OperandSize = (byte)(ins.StackPointerIncrement - (int)i->Imm);
                i->Seg = (byte)SegmentIndex.Ss;
                if (context.Is64 && i->OperandSize == 8)
                {
                    i->Handler = &NearTransfers64.Ret;
                }
                else
                {
                    BindSlow(i, &SlowHandlers.Return);
                }

                return true;
            default:
                return false;
        }
    }

    private static bool Indirect(in Instruction ins, Insn* i, BindContext context, bool call)
    {
        i->OperandSize = (byte)SizeOf(in ins, 0);
        var fast = context.Is64 && i->OperandSize == 8;
        if (IsMemory(in ins, 0))
        {
            var form = BindMemory(in ins, i, context);
            if (!fast)
            {
                BindSlow(i, call ? &SlowHandlers.CallMem : &SlowHandlers.JumpMem);
                return true;
            }

            i->Handler = call ? Pick.Memory<CallMem64>(8, form) : Pick.Memory<JmpMem64>(8, form);
            return true;
        }

        i->R0 = StateOffsets.Of(ins.Op0Register);
        if (!fast)
        {
            BindSlow(i, call ? &SlowHandlers.CallReg : &SlowHandlers.JumpReg);
            return true;
        }

        i->Seg = (byte)SegmentIndex.Ss;
        i->Handler = call ? &NearTransfers64.CallReg : &NearTransfers64.JmpReg;
        return true;
    }

    /// <summary>The branch's distance from the block's start, and the size that its target is truncated to.</summary>
    private static void BindTarget(in Instruction ins, Insn* i)
    {
        (i->Imm, i->OperandSize) = ins.Op0Kind switch
        {
            OpKind.NearBranch16 => ((ulong)(short)ins.NearBranch16, (byte)2),
            OpKind.NearBranch32 => ((ulong)(int)ins.NearBranch32, (byte)4),
            _ => (ins.NearBranch64, (byte)8),
        };
    }

    // Sequential RIP has 32 bits in a 16-bit segment, too; only a branch with 16-bit operands cuts its target.
    private static JumpForm FormOf(Insn* i, BindContext context)
    {
        var whole = context.Is64 ? i->OperandSize == 8 : context.Flat && i->OperandSize == 4;
        return !whole ? JumpForm.Checked : IsLinkable(i, context) ? JumpForm.Near : JumpForm.Far;
    }

    /// <summary>True when the target is in the block's page: then the link stays valid as long as the page's code.</summary>
    private static bool IsLinkable(Insn* i, BindContext context)
    {
        var target = context.BlockOffset + (long)i->Imm;
        return context.BlockOffset >= 0 && target is >= 0 and < 4096;
    }

    private static bool IsLoop(Mnemonic mnemonic, out LoopKind kind)
    {
        kind = mnemonic switch
        {
            Mnemonic.Loope => LoopKind.WhileEqual,
            Mnemonic.Loopne => LoopKind.WhileNotEqual,
            Mnemonic.Jcxz or Mnemonic.Jecxz or Mnemonic.Jrcxz => LoopKind.IfZero,
            _ => LoopKind.Always,
        };
        return kind != LoopKind.Always || mnemonic == Mnemonic.Loop;
    }

    private static byte LoopCountSize(in Instruction ins) => ins.Code switch
    {
        Code.Loop_rel8_16_CX or Code.Loop_rel8_32_CX or Code.Loope_rel8_16_CX or Code.Loope_rel8_32_CX
            or Code.Loopne_rel8_16_CX or Code.Loopne_rel8_32_CX or Code.Jcxz_rel8_16 or Code.Jcxz_rel8_32 => 2,
        Code.Loop_rel8_16_RCX or Code.Loop_rel8_64_RCX or Code.Loope_rel8_16_RCX or Code.Loope_rel8_64_RCX
            or Code.Loopne_rel8_16_RCX or Code.Loopne_rel8_64_RCX or Code.Jrcxz_rel8_16 or Code.Jrcxz_rel8_64 => 8,
        _ => 4,
    };

    private static byte FrameSize(in Instruction ins) => ins.Code switch
    {
        Code.Leavew or Code.Enterw_imm16_imm8 => 2,
        Code.Leaved or Code.Enterd_imm16_imm8 => 4,
        _ => 8,
    };
}
