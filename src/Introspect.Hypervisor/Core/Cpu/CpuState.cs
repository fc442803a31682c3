using System.Runtime.InteropServices;
using Introspect.Hypervisor.Core.Memory;

namespace Introspect.Hypervisor.Core.Cpu;

/// <summary>Index of a segment register in <see cref="CpuState.Seg"/>; the first six have the instruction set's order.</summary>
internal enum SegmentIndex
{
    Es = 0,
    Cs = 1,
    Ss = 2,
    Ds = 3,
    Fs = 4,
    Gs = 5,
    Ldtr = 6,
    Tr = 7,
}

/// <summary>A segment register with its hidden part, 24 bytes.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct Segment
{
    public ulong Base;

    /// <summary>Limit in bytes, expanded by the granularity.</summary>
    public uint Limit;

    /// <summary>Access rights in VMX layout: type 0–3, S 4, DPL 5–6, P 7, AVL 12, L 13, D/B 14, G 15, unusable 16.</summary>
    public uint Attributes;

    public ushort Selector;
    private ushort _pad0;
    private uint _pad1;

    public const uint Unusable = 1u << 16;
    public const uint Present = 1u << 7;
    public const uint CodeOrData = 1u << 4;
    public const uint LongMode = 1u << 13;
    public const uint Default32 = 1u << 14;
    public const uint Granularity = 1u << 15;

    public readonly int Dpl => (int)(Attributes >> 5) & 3;
}

/// <summary>
/// Architectural and engine state of one virtual CPU: a plain native structure at fixed offsets, which
/// handlers (and later translated code) address directly. Operand registers are byte offsets into it.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct CpuState
{
    /// <summary>General registers in encoding order: rax rcx rdx rbx rsp rbp rsi rdi r8…r15.</summary>
    public fixed ulong Gpr[16];

    /// <summary>Always 0: what an absent base, index or segment register points to. Offset 128.</summary>
    public ulong Zero;

    /// <summary>RIP of the instruction to run next; inside a block it is stale, see <see cref="BlockRip"/>.</summary>
    public ulong Rip;

    /// <summary>Linear-independent RIP of the first instruction of the running block.</summary>
    public ulong BlockRip;

    /// <summary>Lazy arithmetic flags: sign-extended result, see LazyFlags.</summary>
    public ulong FlagsResult;

    /// <summary>Lazy arithmetic flags: carry bits, see LazyFlags.</summary>
    public uint FlagsAux;

    /// <summary>RFLAGS without the six arithmetic flags; bit 1 set.</summary>
    public uint FlagsOther;

    /// <summary>TLB bank in force for data accesses (user, supervisor, supervisor with AC, or none).</summary>
    public TlbEntry* Tlb;

    /// <summary>The four TLB banks, see <see cref="TlbBank"/>.</summary>
    public TlbEntry* TlbBanks;

    /// <summary>Translations of instruction fetches, two banks (supervisor, user).</summary>
    public FetchEntry* FetchTlb;

    /// <summary>Bits of <see cref="AsyncEvents"/>; any bit ends the run at the next block boundary. Written by other threads.</summary>
    public uint Async;

    /// <summary>Why the chain of handlers returned to the loop.</summary>
    public StopReason Stop;

    /// <summary>Instructions left before the run ends with <see cref="ExitKind.Budget"/>.</summary>
    public long Budget;

    /// <summary>Instructions retired since the CPU was made: what a deterministic TSC follows.</summary>
    public ulong Retired;

    /// <summary>Native address of machine address 0.</summary>
    public byte* MachineBase;

    /// <summary>The p2m (or altp2m view) in force: one entry a gfn, see <see cref="Memory.P2mEntry"/>.</summary>
    public ulong* P2m;

    /// <summary>Entries in <see cref="P2m"/>.</summary>
    public ulong P2mEntries;

    /// <summary>One byte a machine page, see <see cref="PageInfoBits"/>.</summary>
    public byte* PageInfo;

    /// <summary>Direct-mapped cache from RIP to decoded block, see <see cref="JumpEntry"/>.</summary>
    public JumpEntry* JumpCache;

    /// <summary>What an entry of <see cref="JumpCache"/> must carry to be valid now: generation and mode.</summary>
    public ulong JumpKey;

    /// <summary>Branch that left its block through a link not made yet; the run loop fills it in.</summary>
    public Insn* LinkFrom;

    /// <summary>How memory is accessed beyond the ordinary, see <see cref="AccessOverride"/>.</summary>
    public AccessOverride Override;

    /// <summary>Why data accesses must take the slow path: bank 3 is in force while this is not zero.</summary>
    public SlowAccessReasons SlowAccess;

    /// <summary>Slots of <see cref="TlbBanks"/> that may be valid.</summary>
    public SlotList* TlbFills;

    /// <summary>Slots of <see cref="FetchTlb"/> that may be valid.</summary>
    public SlotList* FetchFills;

    /// <summary>GCHandle of the managed <see cref="Cpu"/>.</summary>
    public nint Owner;

    // ES CS SS DS FS GS LDTR TR, 24 bytes each.
    private fixed ulong _segments[8 * 3];

    public ulong Cr0, Cr2, Cr3, Cr4, Cr8;
    public ulong Xcr0;
    public ulong Dr0, Dr1, Dr2, Dr3, Dr6, Dr7;
    public ulong Efer, Star, Lstar, Cstar, SyscallMask, KernelGsBase, TscAux;
    public ulong SysenterCs, SysenterEsp, SysenterEip;
    public ulong Pat;
    public ulong GdtrBase, IdtrBase;

    /// <summary>PAE page-directory-pointer entries, loaded with CR3.</summary>
    public fixed ulong Pdpte[4];
    public uint GdtrLimit, IdtrLimit;

    /// <summary>Current privilege level, 0–3.</summary>
    public int Cpl;

    /// <summary>Decoding and execution mode: the block cache's key, see <see cref="CpuMode"/>.</summary>
    public CpuMode Mode;

    /// <summary>Intercepts in force: which conditions leave the run loop.</summary>
    public Intercepts Intercepts;

    /// <summary>Interruptibility: see <see cref="CpuShadow"/>.</summary>
    public CpuShadow Shadow;

    /// <summary>DR6 bits of data breakpoints that the running instruction hit.</summary>
    public uint PendingDebug;

    /// <summary>One of <see cref="PendingDebug"/> is enabled in DR7, so the trap is taken.</summary>
    public bool PendingDebugEnabled;

    /// <summary>DR6 bits of a #DB that is due before the next instruction, after a monitor trap that came first.</summary>
    public uint DueDebug;

    /// <summary>An instruction breakpoint is enabled: instructions run one at a time.</summary>
    public bool ExecuteBreakpoints;

    /// <summary>Leave with <see cref="ExitKind.MonitorTrap"/> after one instruction or event delivery.</summary>
    public bool MonitorTrap;

    /// <summary>Instructions run one at a time, and so do the iterations of REP.</summary>
    public bool OneIteration;

    /// <summary>Base of the code segment as the jump cache knows it.</summary>
    public ulong CodeBase;

    /// <summary>TSC = <see cref="TscOffset"/> plus what the clock says.</summary>
    public ulong TscOffset;

    /// <summary>Exception or interrupt that is delivered before the next instruction.</summary>
    public PendingEvent Pending;

    /// <summary>The exit that ended the last run.</summary>
    public Exit Exit;

    public ushort Fcw, Fsw;

    /// <summary>x87 tag word in abridged form (1 bit a register, 1 = valid).</summary>
    public byte FtwAbridged;
    private byte _pad0;
    public ushort Fop;
    public ulong Fip, Fdp;
    public uint Mxcsr;
    private uint _pad1;

    /// <summary>x87 registers by physical number, 80 bits in 16 bytes each.</summary>
    public fixed ulong X87[8 * 2];

    /// <summary>Vector registers, 32 bytes each (YMM); XMM is the low half.</summary>
    public fixed ulong Ymm[16 * 4];

    /// <summary>Where a page-crossing or device access is gathered.</summary>
    public fixed ulong Bounce[16];

    /// <summary>The segment register at an index.</summary>
    public Segment* Seg(SegmentIndex index)
    {
        // SAFETY: the structure lives in native memory and never moves, so the address outlives the fixed block.
        fixed (ulong* p = _segments)
        {
            return (Segment*)p + (int)index;
        }
    }
}

/// <summary>Modes that change how bytes are decoded or executed; part of a block's key.</summary>
[Flags]
internal enum CpuMode : byte
{
    /// <summary>Real mode or 16-bit code segment: default operand and address size 16.</summary>
    Code16 = 0,

    /// <summary>32-bit code segment.</summary>
    Code32 = 1,

    /// <summary>64-bit code segment in long mode.</summary>
    Code64 = 2,

    /// <summary>Mask of the code size.</summary>
    SizeMask = 3,

    /// <summary>Every data segment and SS is flat: base 0, limit 4 GiB, present, writable, so no limit checks (not used in 64-bit mode).</summary>
    FlatData = 4,

    /// <summary>CPL is 3.</summary>
    User = 8,

    /// <summary>CR0.PE is clear or EFLAGS.VM is set.</summary>
    RealOrVm86 = 16,
}

/// <summary>How the accesses of an emulated instruction differ (vm_event's EMULATE responses, device memory).</summary>
[Flags]
internal enum AccessOverride : uint
{
    None = 0,

    /// <summary>Second-level rights do not apply.</summary>
    IgnoreP2mRights = 1,

    /// <summary>Writes are dropped.</summary>
    DiscardWrites = 2,

    /// <summary>Accesses to absent frames go to <see cref="ICpuHost"/>.</summary>
    Devices = 4,

    /// <summary>Reads of data give what the response carries.</summary>
    ReadData = 8,

    /// <summary>Second-level rights do not apply to page-table walks; they do to the data.</summary>
    IgnoreWalkRights = 16,

    /// <summary>A REP instruction goes on while its operands stay in their pages; else each iteration is an emulation.</summary>
    RepeatInPage = 32,
}

/// <summary>Why the fast path of data accesses is off.</summary>
[Flags]
internal enum SlowAccessReasons : uint
{
    None = 0,
    Emulation = 1,
    AlignmentCheck = 2,
    DataBreakpoints = 4,
}

/// <summary>Why an instruction boundary is not interruptible.</summary>
[Flags]
internal enum CpuShadow : uint
{
    None = 0,

    /// <summary>The instruction after STI.</summary>
    Sti = 1,

    /// <summary>The instruction after MOV SS or POP SS.</summary>
    MovSs = 2,

    /// <summary>NMIs are blocked until IRET.</summary>
    Nmi = 4,
}

/// <summary>Conditions, requested from outside, that end a run at the next block boundary.</summary>
[Flags]
internal enum AsyncEvents : uint
{
    None = 0,

    /// <summary>Leave the run loop with <see cref="ExitKind.Kick"/>: something wants the vCPU's attention.</summary>
    Kick = 1,

    /// <summary>Flush the TLB: the p2m changed.</summary>
    FlushTlb = 2,

    /// <summary>Pages were queued whose decoded code is stale.</summary>
    DropCode = 4,
}

/// <summary>Why the handler chain returned to the run loop.</summary>
internal enum StopReason : uint
{
    None = 0,

    /// <summary>A block ended: look up the next.</summary>
    NextBlock,

    /// <summary>A fault is in <see cref="CpuState.Pending"/>; RIP is at the faulting instruction.</summary>
    Fault,

    /// <summary><see cref="CpuState.Exit"/> is filled; RIP is at the exiting instruction.</summary>
    Exit,

    /// <summary>The instruction ran; mode or interruptibility changed, so look around before the next one.</summary>
    Boundary,
}

/// <summary>Kind of an event that is to be delivered through the IDT (VMX and SVM event types).</summary>
internal enum EventType : byte
{
    ExternalInterrupt = 0,
    Nmi = 2,
    HardwareException = 3,
    SoftwareInterrupt = 4,
    PrivilegedSoftwareException = 5,
    SoftwareException = 6,
}

/// <summary>An exception or interrupt on its way through the IDT.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct PendingEvent
{
    public bool Valid;
    public byte Vector;
    public EventType Type;
    public bool HasErrorCode;
    public uint ErrorCode;

    /// <summary>Length of the instruction that raised a software event: RIP pushed is RIP plus this.</summary>
    public uint InsnLength;
    private uint _pad;

    /// <summary>CR2 of a page fault, DR6 bits of a debug exception.</summary>
    public ulong Payload;
}
