using System.Runtime.CompilerServices;

namespace Introspect.Hypervisor.Core.Cpu.Handlers;

/// <summary>How a memory operand's linear address is computed.</summary>
internal unsafe interface IEffectiveAddress
{
    static abstract ulong Linear(CpuState* s, Insn* i, int size, bool write);
}

/// <summary>64-bit addresses: no limits; canonical form is checked by the TLB miss.</summary>
internal readonly struct Address64 : IEffectiveAddress
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe ulong Linear(CpuState* s, Insn* i, int size, bool write) =>
        *(ulong*)((byte*)s + i->Base) + (*(ulong*)((byte*)s + i->Index) << i->Scale) + i->Disp + *(ulong*)((byte*)s + i->SegBase);
}

/// <summary>32-bit addresses in 64-bit mode or with a flat segment.</summary>
internal readonly struct Address32 : IEffectiveAddress
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe ulong Linear(CpuState* s, Insn* i, int size, bool write) =>
        (uint)(*(ulong*)((byte*)s + i->Base) + (*(ulong*)((byte*)s + i->Index) << i->Scale) + i->Disp) + *(ulong*)((byte*)s + i->SegBase);
}

/// <summary>
/// Every other form: 16-bit addresses, segments with a base or a limit. A refused address leaves a fault in the
/// state, which the access that follows sees.
/// </summary>
internal readonly struct AddressChecked : IEffectiveAddress
{
    /// <summary>Linear address that no TLB slot has: non-canonical and not the page of any invalid tag.</summary>
    public const ulong Refused = 0x7FFF_0000_0000_0FFF;

    // Not inlined: the out parameter would take a local's address, and the handler lose its tail call.
    [MethodImpl(MethodImplOptions.NoInlining)]
    public static unsafe ulong Linear(CpuState* s, Insn* i, int size, bool write) =>
        Access.Linear(s, (SegmentIndex)i->Seg, Offset(s, i), size, write, out var linear) ? linear : Refused;

    /// <summary>The offset part alone (LEA, and what checks by itself).</summary>
    public static unsafe ulong Offset(CpuState* s, Insn* i)
    {
        var offset = *(ulong*)((byte*)s + i->Base) + (*(ulong*)((byte*)s + i->Index) << i->Scale) + i->Disp;
        return i->AddressSize switch
        {
            2 => (ushort)offset,
            4 => (uint)offset,
            _ => offset,
        };
    }
}

/// <summary>Which address computation an instruction needs.</summary>
internal enum AddressForm
{
    Wide,
    Narrow,
    Checked,
}
