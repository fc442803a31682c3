using Iced.Intel;
using Introspect.Hypervisor.Core.Cpu.VectorUnit;

namespace Introspect.Hypervisor.Core.Cpu;

/// <summary>x87, MMX and SSE: first what only moves state about.</summary>
internal static unsafe partial class Binder
{
    private static bool BindVector(in Instruction ins, Insn* i, BindContext context) =>
        BindX87State(in ins, i, context) || BindFxState(in ins, i, context) || BindBesideVector(in ins, i, context)
        || BindVectorMove(in ins, i, context) || BindNativeX87(in ins, i, context) || BindNativeVector(in ins, i, context);

    private static bool BindX87State(in Instruction ins, Insn* i, BindContext context)
    {
        switch (ins.Code)
        {
            case Code.Wait:
                BindSlow(i, &X87Environment.Fwait);
                return true;
            case Code.Fninit:
                BindSlow(i, &X87Environment.Fninit);
                return true;
            case Code.Fnclex:
                BindSlow(i, &X87Environment.Fnclex);
                return true;
            case Code.Fnop:
                BindSlow(i, &X87Environment.Fnop);
                return true;
            case Code.Fneni or Code.Fndisi or Code.Fnsetpm:
                BindSlow(i, &X87Environment.FnopNoWait);
                return true;
            case Code.Emms:
                BindSlow(i, &X87Environment.Emms);
                return true;
            case Code.Fnstsw_AX:
                BindSlow(i, &X87Environment.FnstswAx);
                return true;
            case Code.Fnstsw_m2byte:
                return BindState(in ins, i, context, &X87Environment.Fnstsw, 2);
            case Code.Fnstcw_m2byte:
                return BindState(in ins, i, context, &X87Environment.Fnstcw, 2);
            case Code.Fldcw_m2byte:
                return BindState(in ins, i, context, &X87Environment.Fldcw, 2);
            case Code.Fnstenv_m14byte or Code.Fnstenv_m28byte:
                return BindState(in ins, i, context, &X87Environment.Fnstenv, ins.Code == Code.Fnstenv_m14byte ? 14 : 28);
            case Code.Fldenv_m14byte or Code.Fldenv_m28byte:
                return BindState(in ins, i, context, &X87Environment.Fldenv, ins.Code == Code.Fldenv_m14byte ? 14 : 28);
            case Code.Fnsave_m94byte or Code.Fnsave_m108byte:
                return BindState(in ins, i, context, &X87Environment.Fnsave, ins.Code == Code.Fnsave_m94byte ? 94 : 108);
            case Code.Frstor_m94byte or Code.Frstor_m108byte:
                return BindState(in ins, i, context, &X87Environment.Frstor, ins.Code == Code.Frstor_m94byte ? 94 : 108);
            default:
                return false;
        }
    }

    private static bool BindFxState(in Instruction ins, Insn* i, BindContext context) => ins.Code switch
    {
        Code.Fxsave_m512byte => BindState(in ins, i, context, &FxInstructions.Fxsave, 4),
        Code.Fxsave64_m512byte => BindState(in ins, i, context, &FxInstructions.Fxsave, 8),
        Code.Fxrstor_m512byte => BindState(in ins, i, context, &FxInstructions.Fxrstor, 4),
        Code.Fxrstor64_m512byte => BindState(in ins, i, context, &FxInstructions.Fxrstor, 8),
        Code.Xsave_mem => BindState(in ins, i, context, &FxInstructions.Xsave, 4),
        Code.Xsave64_mem => BindState(in ins, i, context, &FxInstructions.Xsave, 8),
        Code.Xrstor_mem => BindState(in ins, i, context, &FxInstructions.Xrstor, 4),
        Code.Xrstor64_mem => BindState(in ins, i, context, &FxInstructions.Xrstor, 8),
        Code.Ldmxcsr_m32 => BindState(in ins, i, context, &FxInstructions.Ldmxcsr, 4),
        Code.Stmxcsr_m32 => BindState(in ins, i, context, &FxInstructions.Stmxcsr, 4),
        _ => false,
    };

    private static bool BindState(in Instruction ins, Insn* i, BindContext context, delegate*<CpuState*, Insn*, SlowOutcome> function, int size)
    {
        i->OperandSize = (byte)size;
        BindMemory(in ins, i, context);
        BindSlow(i, function);
        return true;
    }
}
