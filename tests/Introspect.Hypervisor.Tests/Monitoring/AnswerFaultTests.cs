using Iced.Intel;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Monitoring;
using Introspect.Hypervisor.Tests.Monitoring.Lab;
using static Iced.Intel.AssemblerRegisters;

namespace Introspect.Hypervisor.Tests.Monitoring;

/// <summary>Responses that are wrong: the guest sees what it sees on Xen, and the core counts and tells.</summary>
public sealed class AnswerFaultTests
{
    [Fact]
    public void A_response_of_another_version_is_dropped_and_its_vcpu_stays()
    {
        using var lab = Asking();
        var request = lab.RunToEvent();
        var response = EventLab.Echo(in request);
        response.Version = 6;
        lab.Respond(in response);
        Assert.Equal(1, lab.Faults[AnswerFault.WrongVersion]);
        Assert.Equal((1, 1L), (lab.Vcpu.VmEventPauseCount, lab.Faults.Total));
        lab.Vcpu.VmEventUnpause();
    }

    [Fact]
    public void A_response_for_a_vcpu_that_does_not_exist_is_dropped()
    {
        using var lab = Asking();
        var request = lab.RunToEvent();
        var response = EventLab.Echo(in request);
        response.VcpuId = 7;
        lab.Respond(in response);
        Assert.Equal(1, lab.Faults[AnswerFault.UnknownVcpu]);
        Assert.Equal((1, 1L), (lab.Vcpu.VmEventPauseCount, lab.Faults.Total));
        lab.Vcpu.VmEventUnpause();
    }

    [Fact]
    public void A_response_that_wants_something_of_a_vcpu_that_does_not_wait_changes_nothing()
    {
        using var lab = Asking(sync: false);
        lab.Run(static (int _, in VmEvent _, ref VmEvent response) =>
        {
            response.Flags = VmEventFlags.VcpuPaused | VmEventFlags.SetRegisters;
            response.Registers.R15 = 1;
        });
        Assert.Equal(0UL, lab.Gpr(15));
        Assert.Equal((1, 1), (lab.Faults[AnswerFault.NotWaiting], lab.Faults.Total));
    }

    [Fact]
    public void A_plain_response_to_an_async_event_is_not_wrong()
    {
        using var lab = Asking(sync: false);
        lab.Run();
        Assert.Single(lab.Events);
        Assert.Equal(0, lab.Faults.Total);
    }

    [Fact]
    public void Unknown_flags_are_ignored_and_the_others_honoured()
    {
        using var lab = Asking();
        lab.Run(static (int _, in VmEvent _, ref VmEvent response) =>
        {
            response.Flags |= (VmEventFlags)0x80010000 | VmEventFlags.SetRegisters;
            response.Registers.R15 = 3;
            response.Registers.Rip += 3;
        });
        Assert.Equal(3UL, lab.Gpr(15));
        Assert.Equal((1, 1), (lab.Faults[AnswerFault.UnknownFlags], lab.Faults.Total));
    }

    [Fact]
    public void Registers_together_with_data_are_taken_from_one_place_and_counted()
    {
        using var lab = new EventLab(static code =>
        {
            code.mov(rbx, __qword_ptr[(long)LabMemory.Watched]);
            code.hlt();
        });
        lab.Monitor.SetMemoryAccess(new GuestPhysical(LabMemory.Watched).Gfn, 1, MemoryAccess.N);
        lab.Run(static (int _, in VmEvent _, ref VmEvent response) =>
            response.Flags |= VmEventFlags.Emulate | VmEventFlags.SetEmulReadData | VmEventFlags.SetRegisters);
        Assert.Single(lab.Events);
        Assert.Equal((1, 1), (lab.Faults[AnswerFault.MeaninglessFlags], lab.Faults.Total));
    }

    [Fact]
    public void The_log_is_told_once_a_second_at_most_and_nothing_is_lost_of_the_count()
    {
        var clock = new StandingClock();
        var lines = new List<string>();
        var faults = new AnswerFaults("domain 4", new MonitoringOptions { Log = lines.Add, Clock = clock });
        faults.Count(AnswerFault.UnknownVcpu);
        faults.Count(AnswerFault.UnknownVcpu);
        faults.Count(AnswerFault.IgnoredDeny);
        clock.Now += TimeSpan.FromMilliseconds(999);
        faults.Count(AnswerFault.IgnoredDeny);
        Assert.Single(lines);
        clock.Now += TimeSpan.FromMilliseconds(1);
        faults.Count(AnswerFault.Stale);
        Assert.Equal(
            [
                "domain 4: the monitor's responses were ignored in part: 1 for a vCPU that does not exist",
                "domain 4: the monitor's responses were ignored in part: 1 for a vCPU that does not exist, 2 denying what cannot be denied, 1 to vmexit events of a kind that was switched off",
            ],
            lines);
        Assert.Equal((2, 2, 1, 5), (faults[AnswerFault.UnknownVcpu], faults[AnswerFault.IgnoredDeny], faults[AnswerFault.Stale], faults.Total));
    }

    [Fact]
    public void Every_kind_of_fault_has_words_of_its_own()
    {
        var lines = new List<string>();
        var clock = new StandingClock();
        var faults = new AnswerFaults("d", new MonitoringOptions { Log = lines.Add, Clock = clock });
        foreach (var fault in Enum.GetValues<AnswerFault>())
        {
            faults.Count(fault);
            clock.Now += TimeSpan.FromSeconds(1);
        }

        Assert.Equal(Enum.GetValues<AnswerFault>().Length, lines.Distinct().Count());
    }

    [Fact]
    public void The_domains_log_gets_the_line()
    {
        var lines = new List<string>();
        using var lab = new EventLab(Ask, options: new MonitoringOptions { Log = lines.Add });
        lab.Monitor.Enable(new MonitorEvent.GuestRequest());
        lab.Run(static (int _, in VmEvent _, ref VmEvent response) => response.Flags |= VmEventFlags.ResetVmtrace);
        Assert.Contains("1 with flags that mean nothing for their event", Assert.Single(lines), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(VmEventFlags.ResetForkState)]
    [InlineData(VmEventFlags.ResetForkMemory)]
    [InlineData(VmEventFlags.ResetForkState | VmEventFlags.ResetForkMemory)]
    public void A_domain_that_is_no_fork_cannot_be_reset_and_goes_on(VmEventFlags reset)
    {
        using var lab = Asking();
        lab.Run((int _, in VmEvent _, ref VmEvent response) => response.Flags |= reset);
        Assert.Equal(1, lab.Faults[AnswerFault.MeaninglessFlags]);
    }

    private static EventLab Asking(bool sync = true)
    {
        var lab = new EventLab(Ask);
        lab.Monitor.Enable(new MonitorEvent.GuestRequest(sync));
        return lab;
    }

    private static void Ask(Assembler code)
    {
        code.mov(eax, (int)HypercallNumber.HvmOp);
        code.mov(edi, (int)HvmOp.GuestRequestVmEvent);
        code.xor(esi, esi);
        code.vmcall();
        code.hlt();
    }

    private sealed class StandingClock : TimeProvider
    {
        public TimeSpan Now { get; set; }

        public override long TimestampFrequency => TimeSpan.TicksPerSecond;

        public override long GetTimestamp() => Now.Ticks;
    }
}
