using Introspect.Hypervisor.Core.Cpu;
using static Iced.Intel.AssemblerRegisters;

namespace Introspect.Hypervisor.Tests.Cpu;

/// <summary>A branch learns where it goes; what comes in between must not teach it wrong.</summary>
public sealed unsafe class BranchLinkTests
{
    private const ulong Loop = 0x100000;
    private const ulong Elsewhere = 0x100100;

    [Fact]
    public void A_branch_that_was_interrupted_is_not_linked_to_what_ran_in_between()
    {
        using var machine = new BareMachine().EnterLongMode();
        machine.Code(Loop, a =>
        {
            var again = a.CreateLabel();
            a.Label(ref again);
            a.rdrand(rax);
            a.inc(rbx);
            a.jmp(again);
        });
        machine.Code(Elsewhere, a =>
        {
            a.inc(rcx);
            a.hlt();
        });

        // The kick comes when the block runs, so that its branch leaves before it knows its target.
        machine.RandomRead = machine.Cpu.Kick;
        Assert.Equal(ExitKind.Kick, machine.Cpu.Run(1000).Kind);
        Assert.Equal(Loop, machine.State->Rip);
        machine.State->Rip = Elsewhere;
        Assert.Equal(ExitKind.Hlt, machine.Cpu.Run(1000).Kind);

        var before = machine.State->Gpr[3];
        machine.State->Rip = Loop;
        var turns = 0;
        machine.RandomRead = () =>
        {
            if (++turns == 5)
            {
                machine.Cpu.Kick();
            }
        };
        Assert.Equal(ExitKind.Kick, machine.Cpu.Run(1000).Kind);
        Assert.Equal(before + 5, machine.State->Gpr[3]);
        Assert.Equal(1UL, machine.State->Gpr[1]);
    }
}
