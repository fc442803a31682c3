using Iced.Intel;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Domains;
using Introspect.Hypervisor.Core.Execution;
using Introspect.Hypervisor.Tests.Monitoring.Lab;
using static Iced.Intel.AssemblerRegisters;

namespace Introspect.Hypervisor.Tests.Forks;

/// <summary>Two vCPUs of a fork write to the same pages while these become the fork's own: no write may go to the page that was left.</summary>
public sealed class ForkVcpusTests
{
    private const int Pages = 64, Turns = 20, Rounds = 15;
    private const ulong FirstPage = 0x100000, Go = LabMemory.Data, Done = LabMemory.Data + 8;

    [Fact]
    public void No_write_is_lost_when_vcpus_meet_at_a_shared_page()
    {
        using var lab = new ForkLab(Program, vcpus: 2);
        StartSecond(lab.Inside(lab.Parent));
        using var parentMonitor = lab.RunParentToRequest();
        using var fork = lab.Parent.Fork();
        using var monitor = fork.EnableMonitor();
        monitor.Enable(new MonitorEvent.GuestRequest());
        fork.Unpause();
        var inside = lab.Inside(fork);
        for (var round = 0; round < Rounds; round++)
        {
            var request = ForkLab.Take(monitor, inside);
            for (ulong page = 0; page < Pages; page++)
            {
                Assert.Equal(((ulong)Turns, (ulong)Turns), (Word(inside, page, 0), Word(inside, page, 8)));
            }

            var response = EventLab.Echo(in request);
            response.Flags |= VmEventFlags.ResetForkState | VmEventFlags.ResetForkMemory;
            ForkLab.Respond(monitor, in response);
        }

        var parent = lab.Inside(lab.Parent);
        for (ulong page = 0; page < Pages; page++)
        {
            Assert.Equal((0UL, 0UL), (Word(parent, page, 0), Word(parent, page, 8)));
        }
    }

    // Read without a mapping, which would copy.
    private static ulong Word(Domain domain, ulong page, int offset)
    {
        var entry = domain.Pages.Find((FirstPage >> 12) + page, write: false);
        return BitConverter.ToUInt64(domain.Machine.Memory.RestOfPage(entry.MachineAddress)[offset..]);
    }

    // As the first begins, with another stack and a register that tells them apart.
    private static void StartSecond(Domain parent)
    {
        ((VcpuRunner)parent.Vcpus[0].Runner).Save(out var state);
        state.Record.R15 = 1;
        state.Record.Rsp = LabMemory.StackTop - 0x1000;
        ((VcpuRunner)parent.Vcpus[1].Runner).Load(in state);
        parent.Vcpus[1].ClearFlag(VcpuPauseFlags.Down);
    }

    private static void Program(Assembler code)
    {
        var second = code.CreateLabel();
        var wait = code.CreateLabel();
        var rest = code.CreateLabel();
        code.mov(rbx, (long)Go);
        code.test(r15, r15);
        code.jnz(second);
        ForkLab.GuestRequest(code);
        code.mov(__qword_ptr[rbx], 1);
        WritePages(code, 0);
        code.Label(ref wait);
        code.pause();
        code.cmp(__qword_ptr[rbx + (int)(Done - Go)], 0);
        code.je(wait);
        ForkLab.GuestRequest(code);
        code.hlt();

        code.Label(ref second);
        code.pause();
        code.cmp(__qword_ptr[rbx], 0);
        code.je(second);
        WritePages(code, 8);
        code.mov(__qword_ptr[rbx + (int)(Done - Go)], 1);
        code.Label(ref rest);
        code.pause();
        code.jmp(rest);
    }

    private static void WritePages(Assembler code, int offset)
    {
        var turn = code.CreateLabel();
        var page = code.CreateLabel();
        code.mov(ecx, Turns);
        code.Label(ref turn);
        code.mov(rsi, (long)FirstPage);
        code.mov(edx, Pages);
        code.Label(ref page);
        code.inc(__qword_ptr[rsi + offset]);
        code.add(rsi, 4096);
        code.dec(edx);
        code.jnz(page);
        code.dec(ecx);
        code.jnz(turn);
    }
}
