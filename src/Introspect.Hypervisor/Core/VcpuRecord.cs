using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Cpu;

namespace Introspect.Hypervisor.Core;

/// <summary>Converts between the hvm context's CPU record and the seam's <see cref="VcpuState"/>.</summary>
internal static class VcpuRecord
{
    /// <summary>Reads a record.</summary>
    public static VcpuState ToState(in HvmHwCpu r) => new()
    {
        Rax = r.Rax,
        Rbx = r.Rbx,
        Rcx = r.Rcx,
        Rdx = r.Rdx,
        Rbp = r.Rbp,
        Rsi = r.Rsi,
        Rdi = r.Rdi,
        Rsp = r.Rsp,
        R8 = r.R8,
        R9 = r.R9,
        R10 = r.R10,
        R11 = r.R11,
        R12 = r.R12,
        R13 = r.R13,
        R14 = r.R14,
        R15 = r.R15,
        Rip = r.Rip,
        Rflags = r.Rflags,
        Cr0 = r.Cr0,
        Cr2 = r.Cr2,
        Cr3 = r.Cr3,
        Cr4 = r.Cr4,
        Dr0 = r.Dr0,
        Dr1 = r.Dr1,
        Dr2 = r.Dr2,
        Dr3 = r.Dr3,
        Dr6 = r.Dr6,
        Dr7 = r.Dr7,
        Cs = Unpack(r.CsSel, r.CsArbytes, r.CsLimit, r.CsBase),
        Ds = Unpack(r.DsSel, r.DsArbytes, r.DsLimit, r.DsBase),
        Es = Unpack(r.EsSel, r.EsArbytes, r.EsLimit, r.EsBase),
        Fs = Unpack(r.FsSel, r.FsArbytes, r.FsLimit, r.FsBase),
        Gs = Unpack(r.GsSel, r.GsArbytes, r.GsLimit, r.GsBase),
        Ss = Unpack(r.SsSel, r.SsArbytes, r.SsLimit, r.SsBase),
        Tr = Unpack(r.TrSel, r.TrArbytes, r.TrLimit, r.TrBase),
        Ldtr = Unpack(r.LdtrSel, r.LdtrArbytes, r.LdtrLimit, r.LdtrBase),
        IdtrBase = r.IdtrBase,
        GdtrBase = r.GdtrBase,
        IdtrLimit = r.IdtrLimit,
        GdtrLimit = r.GdtrLimit,
        SysenterCs = r.SysenterCs,
        SysenterEsp = r.SysenterEsp,
        SysenterEip = r.SysenterEip,
        ShadowGs = r.ShadowGs,
        MsrEfer = r.MsrEfer,
        MsrStar = r.MsrStar,
        MsrLstar = r.MsrLstar,
        MsrCstar = r.MsrCstar,
        MsrSyscallMask = r.MsrSyscallMask,
        Tsc = r.Tsc,
    };

    /// <summary>Writes into a record; what the seam does not have (FPU, pending event, TSC_AUX) stays.</summary>
    public static void Store(in VcpuState s, ref HvmHwCpu r)
    {
        (r.Rax, r.Rbx, r.Rcx, r.Rdx, r.Rbp, r.Rsi, r.Rdi, r.Rsp) = (s.Rax, s.Rbx, s.Rcx, s.Rdx, s.Rbp, s.Rsi, s.Rdi, s.Rsp);
        (r.R8, r.R9, r.R10, r.R11, r.R12, r.R13, r.R14, r.R15) = (s.R8, s.R9, s.R10, s.R11, s.R12, s.R13, s.R14, s.R15);
        (r.Rip, r.Rflags) = (s.Rip, s.Rflags);
        (r.Cr0, r.Cr2, r.Cr3, r.Cr4) = (s.Cr0, s.Cr2, s.Cr3, s.Cr4);
        (r.Dr0, r.Dr1, r.Dr2, r.Dr3, r.Dr6, r.Dr7) = (s.Dr0, s.Dr1, s.Dr2, s.Dr3, s.Dr6, s.Dr7);
        (r.CsSel, r.CsArbytes, r.CsLimit, r.CsBase) = Pack(s.Cs);
        (r.DsSel, r.DsArbytes, r.DsLimit, r.DsBase) = Pack(s.Ds);
        (r.EsSel, r.EsArbytes, r.EsLimit, r.EsBase) = Pack(s.Es);
        (r.FsSel, r.FsArbytes, r.FsLimit, r.FsBase) = Pack(s.Fs);
        (r.GsSel, r.GsArbytes, r.GsLimit, r.GsBase) = Pack(s.Gs);
        (r.SsSel, r.SsArbytes, r.SsLimit, r.SsBase) = Pack(s.Ss);
        (r.TrSel, r.TrArbytes, r.TrLimit, r.TrBase) = Pack(s.Tr);
        (r.LdtrSel, r.LdtrArbytes, r.LdtrLimit, r.LdtrBase) = Pack(s.Ldtr);
        (r.IdtrBase, r.IdtrLimit, r.GdtrBase, r.GdtrLimit) = (s.IdtrBase, s.IdtrLimit, s.GdtrBase, s.GdtrLimit);
        (r.SysenterCs, r.SysenterEsp, r.SysenterEip) = (s.SysenterCs, s.SysenterEsp, s.SysenterEip);
        (r.ShadowGs, r.MsrEfer, r.MsrStar, r.MsrLstar) = (s.ShadowGs, s.MsrEfer, s.MsrStar, s.MsrLstar);
        (r.MsrCstar, r.MsrSyscallMask, r.Tsc) = (s.MsrCstar, s.MsrSyscallMask, s.Tsc);
    }

    private static SegmentState Unpack(uint selector, uint rights, uint limit, ulong address) =>
        new((ushort)selector, CpuRecords.UnpackRights(rights), limit, address);

    private static (uint Selector, uint Rights, uint Limit, ulong Base) Pack(in SegmentState segment) =>
        (segment.Selector, CpuRecords.PackRights(segment.AccessRights), segment.Limit, segment.Base);
}
