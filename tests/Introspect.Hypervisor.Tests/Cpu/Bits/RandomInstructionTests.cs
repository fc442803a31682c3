using Iced.Intel;
using Introspect.Hypervisor.Core.Cpu;
using static Iced.Intel.AssemblerRegisters;

namespace Introspect.Hypervisor.Tests.Cpu.Bits;

/// <summary>RDRAND and RDSEED take what the door for chance gives.</summary>
public sealed unsafe class RandomInstructionTests
{
    [Fact]
    public void The_number_fills_the_operand_and_sets_carry_alone()
    {
        using var machine = new BareMachine { Random = 0xFEDCBA9876543210 }.EnterLongMode();
        Run(machine, a =>
        {
            a.rdrand(rax);
            a.rdrand(ecx);
            a.rdseed(dx);
            a.rdseed(rbx);
        });

        Assert.Equal(0xFEDCBA9876543210, machine.State->Gpr[0]);
        Assert.Equal(0x76543210UL, machine.State->Gpr[1]);
        Assert.Equal(0xFFFFFFFFFFFF3210, machine.State->Gpr[2]);
        Assert.Equal(0xFEDCBA9876543210, machine.State->Gpr[3]);
        Assert.Equal(RFlags.Cf, Flags.ReadArithmetic(machine.State));
    }

    [Fact]
    public void Without_a_number_the_operand_and_carry_are_zero()
    {
        using var machine = new BareMachine().EnterLongMode();
        Run(machine, a =>
        {
            a.rdseed(rax);
            a.rdrand(ecx);
            a.rdrand(dx);
        });

        Assert.Equal(0UL, machine.State->Gpr[0]);
        Assert.Equal(0UL, machine.State->Gpr[1]);
        Assert.Equal(0xFFFFFFFFFFFF0000, machine.State->Gpr[2]);
        Assert.Equal(0u, Flags.ReadArithmetic(machine.State));
    }

    private static void Run(BareMachine machine, Action<Assembler> write)
    {
        for (var n = 0; n < 4; n++)
        {
            machine.State->Gpr[n] = ~0UL;
        }

        Flags.WriteArithmetic(machine.State, RFlags.Arithmetic);
        machine.Code(0x100000, a =>
        {
            write(a);
            a.hlt();
        });
        Assert.Equal(ExitKind.Hlt, machine.Cpu.Run(100).Kind);
    }
}
