using System.Runtime.InteropServices;

namespace Introspect.Hypervisor.Core.Cpu;

/// <summary>
/// What made the CPU leave the guest, without a vendor's numbering: <c>Core/Domains</c> translates it into VMX
/// or SVM terms. Unless said otherwise RIP is at the instruction, which was not done; who handles the exit does
/// its work and advances RIP by <see cref="Exit.InsnLength"/>.
/// </summary>
internal enum ExitKind : byte
{
    None = 0,

    /// <summary>The instruction budget is used up. Not a vmexit.</summary>
    Budget,

    /// <summary>Somebody set <see cref="AsyncEvents.Kick"/>. Seen by the guest's monitor as an external interrupt exit.</summary>
    Kick,

    /// <summary>HLT (CPL 0).</summary>
    Hlt,

    /// <summary>CPUID.</summary>
    Cpuid,

    /// <summary>MOV to CRn, CLTS or LMSW. Index: the register; Value: the value to write; Access: <see cref="CrAccess"/>; Operand: the general register (encoding order), 0xFF for memory; Form: the source of LMSW, whose address is in Gla.</summary>
    CrWrite,

    /// <summary>MOV from CRn for a register that the CPU does not hold itself (CR8). Index: the register; Operand: the destination general register.</summary>
    CrRead,

    /// <summary>RDMSR (CPL 0). Index: ECX.</summary>
    MsrRead,

    /// <summary>WRMSR (CPL 0). Index: ECX; Value: EDX:EAX.</summary>
    MsrWrite,

    /// <summary>IN, OUT, INS, OUTS, permitted by IOPL and the I/O bitmap. Index: port; Operand: size | <see cref="IoFlags"/>; Value: data of OUT; Gla: address of the string operand; Access: address size in bytes; Form: <see cref="SegmentIndex"/> of the string operand.</summary>
    Io,

    /// <summary>VMCALL or VMMCALL, whichever the vendor has (any CPL). Value: 0 for VMCALL, 1 for VMMCALL.</summary>
    Hypercall,

    /// <summary>XSETBV (CPL 0, after its #UD and CPL checks). Index: ECX; Value: EDX:EAX.</summary>
    Xsetbv,

    /// <summary>An intercepted exception. Index: vector; Value: error code or DR6 bits; Operand: <see cref="EventType"/>. Not delivered yet; for int3 RIP is at the int3.</summary>
    Exception,

    /// <summary>The second level refused a guest-physical access. Gpa, Gla (where known), Value: <see cref="NpfFlags"/>. The instruction is restartable.</summary>
    NestedPageFault,

    /// <summary>One instruction (or one event delivery) was completed under the monitor trap flag. RIP is at the next instruction.</summary>
    MonitorTrap,

    /// <summary>An intercepted access to GDTR, IDTR, LDTR or TR. Index: <see cref="Abi.DescriptorRegister"/>; Value: 1 for a load; Operand: general register or ~0 for memory; Gla: the operand's address; Form: <see cref="OperandForm"/>; Displacement: that of the operand.</summary>
    DescriptorAccess,

    /// <summary>The guest became interruptible while <see cref="Intercepts.InterruptWindow"/> was set. RIP is at the next instruction.</summary>
    InterruptWindow,

    /// <summary>A fault in the delivery of a double fault.</summary>
    TripleFault,

    /// <summary>INVD or WBINVD (CPL 0). Value: 1 for INVD.</summary>
    Wbinvd,

    /// <summary>PAUSE in a loop, when intercepted.</summary>
    Pause,

    /// <summary>MWAIT (when MONITOR/MWAIT is told to the guest).</summary>
    Mwait,

    /// <summary>An intercepted RDTSC or RDTSCP. Value: 1 for RDTSCP.</summary>
    Rdtsc,

    /// <summary>MOV to or from a debug register, when intercepted. Index: register; Value: 1 for a write; Operand: general register.</summary>
    DrAccess,

    /// <summary>INVLPG, when intercepted. Gla: address.</summary>
    Invlpg,

    /// <summary>VMFUNC (any CPL), on a VMX personality. Index: EAX; Value: ECX.</summary>
    Vmfunc,

    /// <summary>NMIs are open again while <see cref="Intercepts.NmiWindow"/> was set. RIP is at the next instruction.</summary>
    NmiWindow,
}

/// <summary>How a control register is written.</summary>
internal enum CrAccess : byte
{
    MovTo = 0,
    MovFrom = 1,
    Clts = 2,
    Lmsw = 3,
}

/// <summary>Flags in <see cref="Exit.Operand"/> of an <see cref="ExitKind.Io"/> exit, beside the size in bits 0–2.</summary>
[Flags]
internal enum IoFlags : byte
{
    SizeMask = 7,
    In = 8,
    String = 16,
    Rep = 32,
    Immediate = 64,
}

/// <summary>What a second-level violation was about.</summary>
[Flags]
internal enum NpfFlags : uint
{
    Read = 1,
    Write = 2,
    Execute = 4,

    /// <summary>The gfn has an entry (rights were missing); clear: nothing is mapped there.</summary>
    Present = 8,

    /// <summary>Gla holds the linear address.</summary>
    GlaValid = 16,

    /// <summary>The access was to the page that the linear address maps; clear with GlaValid: to a page table on the way.</summary>
    WithGla = 32,

    /// <summary>Rights that the entry gives, shifted by 8: read 0x100, write 0x200, execute 0x400.</summary>
    EntryReadable = 0x100,
    EntryWritable = 0x200,
    EntryExecutable = 0x400,
}

/// <summary>An exit as data: small, plain, the same for tracing, monitoring and statistics.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct Exit
{
    public ExitKind Kind;

    /// <summary>Length of the instruction in bytes, where an instruction exited.</summary>
    public byte InsnLength;

    /// <summary>Kind-specific small operand.</summary>
    public byte Operand;

    /// <summary>Kind-specific access type.</summary>
    public CrAccess Access;

    /// <summary>Kind-specific index: register, MSR, port, vector.</summary>
    public uint Index;

    /// <summary>Kind-specific value.</summary>
    public ulong Value;

    /// <summary>Linear address, where known.</summary>
    public ulong Gla;

    /// <summary>Guest-physical address, where known.</summary>
    public ulong Gpa;

    /// <summary>Displacement of a memory operand, relative to RIP already added up, where the kind tells it.</summary>
    public ulong Displacement;

    /// <summary>Kind-specific description of the operand.</summary>
    public uint Form;
}

/// <summary>Conditions under which the CPU leaves the run loop instead of going on by itself.</summary>
[Flags]
internal enum Intercepts : uint
{
    None = 0,

    /// <summary>MOV to CR3. CR0 and CR4 writes always exit.</summary>
    Cr3Write = 1 << 0,

    /// <summary>#BP from int3.</summary>
    Breakpoint = 1 << 1,

    /// <summary>#DB.</summary>
    Debug = 1 << 2,

    /// <summary>LGDT, LIDT, LLDT, LTR, SGDT, SIDT, SLDT, STR.</summary>
    DescriptorTables = 1 << 3,

    /// <summary>Exit when an interrupt could be taken.</summary>
    InterruptWindow = 1 << 4,

    /// <summary>RDTSC and RDTSCP.</summary>
    Rdtsc = 1 << 5,

    /// <summary>MOV DR.</summary>
    DebugRegisters = 1 << 6,

    /// <summary>PAUSE, when it is done over and over within few instructions (pause-loop exiting).</summary>
    Pause = 1 << 7,

    /// <summary>INVLPG.</summary>
    Invlpg = 1 << 8,

    /// <summary>#UD (an instruction that is unknown or not allowed here).</summary>
    InvalidOpcode = 1 << 9,

    /// <summary>#PF.</summary>
    PageFault = 1 << 10,

    /// <summary>Exit when an NMI could be taken.</summary>
    NmiWindow = 1 << 11,
}
