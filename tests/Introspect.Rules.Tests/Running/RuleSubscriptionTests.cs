using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;
using Introspect.Rules.Handlers;
using Introspect.Rules.Pump;
using Introspect.Rules.Running;
using Introspect.Rules.Tests.Files;
using Introspect.Rules.Tests.Mocks;

namespace Introspect.Rules.Tests.Running;

/// <summary>What rules are about decides what the hypervisor is asked for, and no more than that is.</summary>
public sealed class RuleSubscriptionTests
{
    private const MonitorCapabilities All = (MonitorCapabilities)0x3fff;

    [Fact]
    public void a_rule_on_a_bit_of_CR4_asks_for_that_bit_of_CR4_alone()
    {
        var plan = Plan("rules: [ { rule: a, on: write_ctrlreg, when: register == CR4 and cleared(CR4.SMEP) } ]");
        Assert.Equal([new MonitorEvent.ControlRegister(ControlRegisterIndex.Cr4, Sync: false, OnChangeOnly: true, WatchMask: 1 << 20)], plan.Events);
        Assert.False(plan.MayDeny);
    }

    [Fact]
    public void the_bits_of_all_rules_are_asked_for_together()
    {
        var plan = Plan("""
            rules:
              - { rule: a, on: write_ctrlreg, when: register == CR4 and cleared(CR4.SMEP), do: deny }
              - { rule: b, on: write_ctrlreg, when: register == CR4 and cleared(CR4.SMAP) or register == CR0 and cleared(CR0.WP) }
              - { rule: c, on: write_ctrlreg, when: register == CR3, enabled: false }
            """);
        Assert.Equal(
            [
                new MonitorEvent.ControlRegister(ControlRegisterIndex.Cr0, Sync: false, OnChangeOnly: true, WatchMask: 1 << 16),
                new MonitorEvent.ControlRegister(ControlRegisterIndex.Cr4, Sync: true, OnChangeOnly: true, WatchMask: 3 << 20),
            ],
            plan.Events);
        Assert.True(plan.MayDeny);
    }

    [Fact]
    public void a_rule_on_MSRs_asks_for_those()
    {
        var plan = Plan("lists: { l: [STAR, 0x174..0x175] }\nrules: [ { rule: a, on: mov_to_msr, when: msr in $l and new != old }, { rule: b, on: mov_to_msr, when: msr == EFER } ]");
        Assert.Equal(
            [new MonitorEvent.Msr(0x174, true), new MonitorEvent.Msr(0x175, true), new MonitorEvent.Msr(0xc0000080), new MonitorEvent.Msr(0xc0000081, true)],
            plan.Events);
    }

    [Fact]
    public void a_rule_on_memory_asks_for_its_pages_and_rights()
    {
        var plan = Plan("""
            lists: { text: [0x10..0x1f] }
            rules:
              - { rule: a, on: mem_access, when: gfn in $text and access contains w }
              - { rule: b, on: { mem_access: { addresses: [0x40000+0x2000], access: x } } }
              - { rule: c, on: mem_access, when: gfn > 0xff0 and access contains w }
            """);
        Assert.Equal(MemoryAccess.Rx, plan.Rights[0x10]);
        Assert.Equal(MemoryAccess.Rx, plan.Rights[0x1f]);
        Assert.Equal(MemoryAccess.Rwx, plan.Rights[0x20]);
        Assert.Equal(MemoryAccess.Rw, plan.Rights[0x40]);
        Assert.Equal(MemoryAccess.Rw, plan.Rights[0x41]);
        Assert.Equal(MemoryAccess.Rwx, plan.Rights[0x42]);
        Assert.Equal(MemoryAccess.Rwx, plan.Rights[0xff0]);
        Assert.Equal(MemoryAccess.Rx, plan.Rights[0xfff]);

        // The domain's last frame.
        Assert.Equal(MemoryAccess.Rwx, plan.Rights[0x1000]);
    }

    [Fact]
    public void a_rule_for_another_domain_asks_for_nothing()
    {
        Assert.Empty(Plan("rules: [ { rule: a, on: cpuid, when: domain_name == 'other' } ]").Events);
        Assert.Empty(Plan("rules: [ { rule: a, on: cpuid, when: domain == 3 } ]").Events);
        Assert.Equal([new MonitorEvent.Cpuid()], Plan("rules: [ { rule: a, on: cpuid, when: domain == 7 and leaf == 1 } ]").Events);
    }

    [Fact]
    public void an_empty_list_watches_nothing() =>
        Assert.True(Plan("lists: { none: [] }\nrules: [ { rule: a, on: mem_access, when: gfn in $none } ]").Rights.IsEmpty);

    [Fact]
    public void options_reach_the_hypervisor()
    {
        var plan = Plan("""
            rules:
              - { rule: a, on: { guest_request: { userspace: true, sync: false } } }
              - { rule: b, on: { io_instruction: { optional: true } } }
              - { rule: c, on: { software_breakpoint: { at: [0x5000, 0x6000] } } }
              - { rule: d, on: debug_exception, do: { step: 4 } }
            """, MonitorCapabilities.GuestRequest | MonitorCapabilities.SoftwareBreakpoint | MonitorCapabilities.DebugException | MonitorCapabilities.Singlestep | MonitorCapabilities.EmulUnimplemented);
        Assert.Contains(new MonitorEvent.GuestRequest(Sync: false, AllowUserspace: true), plan.Events);
        Assert.Contains(new MonitorEvent.DebugException(Sync: true), plan.Events);
        Assert.Contains(new MonitorEvent.SingleStep(), plan.Events);
        Assert.DoesNotContain(plan.Events, e => e is MonitorEvent.IoInstruction);
        Assert.Equal([0x5000UL, 0x6000UL], plan.Breakpoints);
        Assert.Single(plan.Missing);
    }

    [Fact]
    public void exceptions_take_nothing_from_what_is_asked_for()
    {
        var plan = Plan("rules: [ { rule: a, on: mov_to_msr, when: msr == LSTAR, exceptions: [ { name: x, when: rip == 5 } ] } ]");
        Assert.Equal([new MonitorEvent.Msr(0xc0000082)], plan.Events);
    }

    private static SubscriptionPlan Plan(string file, MonitorCapabilities capabilities = All)
    {
        var rules = new DomainRules(RuleTexts.Load(file), new MockDomain(), new AlertChannel());
        var builder = new SubscriptionBuilder("rules");
        rules.Handler.Subscribe(builder);
        return SubscriptionPlan.Make([("rules", builder.Build())], capabilities);
    }
}
