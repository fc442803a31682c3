using System.Runtime.InteropServices;

namespace Introspect.Hypervisor.Abi;

/// <summary>
/// A vm_event request or response, byte for byte as <c>vm_event_st</c> of interface version 7
/// (Xen 4.15 to 4.22, 400 bytes). Events of older versions are converted to this shape.
/// Which of the overlaid members of the union is meant follows from <see cref="Reason"/>.
/// </summary>
[StructLayout(LayoutKind.Explicit, Size = SizeInBytes)]
public unsafe struct VmEvent
{
    /// <summary>Size of the structure in bytes.</summary>
    public const int SizeInBytes = 400;

    /// <summary>The interface version that this structure has (<c>VM_EVENT_INTERFACE_VERSION</c>).</summary>
    public const uint InterfaceVersion = 7;

    /// <summary>Bytes of emulation read data in a response.</summary>
    public const int MaxEmulReadBytes = 340;

    /// <summary>Bytes of emulation instruction data in a response.</summary>
    public const int MaxEmulInsnBytes = 16;

    /// <summary>Interface version.</summary>
    [FieldOffset(0)] public uint Version;

    /// <summary>Flags.</summary>
    [FieldOffset(4)] public VmEventFlags Flags;

    /// <summary>Reason of the request; the response repeats it.</summary>
    [FieldOffset(8)] public VmEventReason Reason;

    /// <summary>The vCPU that the event is about.</summary>
    [FieldOffset(12)] public uint VcpuId;

    /// <summary>The altp2m view in force (or, in a response, the one to switch to).</summary>
    [FieldOffset(16)] public ushort AltP2mIndex;

    /// <summary><c>u.mem_access</c>.</summary>
    [FieldOffset(24)] public VmEventMemAccess MemAccess;

    /// <summary><c>u.mem_paging</c>.</summary>
    [FieldOffset(24)] public VmEventPaging MemPaging;

    /// <summary><c>u.mem_sharing</c>.</summary>
    [FieldOffset(24)] public VmEventSharing MemSharing;

    /// <summary><c>u.write_ctrlreg</c>.</summary>
    [FieldOffset(24)] public VmEventWriteCtrlreg WriteCtrlreg;

    /// <summary><c>u.mov_to_msr</c>.</summary>
    [FieldOffset(24)] public VmEventMovToMsr MovToMsr;

    /// <summary><c>u.singlestep.gfn</c>: guest frame of RIP.</summary>
    [FieldOffset(24)] public ulong SinglestepGfn;

    /// <summary><c>u.fast_singlestep.p2midx</c>: the view to switch to after the step.</summary>
    [FieldOffset(24)] public ushort FastSinglestepView;

    /// <summary><c>u.software_breakpoint</c> and <c>u.debug_exception</c>.</summary>
    [FieldOffset(24)] public VmEventDebug Debug;

    /// <summary><c>u.cpuid</c>.</summary>
    [FieldOffset(24)] public VmEventCpuid Cpuid;

    /// <summary><c>u.desc_access</c>.</summary>
    [FieldOffset(24)] public VmEventDescAccess DescAccess;

    /// <summary><c>u.interrupt.x86</c>.</summary>
    [FieldOffset(24)] public VmEventInterrupt Interrupt;

    /// <summary><c>u.vmexit</c> in names that both vendors share.</summary>
    [FieldOffset(24)] public VmEventVmExit VmExit;

    /// <summary><c>u.vmexit.arch.vmx</c>: the same words with Intel's names.</summary>
    [FieldOffset(24)] public VmEventVmxExit VmExitVmx;

    /// <summary><c>u.vmexit.arch.svm</c>, which only the core has: AMD's names, and one word more.</summary>
    [FieldOffset(24)] public VmEventSvmExit VmExitSvm;

    /// <summary><c>u.io</c>.</summary>
    [FieldOffset(24)] public VmEventIo Io;

    /// <summary><c>data.regs.x86</c>: registers at the event.</summary>
    [FieldOffset(56)] public VmEventRegisters Registers;

    /// <summary><c>data.emul.read.size</c>: bytes valid in <see cref="EmulReadData"/>.</summary>
    [FieldOffset(56)] public uint EmulReadSize;

    /// <summary><c>data.emul.read.data</c>.</summary>
    [FieldOffset(60)] public fixed byte EmulReadData[MaxEmulReadBytes];

    /// <summary><c>data.emul.insn.data</c>.</summary>
    [FieldOffset(56)] public fixed byte EmulInsnData[MaxEmulInsnBytes];
}

/// <summary><c>struct vm_event_mem_access</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct VmEventMemAccess
{
    /// <summary>Guest frame number of the access.</summary>
    public ulong Gfn;

    /// <summary>Byte offset in the page.</summary>
    public ulong Offset;

    /// <summary>Guest linear address, where <see cref="MemAccessFlags.GlaValid"/> is set.</summary>
    public ulong Gla;

    /// <summary>What was violated, and what is known of the address.</summary>
    public MemAccessFlags Flags;

    private uint _pad;
}

/// <summary><c>struct vm_event_paging</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct VmEventPaging
{
    /// <summary>Guest frame number of the page.</summary>
    public ulong Gfn;

    /// <summary>What the page is in the p2m (<c>p2m_type_t</c>).</summary>
    public uint P2mType;

    /// <summary><c>MEM_PAGING_*</c>: 1 the page is dropped, 2 paging it in failed.</summary>
    public uint Flags;
}

/// <summary><c>struct vm_event_sharing</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct VmEventSharing
{
    /// <summary>Guest frame number of the page.</summary>
    public ulong Gfn;

    /// <summary>What the page is in the p2m (<c>p2m_type_t</c>).</summary>
    public uint P2mType;

    private uint _pad;
}

/// <summary><c>struct vm_event_write_ctrlreg</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct VmEventWriteCtrlreg
{
    /// <summary>Which register.</summary>
    public ControlRegisterIndex Index;

    private uint _pad;

    /// <summary>Value being written.</summary>
    public ulong NewValue;

    /// <summary>Value before the write.</summary>
    public ulong OldValue;
}

/// <summary><c>struct vm_event_mov_to_msr</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct VmEventMovToMsr
{
    /// <summary>MSR number.</summary>
    public ulong Msr;

    /// <summary>Value being written.</summary>
    public ulong NewValue;

    /// <summary>Value before the write.</summary>
    public ulong OldValue;
}

/// <summary><c>struct vm_event_debug</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct VmEventDebug
{
    /// <summary>Guest frame of RIP.</summary>
    public ulong Gfn;

    /// <summary>Pending debug exceptions (DR6 layout), debug exceptions only.</summary>
    public ulong PendingDbg;

    /// <summary>Length of the instruction in bytes.</summary>
    public uint InsnLength;

    /// <summary>Event type (HVMOP_TRAP_*): 3 hardware, 5 privileged software, 6 software exception.</summary>
    public byte Type;

    private byte _pad0;
    private ushort _pad1;
}

/// <summary><c>struct vm_event_cpuid</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct VmEventCpuid
{
    /// <summary>Length of the instruction in bytes.</summary>
    public uint InsnLength;

    /// <summary>EAX before the instruction.</summary>
    public uint Leaf;

    /// <summary>ECX before the instruction.</summary>
    public uint Subleaf;

    private uint _pad;
}

/// <summary><c>struct vm_event_desc_access</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct VmEventDescAccess
{
    /// <summary>VMX: VM-exit instruction information.</summary>
    public uint InstrInfo;

    private uint _pad0;

    /// <summary>VMX: exit qualification.</summary>
    public ulong ExitQualification;

    /// <summary>Which register.</summary>
    public DescriptorRegister Descriptor;

    /// <summary>1 for a load of the register, 0 for a store.</summary>
    public byte IsWrite;

    private ushort _pad1;
    private uint _pad2;
}

/// <summary><c>struct vm_event_interrupt_x86</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct VmEventInterrupt
{
    /// <summary>Vector.</summary>
    public uint Vector;

    /// <summary>Event type (X86_EVENTTYPE_*).</summary>
    public uint Type;

    /// <summary>Error code, or ~0 for none.</summary>
    public uint ErrorCode;

    private uint _pad;

    /// <summary>CR2 of a page fault.</summary>
    public ulong Cr2;
}

/// <summary>Intel's words of a vmexit: SDM volume 3, appendix C and chapter 28.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct VmEventVmxExit
{
    /// <summary>Basic exit reason.</summary>
    public ulong Reason;

    /// <summary>Exit qualification.</summary>
    public ulong Qualification;
}

/// <summary>AMD's words of a vmexit: APM volume 2, appendix C and chapter 15.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct VmEventSvmExit
{
    /// <summary>EXITCODE.</summary>
    public ulong ExitCode;

    /// <summary>EXITINFO1.</summary>
    public ulong ExitInfo1;

    /// <summary>EXITINFO2.</summary>
    public ulong ExitInfo2;
}

/// <summary><c>struct vm_event_vmexit</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct VmEventVmExit
{
    /// <summary>Exit reason (VMX) or exit code (SVM).</summary>
    public ulong ExitReason;

    /// <summary>Exit qualification (VMX) or exit info 1 (SVM).</summary>
    public ulong Qualification;
}

/// <summary><c>struct vm_event_io</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct VmEventIo
{
    /// <summary>Size of the access in bytes.</summary>
    public uint Bytes;

    /// <summary>Port.</summary>
    public ushort Port;

    /// <summary>1 for IN or INS.</summary>
    public byte In;

    /// <summary>1 for INS or OUTS.</summary>
    public byte StringOp;
}

/// <summary><c>struct x86_selector_reg</c>: limit in bits 0–19, access rights in bits 20–31.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct VmEventSegment
{
    /// <summary>The packed word.</summary>
    public uint Word;

    /// <summary>Segment limit (20 bits, in the granularity of the access rights).</summary>
    public readonly uint Limit => Word & 0xfffff;

    /// <summary>Access rights (12 bits: type, S, DPL, P, AVL, L, D/B, G).</summary>
    public readonly uint AccessRights => Word >> 20;

    /// <summary>Packs a limit and access rights.</summary>
    public static VmEventSegment Pack(uint limit, uint accessRights) => new() { Word = (limit & 0xfffff) | (accessRights << 20) };
}

/// <summary><c>struct vm_event_regs_x86</c> of interface version 7 (344 bytes).</summary>
[StructLayout(LayoutKind.Sequential)]
public struct VmEventRegisters
{
#pragma warning disable CS1591 // One field a register, named as in the header.
    public ulong Rax, Rcx, Rdx, Rbx, Rsp, Rbp, Rsi, Rdi;
    public ulong R8, R9, R10, R11, R12, R13, R14, R15;
    public ulong Rflags, Dr6, Dr7, Rip;
    public ulong Cr0, Cr2, Cr3, Cr4;
    public ulong SysenterCs, SysenterEsp, SysenterEip;
    public ulong MsrEfer, MsrStar, MsrLstar;
    public ulong GdtrBase;
    public ulong NptBase, VmtracePos;
    public uint CsBase, SsBase, DsBase, EsBase;
    public ulong FsBase, GsBase;
    public VmEventSegment Cs, Ss, Ds, Es, Fs, Gs;
    public ulong ShadowGs;
    public ushort GdtrLimit;
    public ushort CsSel, SsSel, DsSel, EsSel, FsSel, GsSel;
    private ushort _pad;
#pragma warning restore CS1591
}
