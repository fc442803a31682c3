using Iced.Intel;

namespace Introspect.Hypervisor.Core.Cpu;

/// <summary>Bit instructions: BT family, scans and counts, double shifts, BMI, decimal arithmetic, MOVBE, CRC32.</summary>
internal static unsafe partial class Binder
{
    private static bool BindBits(in Instruction ins, Insn* i, BindContext context) => false;
}
