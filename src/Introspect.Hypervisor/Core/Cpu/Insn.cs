using System.Runtime.InteropServices;

namespace Introspect.Hypervisor.Core.Cpu;

/// <summary>
/// One decoded instruction, 64 bytes: the handler that does it, and its operands as byte offsets into
/// <see cref="CpuState"/>. Handlers run one another by tail call, so a block is a run of these.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct Insn
{
    public delegate*<CpuState*, Insn*, void> Handler;

    /// <summary>Immediate; for a branch, the target's distance from the block's first byte.</summary>
    public ulong Imm;

    /// <summary>Displacement; RIP-relative ones are made relative to the block's first byte.</summary>
    public ulong Disp;

    /// <summary>First and second register operand.</summary>
    public ushort R0, R1;

    /// <summary>Base register, or <see cref="CpuState.Zero"/>, or <see cref="CpuState.BlockRip"/> for RIP-relative addresses.</summary>
    public ushort Base;

    /// <summary>Index register or <see cref="CpuState.Zero"/>.</summary>
    public ushort Index;

    /// <summary>Where the segment's base is, or <see cref="CpuState.Zero"/> where it does not matter.</summary>
    public ushort SegBase;

    /// <summary>Shift of the index.</summary>
    public byte Scale;

    /// <summary>Instruction length in bytes.</summary>
    public byte Length;

    /// <summary>Distance of the instruction from the block's first byte.</summary>
    public ushort Offset;

    /// <summary>Instructions before this one in the block.</summary>
    public ushort Ordinal;

    /// <summary>Segment of the memory operand (<see cref="SegmentIndex"/>).</summary>
    public byte Seg;

    /// <summary>Address size in bytes: 2, 4 or 8.</summary>
    public byte AddressSize;

    /// <summary>Operand size in bytes, where a handler serves several.</summary>
    public byte OperandSize;

    public InsnFlags Flags;

    /// <summary>The decoder's code (Iced's <c>Code</c>).</summary>
    public ushort Code;

    /// <summary>Third register operand.</summary>
    public ushort R2;

    /// <summary>Block that the branch goes to, when it is known to stay valid.</summary>
    public Block* Link;

    /// <summary>Handler-specific: function of a slow instruction.</summary>
    public nint Aux;
}

/// <summary>Prefixes and forms that handlers ask for.</summary>
[Flags]
internal enum InsnFlags : byte
{
    None = 0,
    Rep = 1,
    Repne = 2,
    Lock = 4,

    /// <summary>The first operand is memory.</summary>
    Memory = 8,

    /// <summary>The instruction exists, and nothing here does it.</summary>
    Unimplemented = 16,
}

/// <summary>A run of decoded instructions inside one machine page.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct Block
{
    /// <summary>Machine address of the first byte.</summary>
    public ulong Address;

    public Insn* First;

    /// <summary>Next block of the same page.</summary>
    public Block* NextInPage;

    /// <summary>Next block of the same hash bucket.</summary>
    public Block* NextInBucket;

    /// <summary>Instructions, without the end marker.</summary>
    public int Count;

    /// <summary>Bytes of code.</summary>
    public ushort ByteLength;

    public CpuMode Mode;

    /// <summary>The page changed: every instruction's handler leaves to the run loop.</summary>
    public bool Dead;
}

/// <summary>Entry of the cache from RIP to block.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct JumpEntry
{
    public ulong Rip;
    public ulong Key;
    public Insn* First;
    private ulong _pad;
}
