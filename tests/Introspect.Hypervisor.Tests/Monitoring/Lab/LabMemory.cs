using Iced.Intel;
using Introspect.Hypervisor.Core;
using static Iced.Intel.AssemblerRegisters;

namespace Introspect.Hypervisor.Tests.Monitoring.Lab;

/// <summary>
/// Memory of a small 64-bit guest: two megabytes mapped one to one by pages of 4 KiB, a GDT, a TSS, and handlers that
/// write down which exception came and where.
/// </summary>
internal static class LabMemory
{
    public const ulong Pml4 = 0x1000, Pdpt = 0x2000, Directory = 0x3000, Table = 0x4000;
    public const ulong Gdt = 0x5000, Idt = 0x6000, Tss = 0x7000, Records = 0x20000, Handlers = 0xA000;

    /// <summary>A page that programs use as they like.</summary>
    public const ulong Data = 0xC000;

    /// <summary>A page that tests take rights from. Its entry is not dirty yet; at 0x10 there is a HLT.</summary>
    public const ulong Watched = 0xD000;

    /// <summary>A second top-level table with the same contents.</summary>
    public const ulong OtherPml4 = 0xE000;

    public const ulong Code = 0x10000, StackTop = 0x80000, InterruptStack = 0x90000;
    public const ulong Bytes = 2 << 20;

    public const ushort KernelCode = 0x08, KernelData = 0x10, UserData = 0x1B, UserCode = 0x23, Task = 0x28;
    public const int RecordBytes = 32;

    /// <summary>Vectors after which the program goes on; the others end the guest.</summary>
    private static readonly HashSet<int> Returning = [1, 2, 3, 0x40, 0x41];

    private static readonly HashSet<int> WithErrorCode = [8, 10, 11, 12, 13, 14, 17];

    /// <summary>Where a vector is written down: how often, RIP, error code, DR6.</summary>
    public static ulong Record(int vector) => Records + ((ulong)vector * RecordBytes);

    private static readonly ulong[] HandlerAddresses = new ulong[0x42];

    /// <summary>Where a vector's handler begins.</summary>
    public static ulong HandlerOf(int vector) => HandlerAddresses[vector];

    public static void Fill(DomainUnderConstruction guest, Action<Assembler> program)
    {
        WriteWords(guest, Pml4, Pdpt | 7);
        WriteWords(guest, OtherPml4, Pdpt | 7);
        WriteWords(guest, Pdpt, Directory | 7);
        WriteWords(guest, Directory, Table | 7);
        WriteWords(guest, Table, [.. Enumerable.Range(0, 512).Select(static page => ((ulong)page << 12) | ((ulong)page == Watched >> 12 ? 0x27UL : 0x67))]);

        // A program that runs into the watched page halts there.
        guest.WritePhysical(Watched + 0x10, [0xF4]);
        WriteWords(
            guest,
            Gdt,
            0,
            0x00AF9B000000FFFF,
            0x00CF93000000FFFF,
            0x00CFF3000000FFFF,
            0x00AFFB000000FFFF,
            0x00008B0000000067 | ((Tss & 0xFFFFFF) << 16),
            0);
        guest.WritePhysical(Tss + 4, BitConverter.GetBytes(InterruptStack));

        // No I/O bitmap: programs at CPL 3 reach no port.
        guest.WritePhysical(Tss + 0x66, [0x68, 0]);
        var handler = Handlers;
        for (var vector = 0; vector < 0x42; vector++)
        {
            var bytes = Assemble(handler, code => Handler(code, vector));
            guest.WritePhysical(handler, bytes);
            HandlerAddresses[vector] = handler;
            WriteWords(guest, Idt + ((ulong)vector * 16), (handler & 0xFFFF) | ((ulong)KernelCode << 16) | (0xEEUL << 40) | ((handler >> 16) << 48), handler >> 32);
            handler += (ulong)bytes.Length;
        }

        Assert.True(handler <= Data);
        guest.WritePhysical(Code, Assemble(Code, program));
    }

    public static VcpuState FirstState(bool user)
    {
        var code = new SegmentState(user ? UserCode : KernelCode, user ? 0xA0FBu : 0xA09B, ~0u, 0);
        var data = new SegmentState(user ? UserData : KernelData, user ? 0xC0F3u : 0xC093, ~0u, 0);
        return new()
        {
            Rip = Code,
            Rsp = StackTop,
            Rflags = 2,
            Cr0 = 0x80050033,
            Cr3 = Pml4,
            Cr4 = 0x620,
            MsrEfer = 0xD01,
            Dr6 = 0xFFFF0FF0,
            Dr7 = 0x400,
            Cs = code,
            Ss = data,
            Ds = data,
            Es = data,
            Fs = data,
            Gs = data,
            Tr = new SegmentState(Task, 0x8B, 0x67, Tss),
            Ldtr = new SegmentState(0, 0x10000, 0, 0),
            GdtrBase = Gdt,
            GdtrLimit = 0x37,
            IdtrBase = Idt,
            IdtrLimit = (0x42 * 16) - 1,
        };
    }

    public static byte[] Assemble(ulong address, Action<Assembler> write)
    {
        var assembler = new Assembler(64);
        write(assembler);
        using var stream = new MemoryStream();
        assembler.Assemble(new StreamCodeWriter(stream), address);
        return stream.ToArray();
    }

    private static void Handler(Assembler code, int vector)
    {
        var hasError = WithErrorCode.Contains(vector);
        code.push(rax);
        code.push(rbx);
        code.mov(rbx, (long)Record(vector));
        code.inc(__qword_ptr[rbx]);
        if (hasError)
        {
            code.mov(rax, __qword_ptr[rsp + 16]);
            code.mov(__qword_ptr[rbx + 16], rax);
        }

        code.mov(rax, __qword_ptr[rsp + (hasError ? 24 : 16)]);
        code.mov(__qword_ptr[rbx + 8], rax);
        code.mov(rax, dr6);
        code.mov(__qword_ptr[rbx + 24], rax);
        code.pop(rbx);
        code.pop(rax);
        if (Returning.Contains(vector))
        {
            code.iretq();
        }
        else
        {
            code.hlt();
        }
    }

    private static void WriteWords(DomainUnderConstruction guest, ulong address, params ulong[] words) =>
        guest.WritePhysical(address, System.Runtime.InteropServices.MemoryMarshal.AsBytes(words.AsSpan()));
}
