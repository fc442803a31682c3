using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;
using Introspect.Rules.Handlers;
using Introspect.Rules.Pump;
using Introspect.Rules.Tests.Mocks;

namespace Introspect.Rules.Tests.Pump;

public class EventPumpStopTests
{
    private static readonly PumpOptions ShortPatience = new() { StopTimeout = TimeSpan.FromMilliseconds(50) };

    [Fact]
    public void Stopping_disables_then_answers_then_lets_the_guest_go_then_lets_go_of_the_monitor()
    {
        var handler = new TestHandler(
            "a",
            subscription => subscription.Cpuid().ControlRegister(ControlRegisterIndex.Cr4).Memory(new(0x10), 4, MemAccessFlags.Write).EmulateEachRep(),
            Verdict.Pass);
        using var rig = new PumpRig(handler).Start();
        var started = rig.Domain.Log.Calls.Count;

        rig.Pump.Stop();

        string[] noise = ["Wait", "GetInfo"];
        Assert.Equal(
            [
                "Pause",
                "Disable EmulUnimplemented",
                "Disable Cpuid",
                "Disable Cr4",
                "Disable SingleStep",
                "SetMemoryAccess 0x10+4 Rwx",
                "EmulateEachRep off",
                "TryTake",
                "Notify",
                "Unpause",
                "Dispose",
            ],
            rig.Domain.Log.Calls.Skip(started).Where(call => !noise.Contains(call)));
        rig.AssertNothingIsLeft();
        Assert.Equal(PumpEndKind.Stopped, rig.WaitForEnd().Kind);
        Assert.True(rig.Pump.Records.Completion.IsCompletedSuccessfully);
    }

    [Fact]
    public void What_is_in_the_ring_when_everything_is_disabled_is_answered_without_asking_handlers()
    {
        var handler = PumpRig.Handler("a", Verdict.Deny);
        using var rig = new PumpRig(handler).Start();
        rig.Domain.OnPause = () => rig.Monitor.PushAll(
            Requests.Cpuid(), Requests.Breakpoint(vcpu: 1), PumpRig.Cr4Write(vcpu: 1), Requests.MemAccess(5, MemAccessFlags.Write));

        rig.Pump.Stop();

        rig.AssertNothingIsLeft();
        Assert.Equal(0, handler.Calls);
        Assert.Equal(
            [VmEventReason.Cpuid, VmEventReason.SoftwareBreakpoint, VmEventReason.WriteCtrlreg, VmEventReason.MemAccess],
            rig.Monitor.Responses.Select(response => response.Reason));
        Assert.Equal(Requests.Rip + 2, rig.Monitor.Responses[0].Registers.Rip);
        Assert.All(rig.Monitor.Responses.Skip(1), response => Assert.Equal(VmEventFlags.VcpuPaused, response.Flags));
        Assert.Equal(3, Assert.Single(rig.Domain.Traps).Trap.Vector);
    }

    [Fact]
    public void A_handler_may_ask_for_the_stop()
    {
        PumpRig? rig = null;
        var handler = PumpRig.Handler("a", (ref readonly VmEvent _, ref HandlerContext _) =>
        {
            rig!.Pump.Stop();
            return Verdict.Deny;
        });
        using (rig = new PumpRig(handler).Start())
        {
            rig.Monitor.Push(PumpRig.Cr4Write());

            Assert.Equal(PumpEndKind.Stopped, rig.WaitForEnd().Kind);

            rig.AssertNothingIsLeft();
            Assert.Equal(VmEventFlags.VcpuPaused | VmEventFlags.Deny, Assert.Single(rig.Monitor.Responses).Flags);
        }
    }

    [Fact]
    public void A_stop_under_load_leaves_nothing_enabled_and_every_request_answered()
    {
        // Two vCPUs that always have the next request; they end when the hypervisor sends nothing any more.
        for (var round = 0; round < 5; round++)
        {
            var handler = new TestHandler("a", subscription => subscription.Cpuid().Memory(new(0x10), 1, MemAccessFlags.Write), Verdict.Pass);
            using var rig = new PumpRig(handler);
            rig.Monitor.KeepsResponses = false;
            rig.Start();
            var vcpus = Enumerable.Range(0, 2).Select(vcpu => new Thread(() => Load(rig.Monitor, (uint)vcpu))).ToArray();
            Array.ForEach(vcpus, vcpu => vcpu.Start());
            Assert.True(SpinWait.SpinUntil(() => rig.Pump.Statistics.TotalEvents > 200, TimeSpan.FromSeconds(30)));

            rig.Pump.Stop();

            Array.ForEach(vcpus, vcpu => Assert.True(vcpu.Join(TimeSpan.FromSeconds(30))));
            rig.AssertNothingIsLeft();
            Assert.Equal(rig.Pump.Statistics.TotalEvents, rig.Pump.Statistics.TotalResponses);
        }

        static void Load(MockMonitor monitor, uint vcpu)
        {
            while (monitor.Enabled.Contains("Cpuid") && !monitor.IsDisposed)
            {
                monitor.PushIfEnabled("Cpuid", Requests.Cpuid(vcpu: vcpu));
            }
        }
    }

    [Fact]
    public void A_vCPU_in_a_step_is_waited_for_and_switched_off()
    {
        var handler = new TestHandler("a", subscription => subscription.Memory(new(0x10), 1, MemAccessFlags.Write), Verdict.Pass);
        using var rig = new PumpRig(handler).Start();
        rig.Exchange(Requests.MemAccess(0x10, MemAccessFlags.Write, vcpu: 1));
        Assert.True(rig.Monitor.IsStepping(1));

        // The guest makes its step once the domain is let go.
        rig.Monitor.OnWait = () =>
        {
            if (rig.Domain.PauseCount == 0 && rig.Monitor.IsStepping(1) && !rig.Monitor.Enabled.Contains("EmulUnimplemented"))
            {
                rig.Monitor.OnWait = null;
                rig.Monitor.Push(Requests.Step(vcpu: 1));
            }
        };
        rig.Pump.Stop();

        rig.AssertNothingIsLeft();
        Assert.True(rig.Domain.Log.LastIndexOf("Disable SingleStep") > rig.Domain.Log.LastIndexOf("Respond Singlestep"));
    }

    [Fact]
    public void A_vCPU_that_makes_no_step_does_not_hold_up_the_stop_for_ever()
    {
        var handler = new TestHandler("a", subscription => subscription.Memory(new(0x10), 1, MemAccessFlags.Write), Verdict.Pass);
        using var rig = new PumpRig(ShortPatience, new HandlerRegistration(handler)).Start();
        rig.Exchange(Requests.MemAccess(0x10, MemAccessFlags.Write));

        rig.Pump.Stop();

        Assert.Empty(rig.Monitor.Enabled);
        Assert.Empty(rig.Monitor.Access);
        Assert.True(rig.Monitor.IsDisposed);
        Assert.Contains(rig.Diagnostics.Of(PumpDiagnosticKind.OperationFailed), diagnostic => diagnostic.Message.Contains("single-stepping", StringComparison.Ordinal));
    }

    [Fact]
    public void A_handler_that_never_returns_does_not_keep_the_guest()
    {
        using var release = new ManualResetEventSlim();
        using var entered = new ManualResetEventSlim();
        var handler = PumpRig.Handler("hangs", (ref readonly VmEvent _, ref HandlerContext context) =>
        {
            entered.Set();
            release.Wait();
            context.Registers.Rax = 0xbad;
            return Verdict.Deny;
        });
        using var rig = new PumpRig(ShortPatience, new HandlerRegistration(handler)).Start();
        rig.Monitor.PushAll(Requests.Cpuid(), Requests.Cpuid(vcpu: 1));
        entered.Wait();

        rig.Pump.Stop();

        rig.AssertNothingIsLeft();
        Assert.Equal(2, rig.Monitor.ResponseCount);
        Assert.All(rig.Monitor.Responses, response => Assert.Equal(Requests.Rip + 2, response.Registers.Rip));
        release.Set();
        Assert.True(rig.Pump.JoinThread(TimeSpan.FromSeconds(30)));
        rig.Pump.Stop();
        rig.AssertNothingIsLeft();
        Assert.Equal(2, rig.Monitor.ResponseCount);
    }

    [Fact]
    public void Stopping_twice_from_two_threads_and_before_a_start_is_harmless()
    {
        using var rig = new PumpRig(PumpRig.Handler("a", Verdict.Pass)).Start();
        Parallel.Invoke(rig.Pump.Stop, rig.Pump.Stop, rig.Pump.Dispose);
        rig.AssertNothingIsLeft();
        Assert.Equal(1, rig.Domain.Log.Count("Dispose"));

        using var never = new PumpRig(PumpRig.Handler("a", Verdict.Pass));
        never.Pump.Stop();
        Assert.Empty(never.Domain.Log.Calls);
        Assert.Equal(PumpEndKind.Stopped, never.WaitForEnd().Kind);
    }

    [Fact]
    public void A_domain_that_vanished_is_let_go_quietly()
    {
        using var rig = new PumpRig(PumpRig.Handler("a", Verdict.Pass)).Start();
        rig.Domain.Vanish();

        rig.Pump.Stop();

        Assert.Equal(PumpEndKind.DomainGone, rig.WaitForEnd().Kind);
        Assert.True(rig.Monitor.IsDisposed);
        Assert.Single(rig.Diagnostics.Of(PumpDiagnosticKind.DomainGone));
    }

    [Fact]
    public void A_pump_notices_by_itself_that_its_domain_has_vanished()
    {
        using var rig = new PumpRig(new PumpOptions { IdleInterval = TimeSpan.FromMilliseconds(5) }, new HandlerRegistration(PumpRig.Handler("a", Verdict.Pass))).Start();
        rig.Domain.Vanish();

        rig.WaitForEnd();

        Assert.Equal(PumpEndKind.DomainGone, rig.WaitForEnd().Kind);
        Assert.True(rig.Monitor.IsDisposed);
    }

    [Fact]
    public void A_dying_domain_is_let_go_so_that_it_can_end()
    {
        using var rig = new PumpRig(new PumpOptions { IdleInterval = TimeSpan.FromMilliseconds(5) }, new HandlerRegistration(PumpRig.Handler("a", Verdict.Pass))).Start();

        rig.Domain.State = DomainState.Dying;

        Assert.Equal(PumpEndKind.DomainGone, rig.WaitForEnd().Kind);
        Assert.True(rig.Monitor.IsDisposed);
    }

    private static readonly string[] StopCalls =
        ["Pause", "Disable EmulUnimplemented", "Disable Cpuid", "Disable SingleStep", "SetMemoryAccess 0x10+4 Rwx", "TryTake", "Notify", "Unpause"];

    public static TheoryData<string> CallsOfAStop => new(StopCalls);

    [Theory]
    [MemberData(nameof(CallsOfAStop))]
    public void Whatever_single_call_is_refused_in_a_stop_all_others_are_made(string call)
    {
        var handler = new TestHandler("a", subscription => subscription.Cpuid().Memory(new(0x10), 4, MemAccessFlags.Write), Verdict.Pass);
        using var rig = new PumpRig(handler).Start();
        rig.Domain.Log.Fail(call, Errno.EINVAL);

        rig.Pump.Stop();

        Assert.True(rig.Monitor.IsDisposed);
        foreach (var other in StopCalls.Where(other => (call, other) != ("Pause", "Unpause")))
        {
            Assert.True(rig.Domain.Log.LastIndexOf(other) > rig.Domain.Log.IndexOf("Unpause"), $"{other} is missing");
        }

        Assert.NotEqual(0, rig.Pump.Statistics.FailedOperations);
        Assert.NotEmpty(rig.Diagnostics.Of(PumpDiagnosticKind.OperationFailed));
        Assert.Equal(PumpEndKind.Stopped, rig.WaitForEnd().Kind);
    }

    [Fact]
    public void A_page_that_is_gone_is_not_a_domain_that_is_gone()
    {
        var handler = new TestHandler("a", subscription => subscription.Cpuid().Memory(new(0x10), 4, MemAccessFlags.Write), Verdict.Pass);
        using var rig = new PumpRig(handler).Start();
        rig.Domain.Log.Fail("SetMemoryAccess 0x10+4 Rwx", Errno.ESRCH);

        rig.Pump.Stop();

        Assert.Empty(rig.Monitor.Enabled);
        Assert.Equal(0, rig.Domain.PauseCount);
        Assert.Equal(PumpEndKind.Stopped, rig.WaitForEnd().Kind);
    }

    [Theory]
    [InlineData("Wait")]
    [InlineData("TryTake")]
    [InlineData("Respond")]
    [InlineData("Notify")]
    public void A_pump_that_cannot_go_on_tears_down_and_tells_why(string call)
    {
        using var rig = new PumpRig(PumpRig.Handler("a", Verdict.Pass));
        rig.Domain.Log.Fail(call, Errno.EIO, nth: 1);
        rig.Monitor.Push(Requests.Cpuid());

        rig.Start();
        rig.WaitForEnd();

        rig.AssertNothingIsLeft();
        Assert.Equal(PumpEndKind.Failed, rig.WaitForEnd().Kind);
        Assert.Equal(Errno.EIO, Assert.IsType<HypervisorException>(rig.WaitForEnd().Exception).Error);
        Assert.Single(rig.Diagnostics.Of(PumpDiagnosticKind.PumpFailed));
    }

    [Theory]
    [InlineData("InjectTrap", Errno.EBUSY)]
    [InlineData("InjectTrap", Errno.ENOENT)]
    public void An_operation_refused_while_answering_does_not_end_the_pump(string call, Errno error)
    {
        using var rig = new PumpRig(new TestHandler("a", subscription => subscription.SoftwareBreakpoint(), Verdict.Pass)).Start();
        rig.Domain.Log.Fail(call, error, nth: 1);

        Assert.Equal(VmEventFlags.VcpuPaused, Assert.Single(rig.Exchange(Requests.Breakpoint())).Flags);
        Assert.Equal(VmEventFlags.VcpuPaused, Assert.Single(rig.Exchange(Requests.Breakpoint())).Flags);

        Assert.Single(rig.Domain.Traps);
        Assert.Equal(1, rig.Pump.Statistics.FailedOperations);
    }
}
