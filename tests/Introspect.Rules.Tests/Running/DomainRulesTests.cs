using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;
using Introspect.Rules.Files;
using Introspect.Rules.Handlers;
using Introspect.Rules.Running;
using Introspect.Rules.Tests.Mocks;

namespace Introspect.Rules.Tests.Running;

/// <summary>Rules on a pump: verdicts, alerts, and what is remembered from event to event.</summary>
public sealed class DomainRulesTests
{
    private const uint Lstar = 0xc0000082;
    private const ulong Smep = 1 << 20;

    [Fact]
    public void a_match_is_denied_and_told_and_another_event_is_neither()
    {
        using var rig = new RuleRig("""
            rules:
              - rule: smep
                on: write_ctrlreg
                when: register == CR4 and cleared(CR4.SMEP)
                do: deny
                output: "cleared at {rip}: {old} -> {new}"
                priority: critical
                tags: [kernel]
            """).Start();
        Assert.Equal(VmEventFlags.VcpuPaused | VmEventFlags.Deny, rig.Exchange(Requests.ControlRegister(ControlRegisterIndex.Cr4, Smep | 0x20, 0x20)).Flags);
        Assert.Equal(VmEventFlags.VcpuPaused, rig.Exchange(Requests.ControlRegister(ControlRegisterIndex.Cr4, 0x20, Smep | 0x20)).Flags);
        var alert = Assert.Single(rig.Alerts());
        Assert.Equal(("smep", RulePriority.Critical, "deny", AlertOutcome.Enforced), (alert.Rule, alert.Priority, alert.Verdict, alert.Outcome));
        Assert.Equal($"cleared at 0x{Requests.Rip:x}: 0x100020 -> 0x20", alert.Message);
        Assert.Equal(["kernel"], alert.Tags);
        Assert.Equal((new DomainId(7), "mock", VmEventReason.WriteCtrlreg), (alert.Domain, alert.DomainName, alert.Event.Reason));
        Assert.Equal((1, 1, 0), (rig.Statistics("smep").Matches, rig.Statistics("smep").Alerts, rig.Statistics("smep").Suppressed));
    }

    [Fact]
    public void a_record_names_the_rule_that_decided()
    {
        using var rig = new RuleRig("rules: [ { rule: smep, on: write_ctrlreg, when: register == CR4 and cleared(CR4.SMEP), do: deny } ]").Start();
        rig.Exchange(Requests.ControlRegister(ControlRegisterIndex.Cr4, Smep, 0));
        rig.Exchange(Requests.ControlRegister(ControlRegisterIndex.Cr4, 0, Smep));
        rig.Pump.Stop();
        Assert.True(rig.Pump.Records.TryRead(out var denied));
        Assert.Equal("smep", denied.Handler);
        Assert.False(rig.Pump.Records.TryRead(out _), "what no rule matches is no news");
    }

    [Fact]
    public void an_observing_rule_tells_what_it_would_have_done_and_does_nothing()
    {
        using var rig = new RuleRig("rules: [ { rule: a, on: mov_to_msr, when: msr == LSTAR, do: deny, mode: observe } ]").Start();
        Assert.Equal(VmEventFlags.VcpuPaused, rig.Exchange(Requests.Msr(Lstar, 1, 2)).Flags);
        var alert = Assert.Single(rig.Alerts());
        Assert.Equal(("deny", AlertOutcome.Observed), (alert.Verdict, alert.Outcome));
    }

    [Fact]
    public void all_rules_that_match_tell_and_the_first_with_a_decision_decides()
    {
        const string Rules = """
            rules:
              - { rule: looks, on: mov_to_msr, when: msr == LSTAR }
              - { rule: denies, on: mov_to_msr, when: msr == LSTAR, do: deny }
              - { rule: allows, on: mov_to_msr, when: msr == LSTAR, do: allow }
            """;
        using var all = new RuleRig(Rules).Start();
        Assert.Equal(VmEventFlags.VcpuPaused | VmEventFlags.Deny, all.Exchange(Requests.Msr(Lstar, 1, 2)).Flags);
        Assert.Equal([("looks", AlertOutcome.None), ("denies", AlertOutcome.Enforced), ("allows", AlertOutcome.Overruled)], all.Alerts().Select(alert => (alert.Rule, alert.Outcome)));

        using var first = new RuleRig("match: first\n" + Rules).Start();
        Assert.Equal(VmEventFlags.VcpuPaused, first.Exchange(Requests.Msr(Lstar, 1, 2)).Flags);
        Assert.Equal(["looks"], first.Alerts().Select(alert => alert.Rule));
    }

    [Fact]
    public void rules_tell_of_an_event_that_another_handler_decided()
    {
        var other = new HandlerRegistration(new TestHandler("early", s => s.Msr(Lstar, mayDeny: true), Verdict.Deny), Order: -1);
        using var rig = new RuleRig(null, [other], "rules: [ { rule: a, on: mov_to_msr, when: msr == LSTAR, do: allow } ]").Start();
        Assert.Equal(VmEventFlags.VcpuPaused | VmEventFlags.Deny, rig.Exchange(Requests.Msr(Lstar, 1, 2)).Flags);
        Assert.Equal(AlertOutcome.Overruled, Assert.Single(rig.Alerts()).Outcome);
    }

    [Fact]
    public void an_exception_keeps_a_rule_from_counting()
    {
        using var rig = new RuleRig("rules: [ { rule: a, on: mov_to_msr, when: msr == LSTAR, exceptions: [ { name: known, when: new == 5 }, { name: unreadable, when: 'u64[0x123000] == 0' } ] } ]").Start();
        Assert.Empty(rig.AlertsOf(Requests.Msr(Lstar, 1, 5)));
        Assert.Equal(["a"], rig.AlertsOf(Requests.Msr(Lstar, 1, 6)));
    }

    [Fact]
    public void registers_are_set_from_numbers_and_from_those_of_the_event()
    {
        using var rig = new RuleRig("rules: [ { rule: a, on: cpuid, when: leaf == 1, do: { set: { rax: rbx, rbx: rax, rdx: 7 } } } ]").Start();
        var request = Requests.Cpuid();
        var response = rig.Exchange(request);
        Assert.True((response.Flags & VmEventFlags.SetRegisters) != 0);
        Assert.Equal((request.Registers.Rbx, request.Registers.Rax, 7UL, request.Registers.Rip + 2), (response.Registers.Rax, response.Registers.Rbx, response.Registers.Rdx, response.Registers.Rip));
    }

    [Fact]
    public void a_trap_is_injected()
    {
        using var rig = new RuleRig("rules: [ { rule: a, on: descriptor_access, do: [ deny, { inject: { vector: 6 } } ] } ]").Start();
        rig.Exchange(Requests.Descriptor(write: true));
        Assert.Equal((0u, new TrapInjection(6, 3, 0, TrapInjection.NoErrorCode, 0)), Assert.Single(rig.Domain.Traps));
    }

    [Fact]
    public void a_breakpoint_is_kept_from_the_guest_or_given_back()
    {
        using var skip = new RuleRig("rules: [ { rule: a, on: software_breakpoint, do: skip } ]").Start();
        var response = skip.Exchange(Requests.Breakpoint());
        Assert.Equal(Requests.Rip + 1, response.Registers.Rip);
        Assert.Empty(skip.Domain.Traps);

        using var back = new RuleRig("rules: [ { rule: a, on: software_breakpoint, do: reinject } ]").Start();
        back.Exchange(Requests.Breakpoint());
        Assert.Equal(3, Assert.Single(back.Domain.Traps).Trap.Vector);
    }

    [Fact]
    public void a_vcpu_steps_as_many_instructions_as_a_rule_says()
    {
        using var rig = new RuleRig("rules: [ { rule: a, on: mov_to_msr, when: msr == LSTAR, do: { step: 3 } } ]").Start();
        Assert.True((rig.Exchange(Requests.Msr(Lstar, 1, 2)).Flags & VmEventFlags.ToggleSinglestep) != 0);
        Assert.False((rig.Exchange(Requests.Step()).Flags & VmEventFlags.ToggleSinglestep) != 0);
        Assert.False((rig.Exchange(Requests.Step()).Flags & VmEventFlags.ToggleSinglestep) != 0);
        Assert.True((rig.Exchange(Requests.Step()).Flags & VmEventFlags.ToggleSinglestep) != 0);
        Assert.False(rig.Monitor.IsStepping(0));
    }

    [Fact]
    public void the_guest_has_its_own_breakpoint_although_it_steps()
    {
        using var rig = new RuleRig("rules: [ { rule: a, on: software_breakpoint, do: { step: 3 } } ]").Start();
        Assert.True((rig.Exchange(Requests.Breakpoint()).Flags & VmEventFlags.ToggleSinglestep) != 0);
        Assert.Equal(3, Assert.Single(rig.Domain.Traps).Trap.Vector);
        rig.Pump.Stop();
    }

    [Fact]
    public void a_view_is_switched_to()
    {
        using var rig = new RuleRig("rules: [ { rule: a, on: cpuid, do: { view: 3 } } ]").Start();
        var response = rig.Exchange(Requests.Cpuid());
        Assert.True((response.Flags & VmEventFlags.AlternateP2m) != 0);
        Assert.Equal(3, response.AltP2mIndex);
    }

    [Fact]
    public void a_domain_is_paused_once_and_stays_so_for_the_operator()
    {
        using var rig = new RuleRig("rules: [ { rule: a, on: cpuid, do: pause } ]").Start();
        rig.Exchange(Requests.Cpuid());
        rig.Exchange(Requests.Cpuid());
        Assert.Equal(1, rig.Domain.PauseCount);
        rig.Pump.Stop();
        Assert.Equal(1, rig.Domain.PauseCount);
        Assert.Equal("pause", rig.Alerts()[0].Verdict);
    }

    [Fact]
    public void tags_of_a_verdict_are_on_the_alerts_of_later_rules()
    {
        using var rig = new RuleRig("""
            rules:
              - { rule: a, on: cpuid, do: [ count, { tag: odd } ] }
              - { rule: b, on: cpuid, tags: [own] }
            """).Start();
        rig.Exchange(Requests.Cpuid());
        var alert = Assert.Single(rig.Alerts());
        Assert.Equal(["own", "odd"], alert.Tags);
        Assert.Equal(1, rig.Statistics("a").Matches);
        Assert.Equal(0, rig.Statistics("a").Alerts);
    }

    [Fact]
    public void a_rule_begins_after_its_first_matches_of_each_vcpu()
    {
        using var rig = new RuleRig("rules: [ { rule: a, on: cpuid, after: 2 } ]").Start();
        var seen = new[] { 0u, 0u, 1u, 0u, 1u, 1u }.Select(vcpu => rig.AlertsOf(Requests.Cpuid(vcpu: vcpu)).Count);
        Assert.Equal([0, 0, 0, 1, 0, 1], seen);
        Assert.Equal(2, rig.Statistics("a").Matches);
    }

    [Fact]
    public void a_rule_begins_after_its_time()
    {
        var clock = new ManualClock();
        using var rig = new RuleRig(clock, null, "rules: [ { rule: a, on: cpuid, after: 60s } ]").Start();
        Assert.Empty(rig.AlertsOf(Requests.Cpuid()));
        clock.Advance(TimeSpan.FromSeconds(60));
        Assert.Equal(["a"], rig.AlertsOf(Requests.Cpuid()));
    }

    [Fact]
    public void a_page_that_was_written_and_is_run_is_told_once_each_time()
    {
        using var rig = new RuleRig("rules: [ { rule: wx, on: { mem_access: { pages: [0x10..0x11], written: true } } } ]").Start();
        Assert.Equal(MemoryAccess.R, rig.Monitor.GetMemoryAccess(new(0x10)));
        Assert.Empty(rig.AlertsOf(Requests.MemAccess(0x10, MemAccessFlags.Execute)));
        rig.Exchange(Requests.Step());
        Assert.Empty(rig.AlertsOf(Requests.MemAccess(0x10, MemAccessFlags.Write)));
        rig.Exchange(Requests.Step());
        Assert.Empty(rig.AlertsOf(Requests.MemAccess(0x11, MemAccessFlags.Execute)));
        rig.Exchange(Requests.Step());
        Assert.Equal(["wx"], rig.AlertsOf(Requests.MemAccess(0x10, MemAccessFlags.Execute)));
        rig.Exchange(Requests.Step());
        Assert.Empty(rig.AlertsOf(Requests.MemAccess(0x10, MemAccessFlags.Execute)));
        rig.Exchange(Requests.Step());

        // What a page-table walk marks in a page is no writing of code.
        Assert.Empty(rig.AlertsOf(Requests.MemAccess(0x10, MemAccessFlags.Write | MemAccessFlags.FaultInGpt)));
        rig.Exchange(Requests.Step());
        Assert.Empty(rig.AlertsOf(Requests.MemAccess(0x10, MemAccessFlags.Execute)));
    }

    [Fact]
    public void breakpoints_of_a_rule_are_its_own_and_none_of_the_guests()
    {
        var place = (0x100UL << 12) | (Requests.Rip & 0xfff);
        using var rig = new RuleRig($"rules: [ {{ rule: own, on: {{ software_breakpoint: {{ at: 0x{place:x} }} }} }}, {{ rule: guests, on: software_breakpoint }} ]");
        rig.Domain.Memory.WritePhysical(new(place), [0x90]);
        rig.Start();
        Assert.Equal(["own"], rig.AlertsOf(Requests.Breakpoint()));
        rig.Exchange(Requests.Step());
        var elsewhere = Requests.Breakpoint();
        elsewhere.Debug.Gfn = 0x101;
        Assert.Equal(["guests"], rig.AlertsOf(elsewhere));
    }

    [Fact]
    public void alerts_are_limited_and_the_next_one_tells_how_many_were_kept_back()
    {
        var clock = new ManualClock();
        using var rig = new RuleRig(clock, null, "rules: [ { rule: a, on: cpuid, rate: { alerts: 1/s, burst: 2 } } ]").Start();
        Assert.Equal([1, 1, 0, 0, 0], Enumerable.Range(0, 5).Select(_ => rig.AlertsOf(Requests.Cpuid()).Count));
        clock.Advance(TimeSpan.FromSeconds(1));
        rig.Exchange(Requests.Cpuid());
        Assert.Equal(3, Assert.Single(rig.Alerts()).Suppressed);
        var counted = rig.Statistics("a");
        Assert.Equal((6, 3, 3), (counted.Matches, counted.Alerts, counted.Suppressed));
    }

    [Fact]
    public void an_unreadable_condition_denies_only_where_the_rule_fails_closed()
    {
        const string Open = "rules: [ { rule: a, on: mov_to_msr, when: 'msr == LSTAR and u64[0x5000000] == 1', do: deny } ]";
        using var open = new RuleRig(Open).Start();
        Assert.Equal(VmEventFlags.VcpuPaused, open.Exchange(Requests.Msr(Lstar, 1, 2)).Flags);
        Assert.Empty(open.Alerts());

        using var closed = new RuleRig(Open.Replace("do: deny", "do: deny, fail: closed", StringComparison.Ordinal)).Start();
        Assert.Equal(VmEventFlags.VcpuPaused | VmEventFlags.Deny, closed.Exchange(Requests.Msr(Lstar, 1, 2)).Flags);
        Assert.Equal(AlertOutcome.Enforced, Assert.Single(closed.Alerts()).Outcome);
        Assert.Equal(VmEventFlags.VcpuPaused, closed.Exchange(Requests.Msr(0xc0000081, 1, 2)).Flags);
    }

    [Fact]
    public void what_a_rule_remembers_goes_on_when_rules_are_read_anew()
    {
        var clock = new ManualClock();
        var domain = new MockDomain();
        var channel = new AlertChannel();
        const string Text = "rules: [ { rule: late, on: cpuid, after: 60s }, { rule: third, on: cpuid, after: 2 }, { rule: wx, on: { mem_access: { pages: 0x10, written: true } } } ]";
        var first = new DomainRules(Tests.Files.RuleTexts.Load(Text), domain, channel, clock: clock);
        Ask(first, Requests.Cpuid());
        Ask(first, Requests.Cpuid());
        Ask(first, Requests.MemAccess(0x10, MemAccessFlags.Write));
        clock.Advance(TimeSpan.FromSeconds(61));
        var second = new DomainRules(Tests.Files.RuleTexts.Load(Text + "\nlists: {}"), domain, channel, clock: clock, before: first);
        Ask(second, Requests.Cpuid());
        Ask(second, Requests.MemAccess(0x10, MemAccessFlags.Execute));
        channel.Complete();
        var alerts = new List<string>();
        while (channel.Reader.TryRead(out var alert))
        {
            alerts.Add(alert.Rule);
        }

        Assert.Equal(["late", "third", "wx"], alerts);

        void Ask(DomainRules rules, VmEvent request)
        {
            var response = request;
            var context = new HandlerContext(domain, in request, ref response, default);
            rules.Handler.Handle(in request, ref context);
        }
    }

    [Fact]
    public void counters_go_on_when_rules_are_read_anew()
    {
        var domain = new MockDomain();
        var channel = new AlertChannel();
        const string Rules = "rules: [ { rule: a, on: cpuid } ]";
        var before = new DomainRules(Tests.Files.RuleTexts.Load(Rules), domain, channel);
        using (var pump = new Rules.Pump.EventPump(domain, [new(before.Handler)]))
        {
            pump.Start();
            domain.Monitor.PushAll(Requests.Cpuid());
            domain.Monitor.WaitForResponses(1);
        }

        var after = new DomainRules(Tests.Files.RuleTexts.Load(Rules + "\nlists: {}"), domain, channel, before: before);
        Assert.Equal(1, Assert.Single(after.Statistics).Matches);
    }
}
