using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;
using Introspect.Rules.Handlers;
using Introspect.Rules.Pump;
using Introspect.Rules.Tests.Mocks;
using Introspect.Rules.Tests.Responses;

namespace Introspect.Rules.Tests.Handlers;

/// <summary>What a handler sees of what the hypervisor sends.</summary>
public class SubscriptionScopeTests
{
    [Theory]
    [InlineData(0x1000ul, 0x1000ul, true)]
    [InlineData(0x1000ul, 0x1fff_0000_1000ul, false)]
    [InlineData(0x1000ul, 0x8000_0000_0000_1005ul, true)]
    [InlineData(0x1007ul, 0x1000ul, true)]
    [InlineData(0x2000ul, 0x1000ul, false)]
    public void Address_spaces_are_told_apart_by_their_root_alone(ulong cr3, ulong asked, bool seen)
    {
        var request = Requests.Cpuid();
        request.Registers.Cr3 = cr3;
        Assert.Equal(seen, Wishes(s => s.Cpuid().InAddressSpaces(0x5000, asked)).Matches(in request));
    }

    [Fact]
    public void The_tables_of_PAE_are_aligned_to_32_bytes()
    {
        var request = Requests.Cpuid();
        request.Registers.MsrEfer = 0;
        request.Registers.Cr4 = 1 << 5;
        request.Registers.Cr3 = 0x1020;
        Assert.True(Wishes(s => s.Cpuid().InAddressSpaces(0x1020)).Matches(in request));
        Assert.False(Wishes(s => s.Cpuid().InAddressSpaces(0x1000)).Matches(in request));
    }

    [Fact]
    public void A_write_of_the_value_that_is_there_is_seen_unless_changes_alone_are_asked_for()
    {
        var request = Requests.ControlRegister(ControlRegisterIndex.Cr3, 0x1000, 0x1000);
        Assert.True(Wishes(s => s.ControlRegister(ControlRegisterIndex.Cr3)).Matches(in request));
        Assert.False(Wishes(s => s.ControlRegister(ControlRegisterIndex.Cr3, onChangeOnly: true)).Matches(in request));
        Assert.False(Wishes(s => s.ControlRegister(ControlRegisterIndex.Cr4)).Matches(in request));
    }

    [Theory]
    [InlineData(true, true, false)]
    [InlineData(true, false, false)]
    [InlineData(true, true, true)]
    public void The_hypervisor_is_asked_for_changes_alone_when_nobody_wants_more(bool first, bool second, bool third)
    {
        var plan = SubscriptionPlan.Make(
            [
                ("a", Wishes(s => s.ControlRegister(ControlRegisterIndex.Cr3, onChangeOnly: first))),
                ("b", Wishes(s => s.ControlRegister(ControlRegisterIndex.Cr3, onChangeOnly: second))),
                ("c", Wishes(s => s.ControlRegister(ControlRegisterIndex.Cr3, onChangeOnly: third))),
            ],
            (MonitorCapabilities)0x3fff);
        Assert.Equal([new MonitorEvent.ControlRegister(ControlRegisterIndex.Cr3, OnChangeOnly: first && second && third)], plan.Events);
    }

    [Fact]
    public void A_breakpoint_of_ones_own_is_not_all_breakpoints()
    {
        var own = Requests.Breakpoint();
        var guests = own;
        guests.Registers.Rip += 0x100;
        var mine = Wishes(s => s.Breakpoint(new(0x100ffe)));
        Assert.True(mine.Matches(in own));
        Assert.False(mine.Matches(in guests));
        Assert.True(Wishes(s => s.Breakpoint(new(0x100ffe)).SoftwareBreakpoint()).Matches(in guests));
    }

    [Fact]
    public void Each_answer_arms_the_next_interrupt_but_those_to_interrupts()
    {
        var bench = new Bench(s => s.Interrupt());
        Assert.Equal([new MonitorEvent.ControlRegister(ControlRegisterIndex.Cr3)], bench.Plan.Events);
        Assert.True(bench.Answer(Requests.ControlRegister(ControlRegisterIndex.Cr3, 1, 2), Verdict.Pass).Flags.HasFlag(VmEventFlags.GetNextInterrupt));
        Assert.False(bench.Answer(Requests.Make(VmEventReason.Interrupt), Verdict.Pass).Flags.HasFlag(VmEventFlags.GetNextInterrupt));
        bench.Builder.NothingEnabled = true;
        Assert.False(bench.Answer(Requests.ControlRegister(ControlRegisterIndex.Cr3, 1, 2), Verdict.Pass).Flags.HasFlag(VmEventFlags.GetNextInterrupt));

        // The writes that arm it are nobody's event.
        var write = Requests.ControlRegister(ControlRegisterIndex.Cr3, 1, 2);
        Assert.False(Wishes(s => s.Interrupt()).Matches(in write));
        Assert.Equal([new MonitorEvent.Cpuid()], new Bench(s => s.Interrupt().Cpuid()).Plan.Events);
    }

    [Fact]
    public void What_is_not_offered_is_named()
    {
        var error = Assert.Throws<PumpStartException>(() => SubscriptionPlan.Make(
            [("a", Wishes(s => s.Interrupt().IoInstruction().Cpuid().VmExit(optional: true)))], MonitorCapabilities.Cpuid));
        Assert.Equal(["port accesses", "interrupts"], error.Unsupported);
    }

    private static HandlerSubscription Wishes(Action<SubscriptionBuilder> subscribe)
    {
        var builder = new SubscriptionBuilder("test");
        subscribe(builder);
        return builder.Build();
    }
}
