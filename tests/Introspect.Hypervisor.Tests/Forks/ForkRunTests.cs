using Iced.Intel;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Memory;
using Introspect.Hypervisor.Tests.Monitoring.Lab;
using static Iced.Intel.AssemblerRegisters;

namespace Introspect.Hypervisor.Tests.Forks;

/// <summary>Forks that run: a guest that counts, forked at a request of its own, run to different ends and taken back.</summary>
public sealed class ForkRunTests
{
    private const int Steps = 12;
    private const ulong Seed = LabMemory.Data, Sum = LabMemory.Data + 8, Turns = LabMemory.Data + 16;

    // A page that the program changes the code of.
    private const ulong Patched = 0xB0000;

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_reset_fork_runs_the_identical_trace_and_a_changed_one_another(bool overSocket)
    {
        using var lab = new ForkLab(Count, overSocket);
        using var parentMonitor = lab.RunParentToRequest();
        var parentState = lab.Parent.ReadVcpu(new(0));
        using var fork = lab.Parent.Fork(new ForkOptions { Name = "child" });
        Assert.Equal(parentState, fork.ReadVcpu(new(0)) with { Tsc = parentState.Tsc });
        using (var monitor = Watch(fork))
        {
            fork.Unpause();
            var first = Trace(lab, fork, monitor);
            Assert.Equal(Steps, first.Distinct().Count());

            ResetAndWait(lab, fork, monitor);
            Assert.Equal(first, Trace(lab, fork, monitor));

            // Another input, by memory and by a register.
            ResetAndWait(lab, fork, monitor);
            ForkLab.Write(fork, Seed, 12345);
            var state = fork.ReadVcpu(new(0));
            state.R8 = 99;
            fork.Pause();
            fork.WriteVcpu(new(0), in state);
            fork.Unpause();
            var changed = Trace(lab, fork, monitor);
            Assert.NotEqual(first, changed);
            Assert.Contains("r8=99", changed[^1], StringComparison.Ordinal);

            ResetAndWait(lab, fork, monitor);
            Assert.Equal(first, Trace(lab, fork, monitor));
        }

        // The parent never moved.
        Assert.Equal(parentState, lab.Parent.ReadVcpu(new(0)));
        Assert.Equal(0UL, ForkLab.Read(lab.Parent, Turns));
        fork.Destroy();
        Assert.Equal(0, lab.Inside(lab.Parent).ForkCount);
    }

    [Fact]
    public void A_response_resets_the_fork_before_the_rest_of_it_is_done()
    {
        using var lab = new ForkLab(Count);
        using var parentMonitor = lab.RunParentToRequest();
        using var fork = lab.Parent.Fork();
        using var monitor = Watch(fork);
        fork.Unpause();
        var inside = lab.Inside(fork);
        var first = new List<string>();
        for (var round = 0; round < 20; round++)
        {
            var trace = new List<string>();
            for (var step = 0; step < Steps; step++)
            {
                var request = ForkLab.Take(monitor, inside);
                trace.Add(Describe(fork, in request));
                var response = EventLab.Echo(in request);
                if (step == Steps - 1)
                {
                    response.Flags |= VmEventFlags.ResetForkState | VmEventFlags.ResetForkMemory;
                }

                ForkLab.Respond(monitor, in response);
            }

            if (round == 0)
            {
                first = trace;
            }

            Assert.Equal(first, trace);
        }

        Assert.Equal(0, inside.Monitor.Answers.Total);
    }

    [Fact]
    public void A_response_can_reset_state_alone_or_memory_alone_and_registers_of_the_response_win()
    {
        using var lab = new ForkLab(Count);
        using var parentMonitor = lab.RunParentToRequest();
        var start = lab.Parent.ReadVcpu(new(0));
        using var fork = lab.Parent.Fork();
        using var monitor = Watch(fork);
        fork.Unpause();
        var inside = lab.Inside(fork);
        var request = ForkLab.Take(monitor, inside);
        ForkLab.Respond(monitor, EventLab.Echo(in request));
        request = ForkLab.Take(monitor, inside);
        Assert.Equal(2UL, ForkLab.Read(fork, Turns));

        // Memory as it was, and the vCPU where it is: the turns begin anew, its count of them does not.
        var response = EventLab.Echo(in request);
        response.Flags |= VmEventFlags.ResetForkMemory;
        ForkLab.Respond(monitor, in response);
        request = ForkLab.Take(monitor, inside);
        Assert.Equal((1UL, 3UL), (ForkLab.Read(fork, Turns), request.Registers.R9));

        // The vCPU back, the memory left.
        response = EventLab.Echo(in request);
        response.Flags |= VmEventFlags.ResetForkState;
        ForkLab.Respond(monitor, in response);
        request = ForkLab.Take(monitor, inside);
        Assert.Equal((2UL, 1UL), (ForkLab.Read(fork, Turns), request.Registers.R9));

        // Both, and the response's registers on top of the parent's.
        response = EventLab.Echo(in request);
        response.Flags |= VmEventFlags.ResetForkState | VmEventFlags.ResetForkMemory | VmEventFlags.SetRegisters;
        response.Registers.Rip = start.Rip;
        response.Registers.R9 = 41;
        ForkLab.Respond(monitor, in response);
        request = ForkLab.Take(monitor, inside);
        Assert.Equal((1UL, 42UL), (ForkLab.Read(fork, Turns), request.Registers.R9));
    }

    [Fact]
    public void A_reset_by_a_response_does_nothing_to_a_domain_that_is_no_fork()
    {
        using var lab = new ForkLab(Count);
        using var monitor = lab.Parent.EnableMonitor();
        monitor.Enable(new MonitorEvent.GuestRequest());
        lab.Parent.Unpause();
        var inside = lab.Inside(lab.Parent);
        for (var turn = 0UL; turn < 3; turn++)
        {
            var request = ForkLab.Take(monitor, inside);
            Assert.Equal(turn, ForkLab.Read(lab.Parent, Turns));
            var response = EventLab.Echo(in request);
            response.Flags |= VmEventFlags.ResetForkState | VmEventFlags.ResetForkMemory;
            ForkLab.Respond(monitor, in response);
        }
    }

    [Fact]
    public void A_fork_that_a_response_cannot_reset_does_not_go_on()
    {
        using var lab = new ForkLab(Count);
        using var parentMonitor = lab.RunParentToRequest();
        using var fork = lab.Parent.Fork();
        using var monitor = Watch(fork);
        fork.Unpause();
        var inside = lab.Inside(fork);
        var request = ForkLab.Take(monitor, inside);
        parentMonitor.Dispose();
        lab.Parent.Destroy();
        var response = EventLab.Echo(in request);
        response.Flags |= VmEventFlags.ResetForkState;
        ForkLab.Respond(monitor, in response);
        Assert.True(SpinWait.SpinUntil(() => inside.IsShutDown, ForkLab.Patience));
        Assert.Equal(ShutdownReason.Crash, inside.ShutdownReason);
    }

    [Fact]
    public void Forks_of_a_fork_begin_where_it_stands()
    {
        using var lab = new ForkLab(Count);
        using var parentMonitor = lab.RunParentToRequest();
        using var child = lab.Parent.Fork();
        using var childMonitor = Watch(child);
        child.Unpause();
        var request = ForkLab.Take(childMonitor, lab.Inside(child));
        using var grandchild = child.Fork();
        using var monitor = Watch(grandchild);
        Assert.Equal(lab.Inside(child), lab.Inside(grandchild).Parent);
        grandchild.Unpause();
        var trace = Trace(lab, grandchild, monitor);
        Assert.EndsWith($"turns={Steps + 1}", trace[^1], StringComparison.Ordinal);
        Assert.Equal((0UL, 1UL), (ForkLab.Read(lab.Parent, Turns), ForkLab.Read(child, Turns)));

        ResetAndWait(lab, grandchild, monitor);
        Assert.Equal(trace, Trace(lab, grandchild, monitor));
        monitor.Dispose();
        grandchild.Destroy();

        // The child goes on behind the request at which it was forked, and counts what its fork counted.
        ForkLab.Respond(childMonitor, EventLab.Echo(in request));
        Assert.Equal(trace, Trace(lab, child, childMonitor));
    }

    [Fact]
    public void Siblings_run_at_the_same_time_and_apart()
    {
        using var lab = new ForkLab(Count);
        using var parentMonitor = lab.RunParentToRequest();
        var forks = Enumerable.Range(0, 4).Select(n => lab.Parent.Fork(new ForkOptions { Name = $"fork-{n}" })).ToArray();
        var traces = new List<string>[forks.Length];
        for (var n = 0; n < forks.Length; n++)
        {
            ForkLab.Write(forks[n], Seed, (ulong)n / 2);
        }

        Parallel.For(0, forks.Length, n =>
        {
            using var monitor = Watch(forks[n]);
            forks[n].Unpause();
            traces[n] = Trace(lab, forks[n], monitor);
        });
        Assert.Equal(traces[0], traces[1]);
        Assert.Equal(traces[2], traces[3]);
        Assert.NotEqual(traces[0], traces[2]);
        foreach (var fork in forks)
        {
            fork.Destroy();
            fork.Dispose();
        }

        Assert.Equal(0, lab.Inside(lab.Parent).ForkCount);
    }

    [Fact]
    public void A_write_to_a_shared_page_that_allows_it_is_no_event_and_one_that_is_watched_is()
    {
        using var lab = new ForkLab(Count);
        using var parentMonitor = lab.RunParentToRequest();
        using var fork = lab.Parent.Fork();
        using var monitor = Watch(fork);
        monitor.SetMemoryAccess(new(Sum >> 12), 1, MemoryAccess.R);
        fork.Unpause();
        var inside = lab.Inside(fork);
        var request = ForkLab.Take(monitor, inside);
        Assert.Equal((VmEventReason.MemAccess, Seed >> 12), (request.Reason, request.MemAccess.Gfn));
        Assert.True(request.MemAccess.Flags.HasFlag(MemAccessFlags.Write));

        // It is the fork's own by now, with the rights that were asked for.
        Assert.Equal((P2mType.RamRw, MemoryAccess.R), (inside.Physmap[Sum >> 12].Type, inside.Physmap[Sum >> 12].Access));
        monitor.SetMemoryAccess(new(Sum >> 12), 1, MemoryAccess.Rwx);
        ForkLab.Respond(monitor, EventLab.Echo(in request));

        // Its stack, its page tables and its data are written to, and nothing but the guest's own request comes.
        for (var turn = 1UL; turn < 4; turn++)
        {
            request = ForkLab.Take(monitor, inside);
            Assert.Equal((VmEventReason.GuestRequest, turn), (request.Reason, ForkLab.Read(fork, Turns)));
            ForkLab.Respond(monitor, EventLab.Echo(in request));
        }
    }

    [Fact]
    public void Emulation_and_the_hypervisors_own_copies_bring_pages_too()
    {
        using var lab = new ForkLab(Count);
        using var parentMonitor = lab.RunParentToRequest();
        using var fork = lab.Parent.Fork();
        using var monitor = Watch(fork);
        fork.Unpause();
        var inside = lab.Inside(fork);
        monitor.SetMemoryAccess(new(Sum >> 12), 1, MemoryAccess.N);
        var request = ForkLab.Take(monitor, inside);
        while (request.Reason == VmEventReason.MemAccess)
        {
            var response = EventLab.Echo(in request);
            response.Flags |= VmEventFlags.Emulate;
            ForkLab.Respond(monitor, in response);
            request = ForkLab.Take(monitor, inside);
        }

        Assert.Equal(1UL, ForkLab.Read(fork, Turns));
        Assert.Equal(0UL, ForkLab.Read(lab.Parent, Turns));
        var cpu = ((Core.Execution.VcpuRunner)inside.Vcpus[0].Runner).Cpu;
        const ulong Elsewhere = 0x150000;
        Assert.False(inside.Physmap[Elsewhere >> 12].IsPresent);
        Assert.True(cpu.CopyToGuest(Elsewhere + 4092, [1, 2, 3, 4, 5, 6, 7, 8]));
        var read = new byte[8];
        Assert.True(cpu.CopyFromGuest(Elsewhere + 4092, read));
        Assert.Equal([1, 2, 3, 4, 5, 6, 7, 8], read);
        Assert.Equal(0UL, ForkLab.Read(lab.Parent, Elsewhere + 4096));
    }

    [Fact]
    public void Code_that_a_fork_changes_is_its_own_and_runs_as_the_parents_after_a_reset()
    {
        using var lab = new ForkLab(Patch);
        using var parentMonitor = lab.RunParentToRequest();
        using var fork = lab.Parent.Fork();
        using var other = lab.Parent.Fork();
        using var monitor = Watch(fork);
        using var otherMonitor = Watch(other);
        fork.Unpause();
        other.Unpause();
        for (var round = 0; round < 3; round++)
        {
            for (var turn = 1UL; turn < 5; turn++)
            {
                var request = ForkLab.Take(monitor, lab.Inside(fork));
                Assert.Equal(turn, request.Registers.R9);
                var response = EventLab.Echo(in request);
                response.Flags |= turn == 4 ? VmEventFlags.ResetForkState | VmEventFlags.ResetForkMemory : VmEventFlags.None;
                ForkLab.Respond(monitor, in response);
            }

            var others = ForkLab.Take(otherMonitor, lab.Inside(other));
            Assert.Equal((ulong)round + 1, others.Registers.R9);
            ForkLab.Respond(otherMonitor, EventLab.Echo(in others));
        }
    }

    [Fact]
    public void Many_forks_and_resets_leave_no_page_behind()
    {
        using var lab = new ForkLab(Count);
        using var parentMonitor = lab.RunParentToRequest();
        using (var warm = lab.Parent.Fork())
        {
            warm.Destroy();
        }

        var machine = lab.Machine;
        var extents = machine.Memory.ExtentCount;
        for (var generation = 0; generation < 5; generation++)
        {
            using var fork = lab.Parent.Fork();
            using var monitor = Watch(fork);
            fork.Unpause();
            var inside = lab.Inside(fork);
            long after = 0;
            for (var round = 0; round < 40; round++)
            {
                var request = ForkLab.Take(monitor, inside);
                var response = EventLab.Echo(in request);
                response.Flags |= VmEventFlags.ResetForkState | VmEventFlags.ResetForkMemory;
                ForkLab.Respond(monitor, in response);
                request = ForkLab.Take(monitor, inside);
                Assert.Equal(1UL, request.Registers.R9);
                Assert.True(round < 2 || inside.Ram.TotalPages == after, $"{inside.Ram.TotalPages} pages after {after}");
                after = inside.Ram.TotalPages;
                ForkLab.Respond(monitor, EventLab.Echo(in request));
            }

            monitor.Dispose();
            fork.Destroy();
            Assert.Equal(extents, machine.Memory.ExtentCount);
        }
    }

    private static IMonitor Watch(IDomain domain)
    {
        var monitor = domain.EnableMonitor();
        monitor.Enable(new MonitorEvent.GuestRequest());
        return monitor;
    }

    /// <summary>Answers so many events and tells what was seen at each; the vCPU stands in the last one.</summary>
    private static List<string> Trace(ForkLab lab, IDomain fork, IMonitor monitor)
    {
        var lines = new List<string>();
        var inside = lab.Inside(fork);
        for (var n = 0; n < Steps; n++)
        {
            var request = ForkLab.Take(monitor, inside);
            lines.Add(Describe(fork, in request));
            ForkLab.Respond(monitor, EventLab.Echo(in request));
        }

        return lines;
    }

    private static string Describe(IDomain fork, in VmEvent request)
    {
        ref readonly var r = ref request.Registers;
        return $"{request.Reason} rip={r.Rip:x} rax={r.Rax:x} rbx={r.Rbx:x} r8={r.R8} r9={r.R9} r10={r.R10:x} flags={r.Rflags:x} sum={ForkLab.Read(fork, Sum):x} turns={ForkLab.Read(fork, Turns)}";
    }

    // Taken back while it runs on, as a tool without a ring does it; requests of the old run are answered unseen.
    private static void ResetAndWait(ForkLab lab, IDomain fork, IMonitor monitor)
    {
        fork.Pause();
        var inside = lab.Inside(fork);
        while (inside.Vcpus[0].VmEventPauseCount != 0 || monitor.UnconsumedRequests != 0)
        {
            if (monitor.TryTake(out var stale))
            {
                ForkLab.Respond(monitor, EventLab.Echo(in stale));
            }
        }

        fork.ResetFork(state: true, memory: true);
        fork.Unpause();
    }

    // r8: what a test puts there; r9: turns; r10: time. Memory has the same sum, with the seed in it.
    private static void Count(Assembler code)
    {
        code.xor(r8d, r8d);
        code.xor(r9d, r9d);
        code.mov(rbx, (long)LabMemory.Data);
        code.mov(__qword_ptr[rbx], 3);
        var again = code.CreateLabel();
        code.Label(ref again);
        ForkLab.GuestRequest(code);
        code.rdtsc();
        code.shl(rdx, 32);
        code.or(rax, rdx);
        code.mov(r10, rax);
        code.rdrand(rax);
        code.add(rax, __qword_ptr[rbx]);
        code.add(rax, r8);
        code.imul(rax, rax, 1_000_003);
        code.add(__qword_ptr[rbx + 8], rax);
        code.inc(__qword_ptr[rbx + 16]);
        code.inc(r9);
        code.push(rax);
        code.pop(rcx);
        code.jmp(again);
    }

    // Calls a routine "add r9, imm8; ret" on another page, and changes its immediate from 1 to 0 and back around calls.
    private static void Patch(Assembler code)
    {
        code.mov(rbx, (long)Patched);
        code.mov(rax, 0x0000_00C3_01C1_8349L);
        code.mov(__qword_ptr[rbx], rax);
        code.xor(r9d, r9d);
        ForkLab.GuestRequest(code);
        var again = code.CreateLabel();
        code.Label(ref again);
        code.mov(rbx, (long)Patched);
        code.call(rbx);
        code.mov(__byte_ptr[rbx + 3], 0);
        code.call(rbx);
        code.mov(__byte_ptr[rbx + 3], 1);
        ForkLab.GuestRequest(code);
        code.jmp(again);
    }
}
