using System.Runtime.InteropServices;

namespace Introspect.Hypervisor.Core.Cpu;

/// <summary>
/// What a CPU's state has beyond the hvm context's record (Xen's <c>hvm_vcpu_nonreg_state</c>, and what the record holds
/// less exactly): with both, a CPU goes on as the other one would have.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct CpuRest
{
    private const int YmmWords = 16 * 4;
    private const int X87Words = 8 * 2;
    private const int Pdptes = 4;

    public PendingEvent Pending;
    public CpuShadow Shadow;
    public uint PendingDebug;
    public uint DueDebug;
    public byte PendingDebugEnabled;
    public byte FtwAbridged;
    public ushort Fcw, Fsw, Fop;
    public uint Mxcsr;
    public ulong Cr8, Xcr0, Pat, Fip, Fdp, TscOffset;
    public fixed ulong Pdpte[Pdptes];
    public fixed ulong X87[X87Words];
    public fixed ulong Ymm[YmmWords];

    /// <summary>Takes it out of a state.</summary>
    public static void Save(ref CpuState state, out CpuRest rest)
    {
        rest = new CpuRest
        {
            Pending = state.Pending,
            Shadow = state.Shadow,
            PendingDebug = state.PendingDebug,
            DueDebug = state.DueDebug,
            PendingDebugEnabled = state.PendingDebugEnabled ? (byte)1 : (byte)0,
            FtwAbridged = state.FtwAbridged,
            Fcw = state.Fcw,
            Fsw = state.Fsw,
            Fop = state.Fop,
            Mxcsr = state.Mxcsr,
            Cr8 = state.Cr8,
            Xcr0 = state.Xcr0,
            Pat = state.Pat,
            Fip = state.Fip,
            Fdp = state.Fdp,
            TscOffset = state.TscOffset,
        };

        // SAFETY: the arrays have the lengths that the constants say, here and in the state.
        fixed (CpuRest* to = &rest)
        fixed (CpuState* from = &state)
        {
            new ReadOnlySpan<ulong>(from->Pdpte, Pdptes).CopyTo(new Span<ulong>(to->Pdpte, Pdptes));
            new ReadOnlySpan<ulong>(from->X87, X87Words).CopyTo(new Span<ulong>(to->X87, X87Words));
            new ReadOnlySpan<ulong>(from->Ymm, YmmWords).CopyTo(new Span<ulong>(to->Ymm, YmmWords));
        }
    }

    /// <summary>Puts it into a state whose record was loaded; what is derived is the caller's to recompute afterwards.</summary>
    public static void Load(ref CpuState state, in CpuRest rest)
    {
        state.Pending = rest.Pending;
        state.Shadow = rest.Shadow;
        state.PendingDebug = rest.PendingDebug;
        state.DueDebug = rest.DueDebug;
        state.PendingDebugEnabled = rest.PendingDebugEnabled != 0;
        state.FtwAbridged = rest.FtwAbridged;
        (state.Fcw, state.Fsw, state.Fop, state.Mxcsr) = (rest.Fcw, rest.Fsw, rest.Fop, rest.Mxcsr);
        (state.Cr8, state.Xcr0, state.Pat) = (rest.Cr8, rest.Xcr0, rest.Pat);
        (state.Fip, state.Fdp, state.TscOffset) = (rest.Fip, rest.Fdp, rest.TscOffset);

        // SAFETY: as in Save.
        fixed (CpuRest* from = &rest)
        fixed (CpuState* to = &state)
        {
            new ReadOnlySpan<ulong>(from->Pdpte, Pdptes).CopyTo(new Span<ulong>(to->Pdpte, Pdptes));
            new ReadOnlySpan<ulong>(from->X87, X87Words).CopyTo(new Span<ulong>(to->X87, X87Words));
            new ReadOnlySpan<ulong>(from->Ymm, YmmWords).CopyTo(new Span<ulong>(to->Ymm, YmmWords));
        }
    }
}
