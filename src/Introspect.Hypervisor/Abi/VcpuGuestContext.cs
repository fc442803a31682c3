using System.Runtime.InteropServices;

namespace Introspect.Hypervisor.Abi;

/// <summary>
/// <c>struct vcpu_guest_context</c> of a 64-bit x86 domain. What is for PV guests alone (trap table, frames of the GDT,
/// callbacks) is there as bytes.
/// </summary>
[StructLayout(LayoutKind.Explicit, Size = SizeInBytes)]
internal struct VcpuGuestContext
{
    /// <summary>Its size.</summary>
    public const int SizeInBytes = 5168;

    /// <summary>Bytes of the FXSAVE image, which comes first.</summary>
    public const int FpuBytes = 512;

    /// <summary><c>VGCF_i387_valid</c>: the FXSAVE image counts.</summary>
    public const ulong FlagFpuValid = 1 << 0;

    /// <summary><c>VGCF_online</c>.</summary>
    public const ulong FlagOnline = 1 << 5;

    [FieldOffset(512)]
    public ulong Flags;

    [FieldOffset(520)]
    public CpuUserRegs UserRegs;

    [FieldOffset(4984)]
    public ulong Cr0;

    [FieldOffset(5000)]
    public ulong Cr2;

    [FieldOffset(5008)]
    public ulong Cr3;

    [FieldOffset(5016)]
    public ulong Cr4;

    [FieldOffset(5048)]
    public ulong Dr0;

    [FieldOffset(5056)]
    public ulong Dr1;

    [FieldOffset(5064)]
    public ulong Dr2;

    [FieldOffset(5072)]
    public ulong Dr3;

    [FieldOffset(5096)]
    public ulong Dr6;

    [FieldOffset(5104)]
    public ulong Dr7;

    [FieldOffset(5144)]
    public ulong FsBase;

    [FieldOffset(5152)]
    public ulong GsBaseKernel;

    [FieldOffset(5160)]
    public ulong GsBaseUser;
}

/// <summary><c>struct cpu_user_regs</c> of a 64-bit x86 domain.</summary>
[StructLayout(LayoutKind.Explicit, Size = 200)]
internal struct CpuUserRegs
{
    [FieldOffset(0)]
    public ulong R15;

    [FieldOffset(8)]
    public ulong R14;

    [FieldOffset(16)]
    public ulong R13;

    [FieldOffset(24)]
    public ulong R12;

    [FieldOffset(32)]
    public ulong Rbp;

    [FieldOffset(40)]
    public ulong Rbx;

    [FieldOffset(48)]
    public ulong R11;

    [FieldOffset(56)]
    public ulong R10;

    [FieldOffset(64)]
    public ulong R9;

    [FieldOffset(72)]
    public ulong R8;

    [FieldOffset(80)]
    public ulong Rax;

    [FieldOffset(88)]
    public ulong Rcx;

    [FieldOffset(96)]
    public ulong Rdx;

    [FieldOffset(104)]
    public ulong Rsi;

    [FieldOffset(112)]
    public ulong Rdi;

    [FieldOffset(128)]
    public ulong Rip;

    [FieldOffset(136)]
    public ushort Cs;

    [FieldOffset(144)]
    public ulong Rflags;

    [FieldOffset(152)]
    public ulong Rsp;

    [FieldOffset(160)]
    public ushort Ss;

    [FieldOffset(168)]
    public ushort Es;

    [FieldOffset(176)]
    public ushort Ds;

    [FieldOffset(184)]
    public ushort Fs;

    [FieldOffset(192)]
    public ushort Gs;
}
