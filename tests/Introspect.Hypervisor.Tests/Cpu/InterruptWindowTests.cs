using Introspect.Hypervisor.Core.Cpu;
using static Iced.Intel.AssemblerRegisters;

namespace Introspect.Hypervisor.Tests.Cpu;

/// <summary>The CPU leaves the guest at the first boundary at which an interrupt or an NMI could be taken.</summary>
public sealed unsafe class InterruptWindowTests : IDisposable
{
    private const ulong Code = 0x100000;

    private readonly BareMachine _machine = new BareMachine().EnterLongMode();

    [Fact]
    public void An_NMI_window_opens_behind_the_handlers_IRET()
    {
        const ulong Behind = 0x180000;
        var s = _machine.State;
        _machine.Code(Code, static c =>
        {
            c.nop();
            c.sti(); // interrupts are another matter
            c.nop();
            c.iretq();
        }).Code(Behind, static c => c.hlt());
        PushFrame(Behind);
        s->Shadow = CpuShadow.Nmi;
        s->Intercepts = Intercepts.NmiWindow;
        Assert.Equal(ExitKind.NmiWindow, _machine.Cpu.Run(1000).Kind);
        Assert.Equal(Behind, s->Rip);
        Assert.Equal(CpuShadow.None, s->Shadow);
    }

    [Fact]
    public void An_open_NMI_window_waits_for_the_shadow_of_MOV_SS()
    {
        var s = _machine.State;
        _machine.Code(Code, static c =>
        {
            c.mov(ss, eax); // two bytes
            c.nop();
            c.hlt();
        });
        s->Gpr[0] = 0;
        s->Intercepts = Intercepts.NmiWindow;
        Assert.Equal(ExitKind.NmiWindow, _machine.Cpu.Run(1000).Kind);
        Assert.Equal(Code, s->Rip);
        s->Intercepts = Intercepts.None;
        s->Shadow = CpuShadow.MovSs;
        s->Rip = Code + 2;
        s->Intercepts = Intercepts.NmiWindow;
        Assert.Equal(ExitKind.NmiWindow, _machine.Cpu.Run(1000).Kind);
        Assert.Equal(Code + 3, s->Rip);
    }

    [Fact]
    public void An_interrupt_window_opens_one_instruction_behind_STI()
    {
        var s = _machine.State;
        _machine.Code(Code, static c =>
        {
            c.nop();
            c.sti();
            c.nop();
            c.hlt();
        });
        s->Intercepts = Intercepts.InterruptWindow;
        Assert.Equal(ExitKind.InterruptWindow, _machine.Cpu.Run(1000).Kind);
        Assert.Equal(Code + 3, s->Rip);
    }

    [Fact]
    public void An_NMI_window_does_not_ask_for_interrupts_and_no_window_gives_none()
    {
        var s = _machine.State;
        _machine.Code(Code, static c => c.hlt());
        s->Shadow = CpuShadow.Nmi;
        s->Intercepts = Intercepts.NmiWindow;
        Assert.Equal(ExitKind.Hlt, _machine.Cpu.Run(1000).Kind);
        s->Shadow = CpuShadow.None;
        s->Intercepts = Intercepts.None;
        Assert.Equal(ExitKind.Hlt, _machine.Cpu.Run(1000).Kind);
    }

    public void Dispose() => _machine.Dispose();

    private void PushFrame(ulong rip)
    {
        var s = _machine.State;
        var gdt = (ulong*)(_machine.Ram + 0x5000);
        gdt[1] = 0x00AF_9B00_0000_FFFF;
        gdt[2] = 0x00CF_9300_0000_FFFF;
        s->GdtrBase = 0x5000;
        s->GdtrLimit = 23;
        s->Gpr[4] -= 40;
        var frame = (ulong*)(_machine.Ram + s->Gpr[4]);
        (frame[0], frame[1], frame[2], frame[3], frame[4]) = (rip, 8, 2, 0x80000, 16);
    }
}
