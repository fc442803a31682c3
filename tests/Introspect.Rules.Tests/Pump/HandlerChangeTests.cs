using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;
using Introspect.Rules.Handlers;
using Introspect.Rules.Pump;
using Introspect.Rules.Tests.Mocks;

namespace Introspect.Rules.Tests.Pump;

/// <summary>Other handlers for a pump that runs.</summary>
public sealed class HandlerChangeTests
{
    private const ulong Page = 0x40;

    private static readonly GuestPhysical Place = new((0x100ul << 12) | (Requests.Rip & 0xfff));

    [Fact]
    public void What_is_new_is_enabled_what_is_gone_is_disabled_and_what_stays_is_not_touched()
    {
        using var rig = new PumpRig(new TestHandler("a", s => s.Cpuid().Msr(0x174), Verdict.Pass)).Start();
        Change(rig, new TestHandler("a", s => s.Cpuid().GuestRequest(), Verdict.Pass));
        Assert.Equal(["Cpuid", "GuestRequest"], rig.Monitor.Enabled);
        Assert.Equal(1, rig.Domain.Log.Count("Enable Cpuid"));
        Assert.True(rig.Domain.Log.IndexOf("Enable GuestRequest") < rig.Domain.Log.IndexOf("Disable Msr 0x174"));
        Assert.Equal(0, rig.Domain.PauseCount);
        rig.Pump.Stop();
        rig.AssertNothingIsLeft();
    }

    [Fact]
    public void Events_from_before_are_judged_by_the_handlers_from_before()
    {
        var old = PumpRig.Handler("old", Verdict.Pass);
        var next = PumpRig.Handler("next", Verdict.Pass);
        using var rig = new PumpRig(old).Start();
        var change = rig.Pump.Prepare([new(next)]);

        // What the guest does just before it stands still is in the ring when the handlers change.
        var told = false;
        rig.Domain.OnPause = () =>
        {
            if (!told)
            {
                told = true;
                rig.Monitor.PushAll(Requests.Cpuid(), Requests.Cpuid(vcpu: 1));
            }
        };
        rig.Pump.Apply(change);
        rig.Exchange(Requests.Cpuid());
        Assert.Equal((2, 1), (old.Calls, next.Calls));
        Assert.Equal(0, rig.Domain.PauseCount);
    }

    [Fact]
    public void Another_mask_is_set_by_disabling_and_enabling_while_the_guest_stands_still()
    {
        using var rig = new PumpRig(new TestHandler("a", s => s.ControlRegister(ControlRegisterIndex.Cr4, 0x10), Verdict.Pass)).Start();
        Change(rig, new TestHandler("a", s => s.ControlRegister(ControlRegisterIndex.Cr4, 0x30), Verdict.Pass));
        Assert.Equal(["Cr4"], rig.Monitor.Enabled);
        var calls = rig.Domain.Log.Calls.SkipWhile(call => call != "Disable Cr4").TakeWhile(call => call != "Unpause");
        Assert.Contains("Enable Cr4", calls);
        Assert.Empty(rig.Monitor.Breaches);
    }

    [Fact]
    public void A_refused_change_leaves_everything_as_it_was()
    {
        var old = new TestHandler("old", s => s.Cpuid().ControlRegister(ControlRegisterIndex.Cr4, 0x10).Memory(new(Page), 2, MemAccessFlags.Write), Verdict.Pass);
        using var rig = new PumpRig(old).Start();
        var before = rig.Monitor.Access;
        rig.Domain.Log.Fail("Enable GuestRequest", Errno.ENOMEM);
        Refused(s => s.GuestRequest().ControlRegister(ControlRegisterIndex.Cr4, 0x30).Msr(0x174));
        rig.Domain.Log.Heal("Enable GuestRequest");
        rig.Domain.Log.Fail($"SetMemoryAccess {new Gfn(0x90)}+1 Rx", Errno.EFAULT);
        Refused(s => s.GuestRequest().Memory(new(Page + 1), 4, MemAccessFlags.Execute).Memory(new(0x90), 1, MemAccessFlags.Write));
        rig.Exchange(Requests.Cpuid());
        Assert.Equal(1, old.Calls);
        Assert.Equal(0, rig.Pump.Statistics.Changes);
        rig.Pump.Stop();
        rig.AssertNothingIsLeft();

        void Refused(Action<SubscriptionBuilder> subscribe)
        {
            var enabled = rig.Monitor.Enabled.Order();
            Assert.Throws<PumpStartException>(() => Change(rig, new TestHandler("next", subscribe, Verdict.Pass)));
            Assert.Equal(enabled, rig.Monitor.Enabled.Order());
            Assert.Equal(before, rig.Monitor.Access);
            Assert.Equal(0, rig.Domain.PauseCount);
        }
    }

    [Fact]
    public void What_the_hypervisor_does_not_offer_is_known_before_anything_changes()
    {
        using var rig = new PumpRig(PumpRig.Handler("old", Verdict.Pass));
        rig.Monitor.Capabilities &= ~MonitorCapabilities.GuestRequest;
        rig.Start();
        var calls = rig.Domain.Log.Count("Pause");
        var refused = Assert.Throws<PumpStartException>(() => rig.Pump.Prepare([new(new TestHandler("next", s => s.GuestRequest(), Verdict.Pass))]));
        Assert.Contains("guest requests", refused.Message, StringComparison.Ordinal);
        Assert.Equal(calls, rig.Domain.Log.Count("Pause"));
    }

    [Fact]
    public void A_page_that_is_stepped_over_at_the_change_gets_the_rights_of_the_new_handlers_after_its_step()
    {
        using var rig = new PumpRig(new TestHandler("old", s => s.Memory(new(Page), 1, MemAccessFlags.Write), Verdict.Pass)).Start();
        rig.Exchange(Requests.MemAccess(Page, MemAccessFlags.Write));
        Assert.True(rig.Monitor.IsStepping(0));

        Change(rig, new TestHandler("next", s => s.Memory(new(Page), 1, MemAccessFlags.Read | MemAccessFlags.Write), Verdict.Pass));
        Assert.False(rig.Monitor.Access.ContainsKey(Page), "the access that was let past would be told again");
        rig.Exchange(Requests.Step());
        Assert.Equal(MemoryAccess.X, rig.Monitor.Access[Page]);
        Assert.False(rig.Monitor.IsStepping(0));
        rig.Pump.Stop();
        rig.AssertNothingIsLeft();
    }

    [Fact]
    public void A_step_under_way_ends_though_nobody_needs_steps_any_more()
    {
        using var rig = new PumpRig(new TestHandler("old", s => s.Memory(new(Page), 1, MemAccessFlags.Write), Verdict.Pass)).Start();
        rig.Exchange(Requests.MemAccess(Page, MemAccessFlags.Write));
        Change(rig, new TestHandler("next", s => s.Cpuid(), Verdict.Pass));
        Assert.Contains("SingleStep", rig.Monitor.Enabled);
        rig.Exchange(Requests.Step());
        Assert.False(rig.Monitor.IsStepping(0));
        Assert.Empty(rig.Monitor.Access);
        Assert.True(SpinWait.SpinUntil(() => rig.Monitor.Enabled.Count == 1, TimeSpan.FromSeconds(30)), "single steps stay enabled");
        Assert.All(rig.Domain.Holds, holds => Assert.Equal(0, holds));
    }

    [Fact]
    public void A_breakpoint_that_is_told_of_after_it_was_taken_out_is_not_given_to_the_guest()
    {
        using var rig = new PumpRig(new TestHandler("old", s => s.Breakpoint(Place), Verdict.Pass));
        rig.Domain.Memory.WritePhysical(Place, [0x90]);
        rig.Start();
        Change(rig, new TestHandler("next", s => s.Cpuid().SoftwareBreakpoint(), Verdict.Pass));
        var late = rig.Exchange(Requests.Breakpoint())[0];
        Assert.Equal(VmEventFlags.VcpuPaused, late.Flags);
        Assert.Empty(rig.Domain.Traps);

        // One that the guest has there itself is the guest's.
        rig.Domain.Memory.WritePhysical(Place, [0xcc]);
        rig.Exchange(Requests.Breakpoint());
        Assert.Single(rig.Domain.Traps);
    }

    [Fact]
    public async Task A_view_is_made_anew_while_nobody_steps_in_it()
    {
        using var rig = new PumpRig(new TestHandler("old", s => s.Memory(new(Page), 1, MemAccessFlags.Write).InView(), Verdict.Pass)).Start();
        rig.Exchange(Requests.MemAccess(Page, MemAccessFlags.Write));
        var change = rig.Pump.Prepare([new(new TestHandler("next", s => s.Memory(new(Page + 1), 1, MemAccessFlags.Write).InView(), Verdict.Pass))]);
        var applied = Task.Run(() => rig.Pump.Apply(change));
        rig.Exchange(Requests.Step());
        await applied;
        rig.Pump.Stop();
        rig.AssertNothingIsLeft();
        Assert.Empty(rig.Domain.Frames);
    }

    [Fact]
    public void A_handler_that_stays_goes_on_with_its_state_and_one_of_its_name_with_its_counters()
    {
        var stays = PumpRig.Handler("stays", Verdict.Pass);
        using var rig = new PumpRig(stays, PumpRig.Handler("again", Verdict.Allow)).Start();
        rig.Exchange(Requests.Cpuid());
        rig.Pump.Apply(rig.Pump.Prepare([new(stays), new(PumpRig.Handler("again", Verdict.Allow)), new(PumpRig.Handler("new", Verdict.Pass))]));
        rig.Exchange(Requests.Cpuid());
        var again = Assert.Single(rig.Pump.Statistics.Handlers, handler => handler.Name == "again");
        Assert.Equal(2, again.Decisions);
        Assert.Equal(3, rig.Pump.Statistics.Handlers.Count);
        Assert.Equal(1, rig.Pump.Statistics.Changes);
    }

    [Fact]
    public void A_change_that_a_hanging_handler_holds_up_is_given_up_and_the_old_handlers_stay()
    {
        using var release = new ManualResetEventSlim();
        var hangs = PumpRig.Handler("hangs", (ref readonly VmEvent _, ref HandlerContext _) =>
        {
            release.Wait();
            return Verdict.Pass;
        });
        using var rig = new PumpRig(new PumpOptions { StopTimeout = TimeSpan.FromMilliseconds(50), HandlerBudget = TimeSpan.FromHours(1) }, new HandlerRegistration(hangs)).Start();
        rig.Monitor.Push(Requests.Cpuid());
        Assert.True(SpinWait.SpinUntil(() => hangs.Calls == 1, TimeSpan.FromSeconds(30)));
        Assert.Throws<TimeoutException>(() => Change(rig, PumpRig.Handler("next", Verdict.Pass)));
        release.Set();
        rig.Monitor.WaitForResponses(1);
        rig.Exchange(Requests.Cpuid());
        Assert.Equal(2, hangs.Calls);
        Assert.Equal(0, rig.Pump.Statistics.Changes);
    }

    [Fact]
    public void A_pump_that_ends_takes_no_other_handlers()
    {
        using var rig = new PumpRig(PumpRig.Handler("old", Verdict.Pass)).Start();
        var change = rig.Pump.Prepare([new(PumpRig.Handler("next", Verdict.Pass))]);
        rig.Pump.Stop();
        Assert.Throws<PumpStartException>(() => rig.Pump.Apply(change));
        rig.AssertNothingIsLeft();
    }

    [Fact]
    public void A_domain_that_goes_while_its_handlers_change_ends_the_pump_and_the_change()
    {
        using var rig = new PumpRig(PumpRig.Handler("old", Verdict.Pass)).Start();
        var change = rig.Pump.Prepare([new(new TestHandler("next", s => s.GuestRequest(), Verdict.Pass))]);
        rig.Domain.OnPause = rig.Domain.Vanish;
        Assert.ThrowsAny<Exception>(() => rig.Pump.Apply(change));
        rig.Monitor.Push(Requests.Cpuid());
        Assert.Equal(PumpEndKind.DomainGone, rig.WaitForEnd().Kind);
    }

    private static void Change(PumpRig rig, params TestHandler[] handlers) =>
        rig.Pump.Apply(rig.Pump.Prepare(handlers.Select(handler => new HandlerRegistration(handler))));
}
