using Iced.Intel;
using Introspect.Hypervisor.Abi;
using static Iced.Intel.AssemblerRegisters;

namespace Introspect.Hypervisor.Core.Building.Demo;

/// <summary>What the demo guest does once, in long mode, before its rounds.</summary>
internal static class DemoBoot64
{
    /// <summary>CR4 before SMEP and SMAP: PAE and PGE.</summary>
    private const ulong PlainCr4 = 0xa0;

    private const uint Cr4Smep = 1 << 20;
    private const uint Cr4Smap = 1 << 21;
    private const uint CpuidSmep = 1 << 7;
    private const uint CpuidSmap = 1 << 20;

    // STAR: SYSCALL loads CS 0x08 and SS 0x10, SYSRET CS 0x28 and SS 0x20.
    private const ulong Star = ((ulong)(DemoLayout.UserSelectorBase | 3) << 48) | ((ulong)DemoLayout.KernelCode << 32);

    private const uint MsrSysenterCs = 0x174;
    private const uint MsrSysenterEsp = 0x175;
    private const uint MsrStar = 0xc000_0081;
    private const uint MsrLstar = 0xc000_0082;
    private const uint MsrSyscallMask = 0xc000_0084;
    private const uint MsrFsBase = 0xc000_0100;
    private const uint MsrGsBase = 0xc000_0101;
    private const uint MsrKernelGsBase = 0xc000_0102;

    /// <summary>TF, IF, DF, IOPL, NT and AC are clear in a system call.</summary>
    private const ulong SyscallMask = 0x4_7700;

    public static List<DemoEmitter.Expectation> Emit(DemoEmitter e, DemoKernel kernel)
    {
        List<DemoEmitter.Expectation> script = e.Begin();
        Assembler c = e.Asm;
        e.Here("entry64");
        c.mov(eax, DemoLayout.KernelData);
        c.mov(ds, eax);
        c.mov(es, eax);
        c.mov(ss, eax);
        c.mov(esp, (uint)DemoLayout.MainStackTop);
        EmitGates(e, kernel);
        e.LoadDescriptor(DescriptorRegister.Idtr, () => c.lidt(__[DemoLayout.IdtPointer]));
        c.mov(eax, DemoLayout.TaskSelector);
        e.LoadDescriptor(DescriptorRegister.Tr, () => c.ltr(ax));
        EmitMsrs(e, kernel);
        EmitFirstFrames(e);
        EmitCpuid(e);
        EmitXen(e);
        kernel.Print("introspect demo guest: long mode");
        EmitProtection(e, kernel);
        return script;
    }

    private static void EmitGates(DemoEmitter e, DemoKernel kernel)
    {
        Assembler c = e.Asm;
        e.Here("make_gates");
        c.mov(edi, (uint)DemoLayout.Idt);
        c.lea(rsi, __[kernel.FaultHandler.Label]);
        c.mov(ecx, (uint)DemoLayout.IdtEntries);
        DemoMark next = e.Here();
        EmitGate(c);
        c.add(edi, 16);
        c.dec(ecx);
        c.jne(next.Label);

        const uint BreakpointVector = 3;
        const uint DoubleFaultVector = 8;
        c.mov(edi, (uint)DemoLayout.Idt + (BreakpointVector * 16));
        c.lea(rsi, __[kernel.BreakpointHandler.Label]);
        EmitGate(c);

        // A double fault comes on the stack of IST 1, for the one at hand may be what is broken.
        c.mov(eax, (uint)DemoLayout.Idt + (DoubleFaultVector * 16));
        c.mov(__byte_ptr[rax + 4], 1);
    }

    // An interrupt gate at RDI for the handler at RSI, both below 4 GiB.
    private static void EmitGate(Assembler c)
    {
        const uint PresentInterruptGate = 0x8e00;
        c.movzx(eax, si);
        c.or(eax, (uint)DemoLayout.KernelCode << 16);
        c.mov(__dword_ptr[rdi], eax);
        c.mov(eax, esi);
        c.and(eax, 0xffff_0000);
        c.or(eax, PresentInterruptGate);
        c.mov(__dword_ptr[rdi + 4], eax);
        c.mov(__qword_ptr[rdi + 8], 0);
    }

    private static void EmitMsrs(DemoEmitter e, DemoKernel kernel)
    {
        e.Here("set_msrs");
        e.SetMsr(MsrSysenterCs, 0, DemoLayout.KernelCode);
        e.SetMsr(MsrSysenterEsp, 0, DemoLayout.MainStackTop);
        e.SetMsr(MsrStar, 0, Star);
        e.SetMsrToAddress(MsrLstar, 0, kernel.SystemCall);
        e.SetMsr(MsrSyscallMask, 0, SyscallMask);

        // Task B's, so that every round begins alike.
        e.SetMsr(MsrFsBase, 0, DemoLayout.ThreadLocalB);
        e.SetMsr(MsrGsBase, 0, DemoLayout.PerCpu);
        e.SetMsr(MsrKernelGsBase, 0, DemoLayout.UserStackVirtual);
    }

    // Each task's stack starts with six zero registers and its entry, which is what switch_task takes off it.
    private static void EmitFirstFrames(DemoEmitter e)
    {
        Assembler c = e.Asm;
        foreach (DemoTask task in new[] { DemoTask.A, DemoTask.B, DemoTask.C })
        {
            c.lea(rax, __[e.Entry(task).Label]);
            c.mov(__qword_ptr[DemoLayout.StackTop(task) - 8], rax);
        }
    }

    private static void EmitCpuid(DemoEmitter e)
    {
        Assembler c = e.Asm;
        DemoMark noLeaf7 = e.Mark();
        e.Here("ask_cpuid");
        e.Cpuid(0);
        c.mov(ebp, eax);
        e.Cpuid(1);
        c.cmp(ebp, 7);
        c.jb(noLeaf7.Label);
        e.Cpuid(7, when: cpu => cpu.HasLeaf7);
        c.mov(__dword_ptr[DemoLayout.ProtectionOffered], ebx);
        e.Place(noLeaf7);
        c.nop();
    }

    private static void EmitXen(DemoEmitter e)
    {
        // "XenVMMXenVMM" in EBX, ECX, EDX.
        const uint First = 0x566e_6558;
        const uint Second = 0x6558_4d4d;
        const uint Third = 0x4d4d_566e;

        Assembler c = e.Asm;
        DemoMark notHere = e.Mark();
        DemoMark done = e.Mark();
        e.Here("find_xen");
        c.mov(ebp, DemoLayout.FirstHypervisorLeaf);
        DemoMark next = e.Here("find_xen_group");
        e.CpuidOfHypervisorGroups();
        c.cmp(ebx, First);
        c.jne(notHere.Label);
        c.cmp(ecx, Second);
        c.jne(notHere.Label);
        c.cmp(edx, Third);
        c.jne(notHere.Label);

        e.CpuidOfXen(1);
        e.CpuidOfXen(2);
        c.mov(ecx, ebx);
        e.WriteHypercallMsr();
        c.mov(__dword_ptr[DemoLayout.XenBase], ebp);
        c.jmp(done.Label);

        e.Place(notHere);
        c.add(ebp, 0x100);
        c.cmp(ebp, DemoLayout.LastHypervisorLeaf);
        c.jbe(next.Label);
        e.Place(done);
        c.nop();
    }

    private static void EmitProtection(DemoEmitter e, DemoKernel kernel)
    {
        Assembler c = e.Asm;
        e.Here("set_protection");
        c.mov(rax, cr4);
        c.or(eax, 0x80);
        e.WriteControl(ControlRegisterIndex.Cr4, _ => (DemoBoot32.LongModeCr4, PlainCr4));

        SetProtection(e, CpuidSmep, Cr4Smep, cpu => HasSmep(cpu) ? (PlainCr4, PlainCr4 | Cr4Smep) : null);
        SetProtection(e, CpuidSmap, Cr4Smap, cpu =>
            HasSmap(cpu) ? (PlainCr4 | SmepOf(cpu), PlainCr4 | SmepOf(cpu) | Cr4Smap) : null);

        e.Here("clear_smep");
        ClearProtection(e, kernel, "SMEP", CpuidSmep, Cr4Smep, HasSmep, cpu => PlainCr4 | SmepOf(cpu) | SmapOf(cpu));
        e.Here("clear_smap");
        ClearProtection(e, kernel, "SMAP", CpuidSmap, Cr4Smap, HasSmap, cpu =>
            PlainCr4 | SmapOf(cpu) | (cpu.ClearsAreDenied ? SmepOf(cpu) : 0));
    }

    private static void SetProtection(DemoEmitter e, uint offered, uint bit, Func<DemoCpu, (ulong Old, ulong New)?> values)
    {
        Assembler c = e.Asm;
        DemoMark skip = e.Mark();
        c.test(__dword_ptr[DemoLayout.ProtectionOffered], offered);
        c.je(skip.Label);
        c.mov(rax, cr4);
        c.or(eax, bit);
        e.WriteControl(ControlRegisterIndex.Cr4, values);
        e.Place(skip);
        c.nop();
    }

    // Says afterwards whether the clear took effect: a monitor that denies it is seen here.
    private static void ClearProtection(
        DemoEmitter e,
        DemoKernel kernel,
        string name,
        uint offered,
        uint bit,
        Func<DemoCpu, bool> has,
        Func<DemoCpu, ulong> before)
    {
        Assembler c = e.Asm;
        string still = $"{name} still set";
        string cleared = $"{name} cleared";
        DemoMark skip = e.Mark();
        DemoMark gone = e.Mark();
        c.test(__dword_ptr[DemoLayout.ProtectionOffered], offered);
        c.je(skip.Label);
        c.mov(rax, cr4);
        c.and(eax, ~bit);
        e.WriteControl(ControlRegisterIndex.Cr4, cpu => has(cpu) ? (before(cpu), before(cpu) & ~(ulong)bit) : null);
        kernel.ExpectPrint(cpu => !has(cpu) ? null : cpu.ClearsAreDenied ? still : cleared);
        c.mov(rax, cr4);
        c.test(eax, bit);
        c.je(gone.Label);
        kernel.CallPrint(still);
        c.jmp(skip.Label);
        e.Place(gone);
        kernel.CallPrint(cleared);
        e.Place(skip);
        c.nop();
    }

    private static bool HasSmep(DemoCpu cpu) => cpu is { HasLeaf7: true, Smep: true };

    private static bool HasSmap(DemoCpu cpu) => cpu is { HasLeaf7: true, Smap: true };

    private static ulong SmepOf(DemoCpu cpu) => HasSmep(cpu) ? Cr4Smep : 0UL;

    private static ulong SmapOf(DemoCpu cpu) => HasSmap(cpu) ? Cr4Smap : 0UL;
}
