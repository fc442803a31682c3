using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Cpu;
using Introspect.Hypervisor.Core.Memory;
using static Iced.Intel.AssemblerRegisters;

namespace Introspect.Hypervisor.Tests.Cpu;

public sealed unsafe class RunLoopTests
{
    [Fact]
    public void A_long_run_of_handlers_needs_no_stack()
    {
        using var machine = new BareMachine().EnterLongMode();
        machine.Code(0x100000, a =>
        {
            var loop = a.CreateLabel();
            a.xor(eax, eax);
            a.mov(ecx, 10_000_000);
            a.Label(ref loop);
            a.add(rax, rcx);
            a.dec(ecx);
            a.jne(loop);
            a.hlt();
        });

        var exit = machine.Cpu.Run(long.MaxValue / 2);

        Assert.Equal(ExitKind.Hlt, exit.Kind);
        Assert.Equal(10_000_000UL * 10_000_001 / 2, machine.State->Gpr[0]);
        Assert.Equal(2UL + (3 * 10_000_000UL), machine.State->Retired);
    }

    [Fact]
    public void The_budget_ends_a_run_without_an_exit()
    {
        using var machine = new BareMachine().EnterLongMode();
        machine.Code(0x100000, a =>
        {
            var loop = a.CreateLabel();
            a.Label(ref loop);
            a.inc(rax);
            a.jmp(loop);
        });

        var exit = machine.Cpu.Run(1000);

        Assert.Equal(ExitKind.Budget, exit.Kind);
        Assert.InRange(machine.State->Retired, 1000UL, 1100UL);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void An_iret_that_faults_has_opened_nmis_in_blocks_and_in_steps(bool stepped)
    {
        // Zeroes on the stack: the null selector is refused, and there is no table to deliver that by.
        using var machine = new BareMachine().EnterLongMode();
        machine.Code(0x100000, a => a.iretq());
        machine.State->Shadow = CpuShadow.Nmi;
        machine.State->MonitorTrap = stepped;

        Assert.Equal(ExitKind.TripleFault, machine.Cpu.Run(10).Kind);
        Assert.Equal(CpuShadow.None, machine.State->Shadow);
    }

    [Fact]
    public void An_iret_that_is_to_be_tried_again_leaves_nmis_blocked()
    {
        using var machine = new BareMachine().EnterLongMode();
        machine.Code(0x100000, a => a.iretq());
        machine.State->Shadow = CpuShadow.Nmi;
        machine.State->P2m[0x80] = P2mEntry.Make(0x80000, P2mType.RamRw, MemoryAccess.N).Raw;

        Assert.Equal(ExitKind.NestedPageFault, machine.Cpu.Run(10).Kind);
        Assert.Equal(CpuShadow.Nmi, machine.State->Shadow);
    }

    [Fact]
    public void Blocked_nmis_are_no_reason_to_step_and_stay_blocked()
    {
        using var machine = new BareMachine().EnterLongMode();
        machine.Code(0x100000, a =>
        {
            a.nop();
            a.nop();
            a.hlt();
        });
        machine.State->Shadow = CpuShadow.Nmi;

        // With room for one instruction, a step would end before HLT; a block is done whole.
        Assert.Equal(ExitKind.Hlt, machine.Cpu.Run(1).Kind);
        Assert.Equal(CpuShadow.Nmi, machine.State->Shadow);
    }

    [Fact]
    public void Calls_returns_and_the_stack_work()
    {
        using var machine = new BareMachine().EnterLongMode();
        machine.Code(0x100000, a =>
        {
            var fib = a.CreateLabel();
            var small = a.CreateLabel();
            a.mov(edi, 20);
            a.call(fib);
            a.hlt();
            a.Label(ref fib);
            a.cmp(edi, 2);
            a.jb(small);
            a.push(rbx);
            a.push(rdi);
            a.dec(edi);
            a.call(fib);
            a.pop(rdi);
            a.mov(rbx, rax);
            a.sub(edi, 2);
            a.call(fib);
            a.add(rax, rbx);
            a.pop(rbx);
            a.ret();
            a.Label(ref small);
            a.mov(eax, edi);
            a.ret();
        });

        Assert.Equal(ExitKind.Hlt, machine.Cpu.Run(100_000_000).Kind);
        Assert.Equal(6765UL, machine.State->Gpr[0]);
        Assert.Equal(0x80000UL, machine.State->Gpr[4]);
    }

    [Fact]
    public void A_store_into_the_running_block_takes_effect_at_the_next_instruction()
    {
        using var machine = new BareMachine().EnterLongMode();
        machine.Code(0x100000, a =>
        {
            var patched = a.CreateLabel();
            a.lea(rdi, __[patched]);
            a.mov(__byte_ptr[rdi + 1], 42);
            a.Label(ref patched);
            a.mov(al, 1);
            a.hlt();
        });

        Assert.Equal(ExitKind.Hlt, machine.Cpu.Run(1000).Kind);
        Assert.Equal(42, (byte)machine.State->Gpr[0]);
        Assert.Equal(1, machine.Cpu.Code.PagesInvalidated);
    }

    [Fact]
    public void Code_that_is_written_again_and_again_takes_no_more_memory()
    {
        using var machine = new BareMachine().EnterLongMode();
        machine.Code(0x100000, a =>
        {
            var again = a.CreateLabel();
            var patched = a.CreateLabel();
            a.lea(rdi, __[patched]);
            a.Label(ref again);
            a.inc(__byte_ptr[rdi + 1]);
            a.Label(ref patched);
            a.mov(al, 0);
            a.dec(ecx);
            a.jnz(again);
            a.hlt();
        });
        machine.State->Gpr[1] = 100_000;

        Assert.Equal(ExitKind.Hlt, machine.Cpu.Run(100_000_000).Kind);
        Assert.Equal(100_000 & 0xff, (int)(machine.State->Gpr[0] & 0xff));
        Assert.True(machine.Cpu.Code.BlocksDecoded > 100_000);
        Assert.InRange(machine.Cpu.Code.Bytes, 0, 20L << 20);
    }

    [Fact]
    public void A_copy_and_a_sum_over_pages_read_what_was_written()
    {
        using var machine = new BareMachine().EnterLongMode();
        machine.Code(0x100000, a =>
        {
            var fill = a.CreateLabel();
            var sum = a.CreateLabel();
            a.mov(edi, 0x200001);
            a.xor(eax, eax);
            a.Label(ref fill);
            a.mov(__dword_ptr[rdi + (rax * 4)], eax);
            a.inc(eax);
            a.cmp(eax, 5000);
            a.jne(fill);
            a.mov(esi, 0x200001);
            a.mov(edi, 0x300003);
            a.mov(ecx, 20000);
            a.rep.movsb();
            a.xor(edx, edx);
            a.xor(ecx, ecx);
            a.Label(ref sum);
            a.mov(eax, __dword_ptr[(rcx * 4) + 0x300003]);
            a.add(rdx, rax);
            a.inc(ecx);
            a.cmp(ecx, 5000);
            a.jne(sum);
            a.hlt();
        });

        Assert.Equal(ExitKind.Hlt, machine.Cpu.Run(1_000_000).Kind);
        Assert.Equal(4999UL * 5000 / 2, machine.State->Gpr[2]);
    }
}
