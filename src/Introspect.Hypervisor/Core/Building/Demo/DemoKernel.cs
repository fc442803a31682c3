using Iced.Intel;
using Introspect.Hypervisor.Abi;
using static Iced.Intel.AssemblerRegisters;

namespace Introspect.Hypervisor.Core.Building.Demo;

/// <summary>
/// The routines that everything in the demo guest's kernel uses: console, task switch, exception and system call
/// entry. They record nothing by themselves; who emits a call of one records what the call does.
/// </summary>
internal sealed class DemoKernel
{
    private const uint HypercallConsoleIo = 18;
    private const uint HypercallSchedOp = 29;
    private const uint HypercallHvmOp = 34;
    private const uint SchedOpShutdown = 2;
    private const uint HvmOpGuestRequest = 24;

    /// <summary>Code, for isa-debug-exit and the like, of a run that ended as it should.</summary>
    private const uint DebugExitDone = 0x10;

    private const uint DebugExitFault = 0x11;
    private const byte DebugConsolePort = 0xe9;
    private const byte DebugExitPort = 0xf4;

    private readonly DemoEmitter _e;
    private readonly DemoStrings _strings;
    private readonly bool _mirror;
    private readonly DemoMark _print;
    private readonly DemoMark _switch;
    private readonly DemoMark _switchCr3;
    private readonly DemoMark _shutdown;

    public DemoKernel(DemoEmitter e, DemoStrings strings, bool mirror)
    {
        _e = e;
        _strings = strings;
        _mirror = mirror;
        _print = e.Mark("print");
        _switch = e.Mark("switch_task");
        _switchCr3 = e.Mark("switch_cr3");
        _shutdown = e.Mark("shutdown");
        BreakpointHandler = e.Mark("breakpoint_handler");
        FaultHandler = e.Mark("unexpected_fault");
        SystemCall = e.Mark("system_call");
    }

    /// <summary>Handler of vector 3.</summary>
    public DemoMark BreakpointHandler { get; }

    /// <summary>Handler of every other exception.</summary>
    public DemoMark FaultHandler { get; }

    /// <summary>Where SYSCALL goes.</summary>
    public DemoMark SystemCall { get; }

    /// <summary>Emits a call that writes a line to the console; changes the registers that a hypercall may change.</summary>
    public void Print(string line)
    {
        CallPrint(line);
        _e.ExpectHypercall(HypercallConsoleIo, text: _ => line + "\n");
    }

    /// <summary>Emits a call that writes a line; what is expected is the caller's to record.</summary>
    public void CallPrint(string line)
    {
        (ulong address, int length) = _strings.Add(line + "\n");
        _e.Asm.mov(edi, (uint)address);
        _e.Asm.mov(esi, (uint)length);
        _e.Asm.call(_print.Label);
    }

    /// <summary>Records that a line is written on some CPUs.</summary>
    public void ExpectPrint(Func<DemoCpu, string?> line) =>
        _e.ExpectHypercall(HypercallConsoleIo, text: cpu => line(cpu) is { } text ? text + "\n" : null);

    /// <summary>Records that code of another emitter has a line written by a system call.</summary>
    public static void ExpectPrint(DemoEmitter by, string line) =>
        by.ExpectHypercall(HypercallConsoleIo, text: _ => line + "\n");

    /// <summary>Emits a switch to another task, which returns when that or a later one switches back.</summary>
    public void SwitchTo(DemoTask to, DemoTask from)
    {
        CallSwitch(to);
        ExpectSwitch(_e, from, to);
    }

    /// <summary>Records a switch that other code causes.</summary>
    public void ExpectSwitch(DemoEmitter by, DemoTask from, DemoTask to) =>
        by.ExpectSwitch(_switchCr3, from, to);

    /// <summary>Emits a guest request, where there is Xen.</summary>
    public void GuestRequest()
    {
        Assembler c = _e.Asm;
        DemoMark skip = _e.Mark();
        c.cmp(__dword_ptr[DemoLayout.XenBase], 0);
        c.je(skip.Label);
        c.mov(edi, HvmOpGuestRequest);
        c.xor(esi, esi);
        CallHypercall(HypercallHvmOp);
        _e.Place(skip);
        c.nop();
        _e.ExpectHypercall(HypercallHvmOp, VmEventReason.GuestRequest);
    }

    /// <summary>Emits the end: power off.</summary>
    public void PowerOff()
    {
        _e.Asm.mov(esi, (uint)DemoLayout.ShutdownArgument);
        _e.Asm.mov(ebx, DebugExitDone);
        _e.Asm.jmp(_shutdown.Label);
        _e.ExpectHypercall(HypercallSchedOp);
    }

    /// <summary>Emits the routines themselves.</summary>
    public void EmitRoutines(Action<DemoKernel> userLine)
    {
        EmitPrint();
        EmitSwitch();
        EmitSystemCall(userLine);
        EmitHandlers();
        EmitShutdown();
    }

    private void CallSwitch(DemoTask to)
    {
        _e.Asm.mov(edi, (uint)DemoLayout.Block(to));
        _e.Asm.call(_switch.Label);
    }

    private void CallHypercall(uint number) => _e.Asm.call(DemoLayout.HypercallPage + (number * 32));

    // RDI: text, RSI: its length.
    private void EmitPrint()
    {
        Assembler c = _e.Asm;
        DemoMark end = _e.Mark();
        _e.Place(_print);
        if (_mirror)
        {
            c.push(rdi);
            c.push(rsi);
            c.mov(ecx, esi);
            c.mov(esi, edi);
            c.mov(edx, DebugConsolePort);
            c.rep.outsb();
            c.pop(rsi);
            c.pop(rdi);
        }

        c.cmp(__dword_ptr[DemoLayout.XenBase], 0);
        c.je(end.Label);
        c.mov(rdx, rdi);
        c.xor(edi, edi);
        CallHypercall(HypercallConsoleIo);
        _e.Place(end);
        c.ret();
    }

    // RDI: control block of the task to go on with.
    private void EmitSwitch()
    {
        Assembler c = _e.Asm;
        AssemblerRegister64[] kept = [rbx, rbp, r12, r13, r14, r15];
        _e.Place(_switch);
        foreach (AssemblerRegister64 register in kept)
        {
            c.push(register);
        }

        c.mov(rax, __qword_ptr[DemoLayout.CurrentTask]);
        c.mov(__qword_ptr[rax], rsp);
        c.mov(__qword_ptr[DemoLayout.CurrentTask], rdi);
        c.mov(rsp, __qword_ptr[rdi]);
        c.mov(rcx, __qword_ptr[rdi + 16]);
        c.mov(__qword_ptr[DemoLayout.TssRsp0], rcx);
        c.mov(__qword_ptr[DemoLayout.PerCpu], rcx);
        c.mov(rax, __qword_ptr[rdi + 8]);
        _e.Place(_switchCr3);
        c.mov(cr3, rax);
        foreach (AssemblerRegister64 register in kept.Reverse())
        {
            c.pop(register);
        }

        c.ret();
    }

    // RAX: 0 gives way to the main task, 1 writes the user task's line.
    private void EmitSystemCall(Action<DemoKernel> userLine)
    {
        Assembler c = _e.Asm;
        DemoMark line = _e.Mark();
        DemoMark leave = _e.Mark();
        _e.Place(SystemCall);
        c.swapgs();
        c.mov(__qword_ptr.gs[8], rsp);
        c.mov(rsp, __qword_ptr.gs[0]);
        c.push(__qword_ptr.gs[8]);
        c.push(rcx);
        c.push(r11);
        c.test(eax, eax);
        c.jne(line.Label);
        CallSwitch(DemoTask.Main);
        c.jmp(leave.Label);
        _e.Place(line);
        userLine(this);
        _e.Place(leave);
        c.pop(r11);
        c.pop(rcx);
        c.pop(rsp);
        c.swapgs();
        c.sysretq();
    }

    private void EmitHandlers()
    {
        Assembler c = _e.Asm;
        _e.Place(BreakpointHandler);
        c.inc(__qword_ptr[DemoLayout.BreakpointCount]);
        c.iretq();

        _e.Place(FaultHandler);
        CallPrint("unexpected fault");
        c.mov(esi, (uint)DemoLayout.CrashArgument);
        c.mov(ebx, DebugExitFault);
        c.jmp(_shutdown.Label);
    }

    // RSI: what sched_op shutdown is given, EBX: code for the debug exit.
    private void EmitShutdown()
    {
        Assembler c = _e.Asm;
        DemoMark halt = _e.Mark("halt");
        _e.Place(_shutdown);
        if (_mirror)
        {
            c.mov(eax, ebx);
            c.@out(DebugExitPort, al);
        }

        c.cmp(__dword_ptr[DemoLayout.XenBase], 0);
        c.je(halt.Label);
        c.mov(edi, SchedOpShutdown);
        CallHypercall(HypercallSchedOp);
        _e.Place(halt);
        c.hlt();
        c.jmp(halt.Label);
    }
}
