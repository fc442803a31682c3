using Iced.Intel;
using Introspect.Hypervisor.Abi;
using static Iced.Intel.AssemblerRegisters;

namespace Introspect.Hypervisor.Core.Building.Demo;

/// <summary>The demo guest's rounds: what each task does in its turn, and what the main task does at the end.</summary>
internal sealed class DemoTasks(DemoEmitter e, DemoEmitter user, DemoKernel kernel, DemoGuestOptions options)
{
    private const uint MsrFsBase = 0xc000_0100;

    /// <summary>A port that nobody answers at: POST codes on hardware.</summary>
    private const byte PostPort = 0x80;

    private const string LineA = "task a: read the watched page";
    private const string LineB = "task b: wrote and ran the watched page";
    private const string LineC = "task c: in ring 3";

    /// <summary>Emits the main task's loop; gives the script of a round's first part and that of the end.</summary>
    public (List<DemoEmitter.Expectation> Round, List<DemoEmitter.Expectation> End, DemoMark StepEnd) EmitMain()
    {
        List<DemoEmitter.Expectation> round = e.Begin();
        Assembler c = e.Asm;
        DemoMark again = e.Here("round");
        c.inc(__qword_ptr[DemoLayout.Counter]);

        c.mov(rax, cr0);
        c.or(eax, 8);
        e.WriteControl(ControlRegisterIndex.Cr0, _ => (DemoBoot32.RunningCr0, DemoBoot32.RunningCr0 | 8));
        e.ClearTaskSwitched(DemoBoot32.RunningCr0 | 8);

        e.Breakpoint();
        kernel.GuestRequest();
        DemoMark stepEnd = EmitStepped();
        EmitWork();
        c.mov(al, 0x42);
        e.Port(PostPort, input: false);
        e.Port(PostPort, input: true);

        // The same value: a TLB flush, of which no monitor hears.
        c.mov(rax, cr3);
        e.WriteControl(ControlRegisterIndex.Cr3, _ => (DemoLayout.MainRoot, DemoLayout.MainRoot));
        kernel.SwitchTo(DemoTask.A, DemoTask.Main);

        if (options.Forever)
        {
            c.jmp(again.Label);
            return (round, [], stepEnd);
        }

        c.dec(__qword_ptr[DemoLayout.RoundsLeft]);
        c.jne(again.Label);
        List<DemoEmitter.Expectation> end = e.Begin();
        kernel.Print("introspect demo guest: done");
        kernel.PowerOff();
        return (round, end, stepEnd);
    }

    /// <summary>Emits task A; gives its script of a round.</summary>
    public List<DemoEmitter.Expectation> EmitA()
    {
        List<DemoEmitter.Expectation> script = e.Begin();
        Assembler c = e.Asm;
        e.Place(e.Entry(DemoTask.A));
        e.SetMsr(MsrFsBase, DemoLayout.ThreadLocalB, DemoLayout.ThreadLocalA);
        c.inc(__qword_ptr.fs[0]);
        c.mov(edi, (uint)DemoLayout.OwnPages);
        c.inc(__qword_ptr[rdi]);
        c.mov(edi, (uint)DemoLayout.WatchedRead);
        e.ExpectAccess(DemoLayout.WatchedRead, MemAccessFlags.Read);
        c.mov(rax, __qword_ptr[rdi]);
        PrintInRounds(LineA);
        kernel.SwitchTo(DemoTask.B, DemoTask.A);
        c.jmp(e.Entry(DemoTask.A).Label);
        return script;
    }

    /// <summary>Emits task B; gives its script of a round.</summary>
    public List<DemoEmitter.Expectation> EmitB()
    {
        List<DemoEmitter.Expectation> script = e.Begin();
        Assembler c = e.Asm;
        e.Place(e.Entry(DemoTask.B));
        e.SetMsr(MsrFsBase, DemoLayout.ThreadLocalA, DemoLayout.ThreadLocalB);
        c.inc(__qword_ptr.fs[0]);
        c.mov(edi, (uint)DemoLayout.OwnPages);
        c.inc(__qword_ptr[rdi]);
        c.mov(edi, (uint)DemoLayout.WatchedWrite);
        c.mov(eax, 0x5a5a);
        e.ExpectAccess(DemoLayout.WatchedWrite, MemAccessFlags.Write);
        c.mov(__qword_ptr[rdi], rax);
        c.mov(eax, (uint)DemoLayout.WatchedCode);
        c.call(rax);
        e.ExpectFetch(DemoLayout.WatchedCode);
        PrintInRounds(LineB);
        kernel.SwitchTo(DemoTask.C, DemoTask.B);
        c.jmp(e.Entry(DemoTask.B).Label);
        return script;
    }

    /// <summary>Emits task C, in the kernel up to ring 3 and there; gives its script of a round.</summary>
    public List<DemoEmitter.Expectation> EmitC()
    {
        Assembler c = e.Asm;
        e.Begin();
        e.Place(e.Entry(DemoTask.C));
        c.push(DemoLayout.UserData | 3);
        c.mov(eax, (uint)(DemoLayout.UserStackVirtual + DemoLayout.Page));
        c.push(rax);
        c.push(2);
        c.push(DemoLayout.UserCodeSelector | 3);
        c.mov(eax, (uint)DemoLayout.OwnPages);
        c.push(rax);
        c.swapgs();
        c.iretq();

        List<DemoEmitter.Expectation> script = user.Begin();
        c = user.Asm;
        DemoMark again = user.Here("user_task");
        c.mov(edi, (uint)DemoLayout.UserStackVirtual);
        c.inc(__qword_ptr[rdi]);
        user.Cpuid(1);
        if (!options.Forever)
        {
            c.mov(eax, 1);
            c.syscall();
            DemoKernel.ExpectPrint(user, LineC);
        }

        c.xor(eax, eax);
        c.syscall();
        kernel.ExpectSwitch(user, DemoTask.C, DemoTask.Main);
        c.jmp(again.Label);
        return script;
    }

    /// <summary>What the kernel does when the user task asks for its line.</summary>
    public static void EmitUserLine(DemoKernel kernel) => kernel.CallPrint(LineC);

    private void PrintInRounds(string line)
    {
        if (!options.Forever)
        {
            kernel.Print(line);
        }
    }

    // CPUID is where a monitor that wants to step begins: it sets RIP behind it, to step_here, and toggles.
    private DemoMark EmitStepped()
    {
        Assembler c = e.Asm;
        e.Here("step_trigger");
        e.Cpuid(0x8000_0000);
        e.Here("step_here");
        c.mov(eax, 7);
        c.lea(rcx, __[rax + rax * 4]);
        c.imul(rcx, rax);
        c.push(rcx);
        c.xor(ecx, ecx);
        c.pop(rdx);
        c.sub(edx, 245);
        DemoMark equal = e.Mark();
        c.je(equal.Label);
        c.ud2();
        e.Place(equal);
        c.nop();
        return e.Here("step_end");
    }

    // A linear congruential generator that scatters its values over a page.
    private void EmitWork()
    {
        if (options.WorkPerRound <= 0)
        {
            return;
        }

        Assembler c = e.Asm;
        c.mov(ecx, (uint)options.WorkPerRound);
        c.mov(rax, __qword_ptr[DemoLayout.Counter]);
        c.mov(rdi, 6364136223846793005UL);
        c.mov(rsi, 1442695040888963407UL);
        DemoMark again = e.Here("work");
        c.imul(rax, rdi);
        c.add(rax, rsi);
        c.mov(rdx, rax);
        c.shr(rdx, 55);
        c.mov(__qword_ptr[rdx * 8 + (long)DemoLayout.WorkBuffer], rax);
        c.dec(ecx);
        c.jne(again.Label);
    }
}
