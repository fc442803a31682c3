using System.Runtime.InteropServices;
using Introspect.Hypervisor.Linux;

namespace Introspect.Hypervisor.Tests.Cpu.Lockstep;

/// <summary>
/// Runs single instructions on the processor of this host: each in a trampoline that loads the general registers
/// and flags from a block, runs the instruction and stores them back. Everything is addressed relative to RIP,
/// so that no register is lost to the trampoline.
/// </summary>
internal sealed unsafe class NativeProcessor : IDisposable
{
    public const int ScratchPages = 3;
    private const int SlotBytes = 512;

    // What a signal handler may take of the scratch stack, which is in force while an instruction runs.
    private const int StackBytes = 256 << 10;

    private const int In = 0;
    private const int FlagsIn = 16;
    private const int Out = 17;
    private const int FlagsOut = 33;
    private const int HostStack = 34;
    private const int Rsp = 4;

    private readonly MappedMemory _memory;
    private readonly byte* _block;
    private int _slots;

    public NativeProcessor(int instructions)
    {
        CodeBytes = ((instructions * SlotBytes) + 4095) & ~4095;
        _memory = MappedMemory.AllocatePrivate(CodeBytes + 4096 + (ScratchPages * 4096) + StackBytes + 4096);
        _block = (byte*)_memory.Address + CodeBytes;
    }

    /// <summary>Why this host cannot be compared with, or null.</summary>
    public static string? Unsuitable =>
        RuntimeInformation.ProcessArchitecture != Architecture.X64 ? "the host is no x86-64 processor"
        : !System.Runtime.Intrinsics.X86.Bmi2.X64.IsSupported || !System.Runtime.Intrinsics.X86.Lzcnt.IsSupported
            ? "the host's processor lacks BMI2 or LZCNT" : null;

    /// <summary>Pages for memory operands.</summary>
    public ulong Scratch => (ulong)_block + 4096;

    /// <summary>Where RSP points; the page above the stack is there, too.</summary>
    public ulong StackTop => Scratch + (ScratchPages * 4096) + StackBytes + 2048;

    private int CodeBytes { get; }

    /// <summary>Puts code into a trampoline and gives its number. All before <see cref="Seal"/>.</summary>
    public int Add(ReadOnlySpan<byte> code)
    {
        var slot = _slots++;
        var p = (byte*)_memory.Address + (slot * SlotBytes);
        Emit(ref p, 0x53, 0x55, 0x41, 0x54, 0x41, 0x55, 0x41, 0x56, 0x41, 0x57); // push rbx rbp r12 r13 r14 r15
        Store(ref p, Rsp, HostStack);
        Emit(ref p, 0xFF, 0x35); // push [rip+d]
        Displacement(ref p, FlagsIn);
        Emit(ref p, 0x9D); // popfq
        for (var n = 0; n < 16; n++)
        {
            Move(ref p, 0x8B, n, In + n);
        }

        code.CopyTo(new Span<byte>(p, code.Length));
        p += code.Length;
        for (var n = 0; n < 16; n++)
        {
            Store(ref p, n, Out + n);
        }

        Move(ref p, 0x8B, Rsp, HostStack);
        Emit(ref p, 0x9C, 0x8F, 0x05); // pushfq; pop [rip+d]
        Displacement(ref p, FlagsOut);
        Emit(ref p, 0xFC); // cld, as the calling convention wants
        Emit(ref p, 0x41, 0x5F, 0x41, 0x5E, 0x41, 0x5D, 0x41, 0x5C, 0x5D, 0x5B, 0xC3);
        return slot;
    }

    public void Seal() => _memory.MakeExecutable(0, CodeBytes);

    /// <summary>Runs an instruction on registers and flags in place.</summary>
    public void Run(int slot, Registers* registers)
    {
        var block = (ulong*)_block;
        for (var n = 0; n < 16; n++)
        {
            block[In + n] = registers->Gpr[n];
        }

        // Bit 1 and IF are what a process always has.
        block[FlagsIn] = registers->Flags | 0x202;

        // SAFETY: the slot holds a whole function that keeps the calling convention's registers; what the
        // instruction may touch was chosen by the caller to be scratch.
        ((delegate* unmanaged<void>)(_memory.Address + (slot * SlotBytes)))();
        for (var n = 0; n < 16; n++)
        {
            registers->Gpr[n] = block[Out + n];
        }

        registers->Flags = (uint)block[FlagsOut];
    }

    public void Dispose() => _memory.Dispose();

    private static void Emit(ref byte* p, params ReadOnlySpan<byte> bytes)
    {
        bytes.CopyTo(new Span<byte>(p, bytes.Length));
        p += bytes.Length;
    }

    private void Store(ref byte* p, int register, int word) => Move(ref p, 0x89, register, word);

    /// <summary>mov between a register and a word of the block.</summary>
    private void Move(ref byte* p, byte opcode, int register, int word)
    {
        Emit(ref p, (byte)(0x48 | ((register >> 3) << 2)), opcode, (byte)(((register & 7) << 3) | 5));
        Displacement(ref p, word);
    }

    private void Displacement(ref byte* p, int word)
    {
        *(int*)p = (int)(_block + (word * 8) - (p + 4));
        p += 4;
    }
}

/// <summary>What an instruction gets and gives.</summary>
internal unsafe struct Registers
{
    public fixed ulong Gpr[16];
    public uint Flags;
}
