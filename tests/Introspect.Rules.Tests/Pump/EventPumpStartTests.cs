using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;
using Introspect.Rules.Handlers;
using Introspect.Rules.Pump;
using Introspect.Rules.Tests.Mocks;

namespace Introspect.Rules.Tests.Pump;

public class EventPumpStartTests
{
    [Fact]
    public void Everything_is_enabled_under_one_pause_of_the_domain()
    {
        var handler = new TestHandler(
            "a",
            subscription => subscription
                .ControlRegister(ControlRegisterIndex.Cr4, mayDeny: true)
                .Memory(new(0x10), 4, MemAccessFlags.Write)
                .EmulateEachRep(),
            Verdict.Pass);
        using var rig = new PumpRig(handler).Start();

        string[] noise = ["Wait", "TryTake", "GetInfo"];
        Assert.Equal(
            [
                "Pause",
                "EnableMonitor",
                "ControlRegisters",
                "EmulateEachRep on",
                "Enable SingleStep",
                "Enable Cr4",
                "Enable EmulUnimplemented",
                "SetMemoryAccess 0x10+4 Rx",
                "Unpause",
            ],
            rig.Domain.Log.Calls.Where(call => !noise.Contains(call)));
    }

    [Fact]
    public void Register_writes_are_held_back_only_for_a_handler_that_may_deny()
    {
        using var rig = new PumpRig(new TestHandler("a", subscription => subscription.ControlRegister(ControlRegisterIndex.Cr4), Verdict.Pass)).Start();

        Assert.False(rig.Monitor.ControlRegistersHeld);
    }

    [Fact]
    public void What_the_hypervisor_does_not_offer_is_told_with_a_remedy_and_nothing_is_left()
    {
        using var rig = new PumpRig(new TestHandler("ports", subscription => subscription.IoInstruction(), Verdict.Pass));
        rig.Monitor.Capabilities &= ~MonitorCapabilities.IoInstruction;

        var failure = Assert.Throws<PumpStartException>(rig.Pump.Start);

        Assert.Contains("handler ports needs port accesses", Assert.Single(failure.Problems, problem => problem.Contains("EOPNOTSUPP", StringComparison.Ordinal)), StringComparison.Ordinal);
        rig.AssertNothingIsLeft();
        Assert.Equal(PumpEndKind.Failed, rig.WaitForEnd().Kind);
    }

    public static TheoryData<string> CallsOfAStart => new(
        "ControlRegisters", "EmulateEachRep on", "Enable SingleStep", "Enable Cr4", "SetMemoryAccess 0x10+4 Rx", "SetMemoryAccess 0x20+4 Rw");

    [Theory]
    [MemberData(nameof(CallsOfAStart))]
    public void Whatever_is_refused_in_a_start_leaves_nothing_behind(string call)
    {
        var handler = new TestHandler(
            "a",
            subscription => subscription
                .ControlRegister(ControlRegisterIndex.Cr4, mayDeny: true)
                .Memory(new(0x10), 4, MemAccessFlags.Write)
                .Memory(new(0x20), 4, MemAccessFlags.Execute)
                .EmulateEachRep(),
            Verdict.Pass);
        using var rig = new PumpRig(handler);
        rig.Domain.Log.Fail(call, Errno.EOPNOTSUPP);

        var failure = Assert.Throws<PumpStartException>(rig.Pump.Start);

        Assert.Contains("EOPNOTSUPP", failure.Message, StringComparison.Ordinal);
        Assert.IsType<HypervisorException>(failure.InnerException);
        rig.AssertNothingIsLeft();
        Assert.True(rig.Domain.Log.IndexOf("Dispose") < rig.Domain.Log.LastIndexOf("Unpause"));
    }

    [Fact]
    public void An_optional_event_that_is_refused_although_it_was_offered_is_left_out_and_told()
    {
        using var rig = new PumpRig(new TestHandler("a", subscription => subscription.Cpuid().VmExit(optional: true), Verdict.Pass));
        rig.Domain.Log.Fail("Enable VmExit", Errno.EOPNOTSUPP);

        rig.Start();

        Assert.Equal(["Cpuid"], rig.Monitor.Enabled);
        Assert.Single(rig.Diagnostics.Of(PumpDiagnosticKind.EventUnsupported));
        rig.Pump.Stop();
        Assert.Equal(0, rig.Pump.Statistics.FailedOperations);
        rig.AssertNothingIsLeft();
    }

    [Fact]
    public void An_optional_event_that_is_refused_for_another_cause_keeps_the_pump_from_starting()
    {
        using var rig = new PumpRig(new TestHandler("a", subscription => subscription.VmExit(optional: true), Verdict.Pass));
        rig.Domain.Log.Fail("Enable VmExit", Errno.EINVAL);

        Assert.Throws<PumpStartException>(rig.Pump.Start);

        rig.AssertNothingIsLeft();
    }

    [Theory]
    [InlineData("EnableMonitor", Errno.EBUSY)]
    [InlineData("GetInfo", Errno.ESRCH)]
    public void A_monitor_that_cannot_be_had_is_told_with_the_hypervisors_errno(string call, Errno error)
    {
        using var rig = new PumpRig(PumpRig.Handler("a", Verdict.Pass));
        rig.Domain.Log.Fail(call, error);

        Assert.Equal(error, Assert.Throws<HypervisorException>(rig.Pump.Start).Error);

        Assert.Equal(0, rig.Domain.PauseCount);
        Assert.Equal(call != "EnableMonitor", rig.Monitor.IsDisposed);
        Assert.True(rig.Pump.Records.Completion.IsCompleted);
    }

    [Fact]
    public void A_domain_that_cannot_be_paused_is_left_alone()
    {
        using var rig = new PumpRig(PumpRig.Handler("a", Verdict.Pass));
        rig.Domain.Log.Fail("Pause", Errno.ESRCH);

        Assert.Throws<HypervisorException>(rig.Pump.Start);

        Assert.Equal(["Pause"], rig.Domain.Log.Calls);
    }

    [Fact]
    public void A_pump_runs_once()
    {
        using var rig = new PumpRig(PumpRig.Handler("a", Verdict.Pass)).Start();

        Assert.Throws<InvalidOperationException>(rig.Pump.Start);
        rig.Pump.Stop();
        Assert.Throws<InvalidOperationException>(rig.Pump.Start);
    }

    [Fact]
    public void Merged_and_missing_wishes_are_told()
    {
        using var rig = new PumpRig(
            new TestHandler("a", subscription => subscription.GuestRequest(sync: false).VmExit(optional: true), Verdict.Pass),
            new TestHandler("b", subscription => subscription.GuestRequest(), Verdict.Pass));
        rig.Monitor.Capabilities &= ~MonitorCapabilities.VmExit;

        rig.Start();

        Assert.Single(rig.Diagnostics.Of(PumpDiagnosticKind.SubscriptionMerged));
        Assert.Single(rig.Diagnostics.Of(PumpDiagnosticKind.EventUnsupported));
        Assert.Single(rig.Diagnostics.Of(PumpDiagnosticKind.Started));
    }
}
