using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Introspect.Hypervisor.Abi;

/// <summary>Types of the records in a domain's saved context (<c>HVM_SAVE_CODE</c>).</summary>
internal static class HvmSaveCode
{
    public const ushort End = 0;
    public const ushort Header = 1;
    public const ushort Cpu = 2;
    public const ushort Pic = 3;
    public const ushort IoApic = 4;
    public const ushort Lapic = 5;
    public const ushort LapicRegs = 6;
    public const ushort PciIrq = 7;
    public const ushort IsaIrq = 8;
    public const ushort PciLink = 9;
    public const ushort Pit = 10;
    public const ushort Rtc = 11;
    public const ushort Hpet = 12;
    public const ushort PmTimer = 13;
    public const ushort Mtrr = 14;
    public const ushort ViridianDomain = 15;
    public const ushort CpuXsave = 16;
    public const ushort ViridianVcpu = 17;
    public const ushort VmceVcpu = 18;
    public const ushort TscAdjust = 19;
    public const ushort CpuMsr = 20;
}

/// <summary><c>struct hvm_save_descriptor</c>: stands before each record.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct HvmSaveDescriptor
{
    public ushort TypeCode;
    public ushort Instance;

    /// <summary>Bytes of the record that follows.</summary>
    public uint Length;
}

/// <summary><c>struct hvm_save_header</c>: the first record.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct HvmSaveHeader
{
    /// <summary><c>HVM_FILE_MAGIC</c>.</summary>
    public const uint FileMagic = 0x54381286;

    /// <summary><c>HVM_FILE_VERSION</c>.</summary>
    public const uint FileVersion = 1;

    public uint Magic;
    public uint Version;
    public ulong Changeset;
    public uint CpuId;
    public uint GuestTscKhz;
}

/// <summary><c>struct hvm_hw_cpu</c> of 4.17, 1032 bytes: a vCPU.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct HvmHwCpu
{
    /// <summary><c>XEN_X86_FPU_INITIALISED</c>, in <see cref="Flags"/>.</summary>
    public const uint FpuInitialised = 1;

    /// <summary>Bit of <see cref="PendingEvent"/>: there is one.</summary>
    public const uint PendingValid = 1u << 31;

    /// <summary>Bit of <see cref="PendingEvent"/>: <see cref="ErrorCode"/> counts.</summary>
    public const uint PendingErrorValid = 1 << 11;

    /// <summary>Where the type of <see cref="PendingEvent"/> (3 bits) is; the vector is in bits 0–7.</summary>
    public const int PendingTypeShift = 8;

    /// <summary>The FXSAVE image.</summary>
    public fixed byte FpuRegs[512];
    public ulong Rax, Rbx, Rcx, Rdx, Rbp, Rsi, Rdi, Rsp;
    public ulong R8, R9, R10, R11, R12, R13, R14, R15;
    public ulong Rip, Rflags;
    public ulong Cr0, Cr2, Cr3, Cr4;
    public ulong Dr0, Dr1, Dr2, Dr3, Dr6, Dr7;
    public uint CsSel, DsSel, EsSel, FsSel, GsSel, SsSel, TrSel, LdtrSel;
    public uint CsLimit, DsLimit, EsLimit, FsLimit, GsLimit, SsLimit, TrLimit, LdtrLimit, IdtrLimit, GdtrLimit;
    public ulong CsBase, DsBase, EsBase, FsBase, GsBase, SsBase, TrBase, LdtrBase, IdtrBase, GdtrBase;
    public uint CsArbytes, DsArbytes, EsArbytes, FsArbytes, GsArbytes, SsArbytes, TrArbytes, LdtrArbytes;
    public ulong SysenterCs, SysenterEsp, SysenterEip;
    public ulong ShadowGs;
    public ulong MsrFlags, MsrLstar, MsrStar, MsrCstar, MsrSyscallMask, MsrEfer, MsrTscAux;
    public ulong Tsc;
    public uint PendingEvent;
    public uint ErrorCode;
    public uint Flags;
    private uint _pad0;
}

/// <summary><c>struct hvm_hw_mtrr</c>: a vCPU's memory types.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct HvmHwMtrr
{
    /// <summary>Variable ranges.</summary>
    public const int VariableRanges = 8;

    public ulong Pat;

    /// <summary>Base and mask of each variable range.</summary>
    public VariableArray Variable;

    /// <summary>The fixed ranges: 64K, two 16K, eight 4K.</summary>
    public FixedArray Fixed;
    public ulong Capabilities;
    public ulong DefaultType;

    /// <summary>Two registers each.</summary>
    [InlineArray(VariableRanges * 2)]
    internal struct VariableArray
    {
        private ulong _first;
    }

    /// <summary>Eight types each.</summary>
    [InlineArray(11)]
    internal struct FixedArray
    {
        private ulong _first;
    }
}
