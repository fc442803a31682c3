using Iced.Intel;

namespace Introspect.Hypervisor.Core.Cpu;

/// <summary>x87, MMX, SSE and AVX.</summary>
internal static unsafe partial class Binder
{
    private static bool BindVector(in Instruction ins, Insn* i, BindContext context) => false;
}
