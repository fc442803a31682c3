using Iced.Intel;
using Introspect.Hypervisor.Core.Cpu.Handlers;

namespace Introspect.Hypervisor.Core.Cpu;

/// <summary>The plain moves of XMM registers, which have fast handlers and run on any host.</summary>
internal static unsafe partial class Binder
{
    private static bool BindVectorMove(in Instruction ins, Insn* i, BindContext context)
    {
        switch (ins.Code)
        {
            case Code.Movaps_xmm_xmmm128 or Code.Movapd_xmm_xmmm128 or Code.Movdqa_xmm_xmmm128:
                return BindWholeLoad<AlignedVector>(in ins, i, context);
            case Code.Movups_xmm_xmmm128 or Code.Movupd_xmm_xmmm128 or Code.Movdqu_xmm_xmmm128 or Code.Lddqu_xmm_m128:
                return BindWholeLoad<UnalignedVector>(in ins, i, context);
            case Code.Movaps_xmmm128_xmm or Code.Movapd_xmmm128_xmm or Code.Movdqa_xmmm128_xmm
                or Code.Movntps_m128_xmm or Code.Movntpd_m128_xmm or Code.Movntdq_m128_xmm:
                return BindWholeStore<AlignedVector>(in ins, i, context);
            case Code.Movups_xmmm128_xmm or Code.Movupd_xmmm128_xmm or Code.Movdqu_xmmm128_xmm:
                return BindWholeStore<UnalignedVector>(in ins, i, context);
            case Code.Movss_xmm_xmmm32 or Code.Movsd_xmm_xmmm64 or Code.Movd_xmm_rm32 or Code.Movq_xmm_rm64 or Code.Movq_xmm_xmmm64
                when IsMemory(in ins, 1):
                i->R0 = VectorRegister(ins.Op0Register);
                i->Handler = Pick.Memory<VectorLoadScalar>(ins.MemorySize.GetSize(), BindMemory(in ins, i, context));
                return true;
            case Code.Movss_xmmm32_xmm or Code.Movsd_xmmm64_xmm or Code.Movd_rm32_xmm or Code.Movq_rm64_xmm or Code.Movq_xmmm64_xmm
                or Code.Movlps_m64_xmm or Code.Movlpd_m64_xmm when IsMemory(in ins, 0):
                i->R1 = VectorRegister(ins.Op1Register);
                i->Handler = Pick.Memory<VectorStoreScalar>(ins.MemorySize.GetSize(), BindMemory(in ins, i, context));
                return true;
            case Code.Movd_xmm_rm32 or Code.Movq_xmm_rm64 or Code.Movq_xmm_xmmm64 or Code.Movq_xmmm64_xmm:
                i->R0 = VectorRegister(ins.Op0Register);
                i->R1 = VectorRegister(ins.Op1Register);
                i->Handler = Pick.Sized<VectorFromRegister>(ins.Code == Code.Movd_xmm_rm32 ? 4 : 8);
                return true;
            case Code.Movd_rm32_xmm or Code.Movq_rm64_xmm:
                i->R0 = VectorRegister(ins.Op0Register);
                i->R1 = VectorRegister(ins.Op1Register);
                i->Handler = Pick.Sized<VectorToRegister>(ins.Code == Code.Movd_rm32_xmm ? 4 : 8);
                return true;
            default:
                return false;
        }
    }

    private static bool BindWholeLoad<TAlignment>(in Instruction ins, Insn* i, BindContext context)
        where TAlignment : struct, IVectorAlignment
    {
        i->R0 = VectorRegister(ins.Op0Register);
        if (IsMemory(in ins, 1))
        {
            i->Handler = Pick.Memory<VectorLoad<TAlignment>>(8, BindMemory(in ins, i, context));
            return true;
        }

        i->R1 = VectorRegister(ins.Op1Register);
        i->Handler = &VectorCopy.Run;
        return true;
    }

    private static bool BindWholeStore<TAlignment>(in Instruction ins, Insn* i, BindContext context)
        where TAlignment : struct, IVectorAlignment
    {
        i->R1 = VectorRegister(ins.Op1Register);
        if (IsMemory(in ins, 0))
        {
            i->Handler = Pick.Memory<VectorStore<TAlignment>>(8, BindMemory(in ins, i, context));
            return true;
        }

        i->R0 = VectorRegister(ins.Op0Register);
        i->Handler = &VectorCopy.Run;
        return true;
    }
}
