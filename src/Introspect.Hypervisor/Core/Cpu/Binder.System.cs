using Iced.Intel;

namespace Introspect.Hypervisor.Core.Cpu;

/// <summary>System instructions, far transfers, flags and ports: all of them by way of slow functions.</summary>
internal static unsafe partial class Binder
{
    private static bool BindSystem(in Instruction ins, Insn* i, BindContext context, out bool ends)
    {
        ends = true;
        return BindExit(in ins, i, context) || BindFlags(in ins, i, ref ends) || BindTransfers(in ins, i, context)
            || BindSegments(in ins, i, context) || BindTables(in ins, i, context);
    }

    private static bool BindExit(in Instruction ins, Insn* i, BindContext context)
    {
        switch (ins.Mnemonic)
        {
            case Mnemonic.Cpuid:
                BindSlow(i, &ExitInstructions.Cpuid);
                return true;
            case Mnemonic.Hlt:
                BindSlow(i, &ExitInstructions.Hlt);
                return true;
            case Mnemonic.Invd:
                BindSlow(i, &ExitInstructions.Invd);
                return true;
            case Mnemonic.Wbinvd or Mnemonic.Wbnoinvd:
                BindSlow(i, &ExitInstructions.Wbinvd);
                return true;
            case Mnemonic.Rdmsr:
                BindSlow(i, &ExitInstructions.Rdmsr);
                return true;
            case Mnemonic.Wrmsr:
                BindSlow(i, &ExitInstructions.Wrmsr);
                return true;
            case Mnemonic.Xsetbv:
                BindSlow(i, &ExitInstructions.Xsetbv);
                return true;
            case Mnemonic.Xgetbv:
                BindSlow(i, &ExitInstructions.Xgetbv);
                return true;
            case Mnemonic.Vmcall:
                BindSlow(i, &ExitInstructions.Vmcall);
                return true;
            case Mnemonic.Vmfunc:
                BindSlow(i, &ExitInstructions.Vmfunc);
                return true;
            case Mnemonic.Vmmcall:
                BindSlow(i, &ExitInstructions.Vmmcall);
                return true;
            case Mnemonic.Pause:
                BindSlow(i, &ExitInstructions.Pause);
                return true;
            case Mnemonic.Rdtsc:
                BindSlow(i, &ExitInstructions.Rdtsc);
                return true;
            case Mnemonic.Rdtscp:
                BindSlow(i, &ExitInstructions.Rdtscp);
                return true;
            case Mnemonic.Rdpid:
                i->R0 = StateOffsets.Of(ins.Op0Register);
                i->OperandSize = (byte)(context.Is64 ? 8 : 4);
                BindSlow(i, &ExitInstructions.Rdpid);
                return true;
            case Mnemonic.Clts:
                BindSlow(i, &ExitInstructions.Clts);
                return true;
            case Mnemonic.Lmsw:
                if (IsMemory(in ins, 0))
                {
                    BindMemory(in ins, i, context);
                }
                else
                {
                    i->R0 = StateOffsets.Of(ins.Op0Register);
                }

                BindSlow(i, &ExitInstructions.Lmsw);
                return true;
            case Mnemonic.Invlpg:
                BindMemory(in ins, i, context);
                BindSlow(i, &ExitInstructions.Invlpg);
                return true;
            case Mnemonic.Mov when ins.Op0Register.IsCR():
                i->R0 = StateOffsets.Of(ins.Op1Register);
                i->R2 = (ushort)ins.Op0Register.GetNumber();
                return BindCr(i, &ExitInstructions.MovToCr);
            case Mnemonic.Mov when ins.Op1Register.IsCR():
                i->R0 = StateOffsets.Of(ins.Op0Register);
                i->R2 = (ushort)ins.Op1Register.GetNumber();
                return BindCr(i, &ExitInstructions.MovFromCr);
            case Mnemonic.In:
                i->OperandSize = (byte)ins.Op0Register.GetSize();
                BindPort(in ins, i, 1);
                BindSlow(i, &PortInstructions.In);
                return true;
            case Mnemonic.Out:
                i->OperandSize = (byte)ins.Op1Register.GetSize();
                BindPort(in ins, i, 0);
                BindSlow(i, &PortInstructions.Out);
                return true;
            default:
                return false;
        }
    }

    /// <summary>Only CR0, CR2, CR3, CR4 and CR8 exist; the others are #UD.</summary>
    private static bool BindCr(Insn* i, delegate*<CpuState*, Insn*, SlowOutcome> function)
    {
        if (i->R2 is not (0 or 2 or 3 or 4 or 8))
        {
            return false;
        }

        BindSlow(i, function);
        return true;
    }

    private static void BindPort(in Instruction ins, Insn* i, int operand)
    {
        if (IsImmediate(in ins, operand))
        {
            i->R2 = 1;
            i->Imm = ins.Immediate8;
        }
    }

    private static bool BindFlags(in Instruction ins, Insn* i, ref bool ends)
    {
        switch (ins.Mnemonic)
        {
            case Mnemonic.Clc:
                BindSlow(i, &FlagHandlers.Clc);
                break;
            case Mnemonic.Stc:
                BindSlow(i, &FlagHandlers.Stc);
                break;
            case Mnemonic.Cmc:
                BindSlow(i, &FlagHandlers.Cmc);
                break;
            case Mnemonic.Cld:
                BindSlow(i, &FlagHandlers.Cld);
                break;
            case Mnemonic.Std:
                BindSlow(i, &FlagHandlers.Std);
                break;
            case Mnemonic.Lahf:
                BindSlow(i, &FlagHandlers.Lahf);
                break;
            case Mnemonic.Sahf:
                BindSlow(i, &FlagHandlers.Sahf);
                break;
            case Mnemonic.Salc:
                BindSlow(i, &FlagHandlers.Salc);
                break;
            default:
                return false;
        }

        ends = false;
        return true;
    }
}
