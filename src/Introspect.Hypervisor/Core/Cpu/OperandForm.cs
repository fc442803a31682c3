using System.Numerics;
using Introspect.Hypervisor.Core.Cpu.Handlers;

namespace Introspect.Hypervisor.Core.Cpu;

/// <summary>
/// How an instruction that left the guest names its operand: scale in bits 0–1, general register 3–6, address size in
/// 7–9 (0: 16 bits, 1: 32, 2: 64), a register operand in bit 10, a 32-bit operand in bit 11, segment in 15–17, index
/// register in 18–21 or none by bit 22, base register in 23–26 or none by bit 27. (VT-x hands it out in these places.)
/// </summary>
internal static unsafe class OperandForm
{
    public const uint IsRegister = 1 << 10;
    public const uint Operand32 = 1 << 11;
    public const uint NoIndex = 1 << 22;
    public const uint NoBase = 1 << 27;

    /// <summary>The form of the operand.</summary>
    public static uint Of(Insn* i)
    {
        if ((i->Flags & InsnFlags.Memory) == 0)
        {
            return IsRegister | ((uint)(i->R0 / 8) << 3);
        }

        var form = i->Scale | (((uint)BitOperations.Log2(i->AddressSize) - 1) << 7) | ((uint)i->Seg << 15);
        form |= i->OperandSize == 2 ? 0 : Operand32;
        form |= i->Index == StateOffsets.Zero ? NoIndex : (uint)(i->Index / 8) << 18;
        form |= i->Base == StateOffsets.Zero || i->Base == StateOffsets.BlockRip ? NoBase : (uint)(i->Base / 8) << 23;
        return form;
    }

    /// <summary>Displacement of a memory operand; with RIP as its base, the address that they add up to.</summary>
    public static ulong Displacement(CpuState* s, Insn* i) =>
        i->Base == StateOffsets.BlockRip ? s->BlockRip + i->Disp : i->Disp;

    /// <summary>Linear address of a memory operand.</summary>
    public static ulong Linear(CpuState* s, Insn* i)
    {
        var segment = (SegmentIndex)i->Seg;
        var offset = AddressChecked.Offset(s, i);
        if (CpuModes.Is64(s))
        {
            return segment is SegmentIndex.Fs or SegmentIndex.Gs ? offset + s->Seg(segment)->Base : offset;
        }

        return (uint)(offset + s->Seg(segment)->Base);
    }
}
