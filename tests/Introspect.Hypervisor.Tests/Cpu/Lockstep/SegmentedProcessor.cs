using System.Runtime.InteropServices;

namespace Introspect.Hypervisor.Tests.Cpu.Lockstep;

/// <summary>How a segmented instruction runs: its code size, its stack's size, and whether segments have bases.</summary>
internal readonly record struct SegmentedMode(int Bits, int StackBits, bool Flat)
{
    public override string ToString() => $"{Bits}-bit code, {StackBits}-bit stack{(Flat ? ", flat" : "")}";
}

/// <summary>Where code, data, the extra segment and the stack are, the same natively and in the guest.</summary>
internal static class SegmentedLayout
{
    public const uint Code = 0x600000;
    public const uint Data = Code + 0x10000;
    public const uint Extra = Code + 0x20000;
    public const uint Stack = Code + 0x30000;
    public const uint Control = Code + 0x40000;
    public const uint Block = Control + 0x1000;
    public const int Bytes = 0x42000;

    /// <summary>Where in the code segment the instruction is.</summary>
    public const uint Slot = 0x100;
}

/// <summary>
/// Runs single 16- and 32-bit instructions on the processor of this host, which a 64-bit process may do by a far jump
/// into a segment of its local descriptor table. Signals are blocked meanwhile: a handler would be given the
/// segment's stack pointer for an address.
/// </summary>
internal sealed unsafe partial class SegmentedProcessor : IDisposable
{
    private const ushort FlatCode32 = 0x23;
    private const ushort FlatData = 0x2B;
    private const ushort Code64 = 0x33;

    // Words of the block.
    private const int FlagsIn = 8;
    private const int Out = 9;
    private const int FlagsOut = 17;
    private const int HostStack = 18;
    private const int HostSegments = 19;
    private const int SegmentsIn = 20;
    private const int Target = 21;
    private const int Ds = 3;
    private const int Es = 0;
    private const int Ss = 2;
    private const int Esp = 4;

    private readonly byte* _exit;
    private byte* _p;

    private SegmentedProcessor()
    {
        _p = (byte*)SegmentedLayout.Control;
        Entry();
        _exit = _p;
        Exit();
        new Span<byte>((byte*)SegmentedLayout.Data, 0x30000).Clear();
    }

    /// <summary>The processor, or why this host does not let us have it.</summary>
    public static SegmentedProcessor? TryCreate(out string? reason)
    {
        reason = NativeProcessor.Unsuitable;
        if (reason != null)
        {
            return null;
        }

        // Read, write and execute; private, anonymous, and at this address or nowhere.
        const int Protection = 7, Flags = 0x100022;
        var address = Mmap((nint)SegmentedLayout.Code, SegmentedLayout.Bytes, Protection, Flags, -1, 0);
        if (address != (nint)SegmentedLayout.Code)
        {
            if (address != -1)
            {
                _ = Munmap(address, SegmentedLayout.Bytes);
            }

            reason = "the host does not give writable and executable memory at a low address";
            return null;
        }

        if (!Describe(0, SegmentedLayout.Code, code: true, bits: 32) || !Describe(1, SegmentedLayout.Code, code: true, bits: 16)
            || !Describe(2, SegmentedLayout.Data, code: false, bits: 32) || !Describe(3, SegmentedLayout.Extra, code: false, bits: 32)
            || !Describe(4, SegmentedLayout.Stack, code: false, bits: 32) || !Describe(5, SegmentedLayout.Stack, code: false, bits: 16))
        {
            _ = Munmap(address, SegmentedLayout.Bytes);
            reason = "the host does not let a process have a local descriptor table";
            return null;
        }

        return new SegmentedProcessor();
    }

    /// <summary>Puts an instruction in place, in a mode.</summary>
    public void Place(ReadOnlySpan<byte> code, SegmentedMode mode)
    {
        _p = (byte*)(SegmentedLayout.Code + SegmentedLayout.Slot);
        Emit(code);
        if (mode.Bits == 16)
        {
            Emit(0x66);
        }

        Emit(0xEA); // jmp far to the exit
        Dword((uint)(nint)_exit);
        Emit((byte)Code64, (byte)(Code64 >> 8));
        var target = (byte*)(SegmentedLayout.Block + (Target * 8));
        *(uint*)target = mode.Flat ? SegmentedLayout.Code + SegmentedLayout.Slot : SegmentedLayout.Slot;
        *(ushort*)(target + 4) = mode.Flat ? FlatCode32 : Selector(mode.Bits == 32 ? 0 : 1);
        var segments = (ushort*)(SegmentedLayout.Block + (SegmentsIn * 8));
        segments[0] = mode.Flat ? FlatData : Selector(2);
        segments[1] = mode.Flat ? FlatData : Selector(3);
        segments[2] = mode.Flat ? FlatData : Selector(mode.StackBits == 32 ? 4 : 5);
    }

    /// <summary>Runs the instruction on registers and flags in place.</summary>
    public void Run(Registers* registers)
    {
        var block = (ulong*)SegmentedLayout.Block;
        for (var n = 0; n < 8; n++)
        {
            block[n] = registers->Gpr[n];
        }

        block[FlagsIn] = registers->Flags | 0x202;
        var all = ulong.MaxValue;
        ulong before;
        _ = SignalMask(0, &all, &before);

        // SAFETY: the entry keeps the calling convention's registers; what the instruction may touch was chosen by the
        // caller to be in the segments.
        ((delegate* unmanaged<void>)SegmentedLayout.Control)();
        _ = SignalMask(2, &before, null);
        for (var n = 0; n < 8; n++)
        {
            registers->Gpr[n] = block[Out + n];
        }

        registers->Flags = (uint)block[FlagsOut];
    }

    public void Dispose() => _ = Munmap((nint)SegmentedLayout.Code, SegmentedLayout.Bytes);

    private static ushort Selector(int entry) => (ushort)((entry << 3) | 7);

    /// <summary>Writes a descriptor: code reaches over 4 GiB, data over 64 KiB.</summary>
    private static bool Describe(uint entry, uint @base, bool code, int bits)
    {
        const uint CodeContents = 2 << 1, LimitInPages = 1 << 4, Usable = 1 << 6;
        var description = stackalloc uint[4];
        description[0] = entry;
        description[1] = @base;
        description[2] = code ? 0xFFFFFu : 0xFFFF;
        description[3] = (bits == 32 ? 1u : 0) | (code ? CodeContents | LimitInPages : 0) | Usable;
        const long ModifyLdt = 154;
        return SystemCall(ModifyLdt, 1, (nint)description, 16) == 0;
    }

    private void Entry()
    {
        Emit(0x53, 0x55, 0x41, 0x54, 0x41, 0x55, 0x41, 0x56, 0x41, 0x57); // push rbx rbp r12 r13 r14 r15
        Emit(0x48);
        Absolute(0x89, Esp, HostStack);
        Absolute(0x8C, Ds, HostSegments);
        Absolute(0x8C, Es, HostSegments, 2);
        Absolute(0x8C, Ss, HostSegments, 4);
        Absolute(0xFF, 6, FlagsIn); // push
        Emit(0x9D); // popfq
        Absolute(0x8E, Ds, SegmentsIn);
        Absolute(0x8E, Es, SegmentsIn, 2);
        Absolute(0x8E, Ss, SegmentsIn, 4);
        Absolute(0x8B, Esp, Esp);
        for (var n = 0; n < 8; n++)
        {
            if (n != Esp)
            {
                Absolute(0x8B, n, n);
            }
        }

        Absolute(0xFF, 5, Target); // jmp far
    }

    private void Exit()
    {
        for (var n = 0; n < 8; n++)
        {
            Absolute(0x89, n, Out + n);
        }

        Absolute(0x8E, Ss, HostSegments, 4);
        Emit(0x48);
        Absolute(0x8B, Esp, HostStack);
        Emit(0x9C); // pushfq
        Absolute(0x8F, 0, FlagsOut); // pop
        Emit(0xFC); // cld, as the calling convention wants
        Absolute(0x8E, Ds, HostSegments);
        Absolute(0x8E, Es, HostSegments, 2);
        Emit(0x41, 0x5F, 0x41, 0x5E, 0x41, 0x5D, 0x41, 0x5C, 0x5D, 0x5B, 0xC3);
    }

    /// <summary>An opcode with a register and a word of the block, at its absolute address.</summary>
    private void Absolute(byte opcode, int register, int word, int offset = 0)
    {
        Emit(opcode, (byte)((register << 3) | 4), 0x25);
        Dword(SegmentedLayout.Block + (uint)(word * 8) + (uint)offset);
    }

    private void Dword(uint value)
    {
        *(uint*)_p = value;
        _p += 4;
    }

    private void Emit(params ReadOnlySpan<byte> bytes)
    {
        bytes.CopyTo(new Span<byte>(_p, bytes.Length));
        _p += bytes.Length;
    }

    [LibraryImport("libc", EntryPoint = "mmap")]
    private static partial nint Mmap(nint address, nint length, int protection, int flags, int file, long offset);

    [LibraryImport("libc", EntryPoint = "munmap")]
    private static partial int Munmap(nint address, nint length);

    [LibraryImport("libc", EntryPoint = "syscall")]
    private static partial long SystemCall(long number, long first, nint second, long third);

    // The kernel's mask is 8 bytes, the library's 128: the raw call.
    private static long SignalMask(int how, ulong* set, ulong* old) => SignalMaskCall(14, how, (nint)set, (nint)old, 8);

    [LibraryImport("libc", EntryPoint = "syscall")]
    private static partial long SignalMaskCall(long number, long how, nint set, nint old, long size);
}
