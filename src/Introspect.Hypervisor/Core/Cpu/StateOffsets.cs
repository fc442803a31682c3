using Iced.Intel;

namespace Introspect.Hypervisor.Core.Cpu;

/// <summary>Byte offsets into <see cref="CpuState"/> that instructions carry as operands.</summary>
internal static unsafe class StateOffsets
{
    public static readonly ushort Zero = Offset(s => &s->Zero);
    public static readonly ushort BlockRip = Offset(s => &s->BlockRip);
    private static readonly ushort FirstSegmentBase = Offset(s => &s->Seg(SegmentIndex.Es)->Base);

    private delegate void* FieldAddress(CpuState* s);

    /// <summary>The offset of a general register of any width.</summary>
    public static ushort Of(Register register)
    {
        if (register.IsGPR8())
        {
            var n = register - Register.AL;

            // AL CL DL BL, AH CH DH BH, SPL BPL SIL DIL, R8L…
            return (ushort)(n < 4 ? n * 8 : n < 8 ? ((n - 4) * 8) + 1 : (n - 4) * 8);
        }

        return (ushort)(register.GetNumber() * 8);
    }

    /// <summary>The offset of a segment register's base.</summary>
    public static ushort SegmentBase(SegmentIndex index) => (ushort)(FirstSegmentBase + ((int)index * sizeof(Introspect.Hypervisor.Core.Cpu.Segment)));

    /// <summary>The segment of a decoder's register.</summary>
    public static SegmentIndex Segment(Register register) => register switch
    {
        Register.ES => SegmentIndex.Es,
        Register.CS => SegmentIndex.Cs,
        Register.SS => SegmentIndex.Ss,
        Register.FS => SegmentIndex.Fs,
        Register.GS => SegmentIndex.Gs,
        _ => SegmentIndex.Ds,
    };

    private static ushort Offset(FieldAddress field)
    {
        CpuState state;
        return (ushort)((byte*)field(&state) - (byte*)&state);
    }
}
