using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Introspect.XenLab.Guest;

/// <summary>The trace guest's way from the PVH entry into long mode.</summary>
internal static class TraceBoot
{
    private const uint MsrEfer = 0xc000_0080;

    /// <summary>SCE, LME, NXE.</summary>
    private const uint Efer = 0x901;

    /// <summary>PG, WP, NE, MP.</summary>
    private const uint LongModeCr0 = 0x8001_0022;

    private const uint Pae = 0x20;

    public static void Emit32(Assembler c)
    {
        c.cli();
        c.cld();
        c.mov(esp, (uint)TraceLayout.KernelStackTop);
        c.mov(__dword_ptr[TraceLayout.StartInfo], ebx);

        // Where the start info lies is the toolstack's choice: no event may tell.
        c.xor(ebx, ebx);
        c.xor(eax, eax);
        c.xor(ecx, ecx);
        c.cpuid();
        c.xor(eax, eax);
        c.xor(ebx, ebx);
        c.xor(ecx, ecx);
        c.xor(edx, edx);
        c.lgdt(__[TraceLayout.GdtPointer]);
        c.mov(eax, cr4);
        c.or(eax, Pae);
        c.mov(cr4, eax);
        c.mov(eax, (uint)TraceLayout.RootA);
        c.mov(cr3, eax);
        c.mov(ecx, MsrEfer);
        c.rdmsr();
        c.or(eax, Efer);
        c.wrmsr();
        c.mov(eax, cr0);
        c.or(eax, LongModeCr0);
        c.mov(cr0, eax);
        c.AddInstruction(Instruction.CreateBranch(Code.Jmp_ptr1632, TraceLayout.KernelCode, (uint)TraceLayout.Code64));
    }

    public static void Emit64(Assembler c)
    {
        c.mov(eax, TraceLayout.KernelData);
        c.mov(ds, eax);
        c.mov(es, eax);
        c.mov(ss, eax);
        c.xor(eax, eax);
        c.mov(fs, eax);
        c.mov(gs, eax);
        c.mov(esp, (uint)TraceLayout.KernelStackTop);

        // Where the hypercall page is to be: Xen's own leaves come first, as no guest of the lab has others.
        const uint HypercallMsr = 0x4000_0000;
        c.mov(ecx, HypercallMsr);
        c.mov(eax, (uint)TraceLayout.HypercallPage);
        c.xor(edx, edx);
        c.wrmsr();
        c.lidt(__[TraceLayout.IdtPointer]);
        c.mov(eax, TraceLayout.TaskSelector);
        c.ltr(ax);
    }
}
