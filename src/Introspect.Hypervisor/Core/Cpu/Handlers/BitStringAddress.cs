using System.Runtime.CompilerServices;

namespace Introspect.Hypervisor.Core.Cpu.Handlers;

/// <summary>
/// Where BT, BTS, BTR and BTC with a register bit number find their word: the number is signed and reaches
/// beyond the addressed word, in steps of the operand size.
/// </summary>
internal static unsafe class BitString
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Displacement(CpuState* s, Insn* i, int size)
    {
        var p = (byte*)s + i->R1;
        return size switch
        {
            2 => (ulong)((*(short*)p >> 4) * 2),
            4 => (ulong)((*(int*)p >> 5) * 4L),
            _ => (ulong)((*(long*)p >> 6) * 8),
        };
    }
}

/// <summary>Bit strings with 64-bit addresses.</summary>
internal readonly struct BitString64 : IEffectiveAddress
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe ulong Linear(CpuState* s, Insn* i, int size, bool write) =>
        Address64.Linear(s, i, size, write) + BitString.Displacement(s, i, size);
}

/// <summary>Bit strings with every other form of address: the displacement wraps with the offset.</summary>
internal readonly struct BitStringChecked : IEffectiveAddress
{
    [MethodImpl(MethodImplOptions.NoInlining)]
    public static unsafe ulong Linear(CpuState* s, Insn* i, int size, bool write)
    {
        var offset = AddressChecked.Offset(s, i) + BitString.Displacement(s, i, size);
        offset = i->AddressSize switch
        {
            2 => (ushort)offset,
            4 => (uint)offset,
            _ => offset,
        };
        return Access.Linear(s, (SegmentIndex)i->Seg, offset, size, write, out var linear) ? linear : AddressChecked.Refused;
    }
}
