using Introspect.Hypervisor;
using Introspect.Hypervisor.Core;

namespace Introspect.Rules.Tests.Core;

/// <summary>Where the small guests on the real core begin: in 64-bit code, with their first 2 MiB mapped as they are.</summary>
internal static class LongModeStart
{
    /// <summary>The first instruction.</summary>
    public const ulong Code = 0x10000;

    /// <summary>The descriptor table, of three entries.</summary>
    public const ulong Gdt = 0x5000;

    /// <summary>Bytes of the descriptor table, without one.</summary>
    public const uint GdtLimit = 0x17;

    private const ulong Pdpt = 0x2000, Directory = 0x3000, Table = 0x4000, Stack = 0x7000;

    /// <summary>Writes page tables that all these roots share, the descriptor table and the code.</summary>
    public static void Write(DomainUnderConstruction guest, byte[] code, params ReadOnlySpan<ulong> roots)
    {
        foreach (var root in roots)
        {
            WriteWords(guest, root, Pdpt | 3);
        }

        WriteWords(guest, Pdpt, Directory | 3);
        WriteWords(guest, Directory, Table | 3);
        WriteWords(guest, Table, [.. Enumerable.Range(0, 512).Select(static page => ((ulong)page << 12) | 0x63)]);
        WriteWords(guest, Gdt, 0, 0x00AF9B000000FFFF, 0x00CF93000000FFFF);
        guest.WritePhysical(Code, code);
    }

    /// <summary>The vCPU at the first instruction.</summary>
    public static VcpuState State(ulong root)
    {
        var data = new SegmentState(0x10, 0xC093, ~0u, 0);
        return new VcpuState
        {
            Rip = Code,
            Rsp = Stack,
            Rflags = 2,
            Cr0 = 0x80050033,
            Cr3 = root,
            Cr4 = 0x620,
            MsrEfer = 0xD01,
            Dr6 = 0xFFFF0FF0,
            Dr7 = 0x400,
            Cs = new SegmentState(0x08, 0xA09B, ~0u, 0),
            Ss = data,
            Ds = data,
            Es = data,
            Fs = data,
            Gs = data,
            Tr = new SegmentState(0x18, 0x8B, 0x67, 0x6000),
            Ldtr = new SegmentState(0, 0x10000, 0, 0),
            GdtrBase = Gdt,
            GdtrLimit = GdtLimit,
        };
    }

    /// <summary>Writes some words.</summary>
    public static void WriteWords(DomainUnderConstruction guest, ulong address, params ulong[] words) =>
        guest.WritePhysical(address, System.Runtime.InteropServices.MemoryMarshal.AsBytes(words.AsSpan()));
}
