using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;
using Introspect.Rules.Handlers;
using Introspect.Rules.Pump;

namespace Introspect.Rules.Tests.Pump;

public class SubscriptionPlanTests
{
    private const MonitorCapabilities All = (MonitorCapabilities)0x3fff;

    [Fact]
    public void Masks_are_united_and_an_event_is_sync_when_any_wants_it_so()
    {
        var plan = Plan(All,
            ("a", s => s.ControlRegister(ControlRegisterIndex.Cr4, 0x100000, sync: false)),
            ("b", s => s.ControlRegister(ControlRegisterIndex.Cr4, 0x200000, mayDeny: true)),
            ("c", s => s.ControlRegister(ControlRegisterIndex.Cr0, 1, sync: false)));

        Assert.Equal(
            [
                new MonitorEvent.ControlRegister(ControlRegisterIndex.Cr0, false, false, 1),
                new MonitorEvent.ControlRegister(ControlRegisterIndex.Cr4, true, false, 0x300000),
            ],
            plan.Events);
        Assert.True(plan.MayDeny);
        Assert.Contains("writes of CR4 are sync for all, because b wants so", Assert.Single(plan.Notes), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(CpuVendor.Vmx, ~0UL, true, true)]
    [InlineData(CpuVendor.Vmx, 8UL, true, true)]
    [InlineData(CpuVendor.Vmx, ~8UL, true, false)]
    [InlineData(CpuVendor.Vmx, ~0UL, false, false)]
    [InlineData(CpuVendor.Svm, ~0UL, true, false)]
    public void A_handler_that_may_deny_CR0_is_told_of_the_CLTS_that_it_cannot(CpuVendor vendor, ulong mask, bool mayDeny, bool told)
    {
        var builder = new SubscriptionBuilder("a");
        builder.ControlRegister(ControlRegisterIndex.Cr0, mask, mayDeny: mayDeny);
        var plan = SubscriptionPlan.Make([("a", builder.Build())], All, vendor);
        Assert.Equal(told, plan.Notes.Any(static note => note.StartsWith("handler a may deny writes of CR0.TS, but on VMX a CLTS is done", StringComparison.Ordinal)));
        Assert.Equal(told ? 1 : 0, plan.Notes.Count);
    }

    [Fact]
    public void Nothing_is_enabled_that_nobody_wants()
    {
        var plan = Plan(All, ("a", _ => { }));

        Assert.Empty(plan.Events);
        Assert.False(plan.MayDeny);
        Assert.False(plan.CanStep);
        Assert.True(plan.Rights.IsEmpty);
    }

    [Fact]
    public void MSR_writes_of_the_same_value_come_when_any_wants_them()
    {
        var plan = Plan(All,
            ("a", s => s.Msr(0x174, onChangeOnly: true).Msr(0x175, onChangeOnly: true)),
            ("b", s => s.Msr(0x174)));

        Assert.Equal([new MonitorEvent.Msr(0x174, false), new MonitorEvent.Msr(0x175, true)], plan.Events);
    }

    [Fact]
    public void Everything_missing_is_told_at_once_with_the_handlers_that_need_it()
    {
        var failure = Assert.Throws<PumpStartException>(() => Plan(MonitorCapabilities.WriteCtrlreg,
            ("a", s => s.Cpuid().VmExit()),
            ("b", s => s.Cpuid().Msr(0x174))));

        Assert.Equal(3, failure.Problems.Count);
        Assert.Contains(failure.Problems, problem => problem.StartsWith("handler a, b needs CPUID", StringComparison.Ordinal) && problem.Contains("EOPNOTSUPP", StringComparison.Ordinal));
        Assert.Contains(failure.Problems, problem => problem.StartsWith("handler a needs vmexits", StringComparison.Ordinal));
        Assert.Contains(failure.Problems, problem => problem.Contains("MSR 0x174", StringComparison.Ordinal));
    }

    [Fact]
    public void Optional_events_that_are_missing_are_left_out_and_told()
    {
        var plan = Plan(MonitorCapabilities.Cpuid, ("log", new LogHandler().Subscribe));

        Assert.Equal([new MonitorEvent.Cpuid()], plan.Events);
        Assert.NotEmpty(plan.Missing);
    }

    [Fact]
    public void An_event_that_one_needs_and_another_would_like_is_a_problem_when_missing()
    {
        var failure = Assert.Throws<PumpStartException>(() => Plan(MonitorCapabilities.None,
            ("a", s => s.Cpuid(optional: true)),
            ("b", s => s.Cpuid())));

        Assert.StartsWith("handler b needs", Assert.Single(failure.Problems), StringComparison.Ordinal);
    }

    [Fact]
    public void Sync_and_async_vmexits_exclude_each_other()
    {
        var failure = Assert.Throws<PumpStartException>(() => Plan(All, ("a", s => s.VmExit()), ("b", s => s.VmExit(sync: true))));

        Assert.Contains("handlers a, b disagree on vmexits", failure.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Guest_requests_from_user_space_come_when_any_wants_them()
    {
        var plan = Plan(All, ("a", s => s.GuestRequest(sync: false, allowUserspace: true)), ("b", s => s.GuestRequest(sync: false)));

        Assert.Equal([new MonitorEvent.GuestRequest(false, true)], plan.Events);
    }

    [Fact]
    public void Watched_pages_bring_the_pumps_own_steps_along()
    {
        var plan = Plan(All, ("a", s => s.Memory(new(1), 1, MemAccessFlags.Write)));

        Assert.True(plan.CanStep);
        Assert.Equal([new MonitorEvent.SingleStep(), new MonitorEvent.EmulUnimplemented()], plan.Events);
    }

    [Fact]
    public void Page_table_walks_are_suppressed_only_when_nobody_wants_them()
    {
        var nobody = Plan(All, ("a", s => s.Memory(new(1), 1, MemAccessFlags.Write, pageTableWalks: false)));
        var somebody = Plan(All,
            ("a", s => s.Memory(new(1), 1, MemAccessFlags.Write, pageTableWalks: false)),
            ("b", s => s.Memory(new(9), 1, MemAccessFlags.Write)));

        Assert.Contains(new MonitorEvent.InguestPagefault(), nobody.Events);
        Assert.DoesNotContain(new MonitorEvent.InguestPagefault(), somebody.Events);
    }

    [Fact]
    public void Sync_port_accesses_without_single_steps_are_a_problem_with_a_remedy()
    {
        var failure = Assert.Throws<PumpStartException>(() => Plan(MonitorCapabilities.IoInstruction, ("a", s => s.IoInstruction())));

        Assert.Contains("ask for async ones", failure.Message, StringComparison.Ordinal);
        Assert.Null(Plan(MonitorCapabilities.IoInstruction, ("a", s => s.IoInstruction(sync: false))).IoInstruction);
    }

    [Fact]
    public void Overlapping_ranges_forbid_what_any_handler_watches()
    {
        var plan = Plan(All,
            ("a", s => s.Memory(new(0x10), 0x10, MemAccessFlags.Write)),
            ("b", s => s.Memory(new(0x18), 0x10, MemAccessFlags.Execute)));

        Assert.Equal(
            [new RightsRun(0x10, 8, MemoryAccess.Rx), new RightsRun(0x18, 8, MemoryAccess.R), new RightsRun(0x20, 8, MemoryAccess.Rw)],
            plan.Rights.Runs.ToArray());
        Assert.Equal(MemoryAccess.Rwx, plan.Rights[0xf]);
        Assert.Equal(MemoryAccess.Rx, plan.Rights[0x10]);
        Assert.Equal(MemoryAccess.R, plan.Rights[0x1f]);
        Assert.Equal(MemoryAccess.Rw, plan.Rights[0x27]);
        Assert.Equal(MemoryAccess.Rwx, plan.Rights[0x28]);
        Assert.Equal(MemoryAccess.Rwx, plan.Rights[ulong.MaxValue]);
    }

    [Fact]
    public void Neighbouring_ranges_with_equal_rights_become_one()
    {
        var rights = Plan(All,
            ("a", s => s.Memory(new(0x10), 1, MemAccessFlags.Write).Memory(new(0x11), 1, MemAccessFlags.Write)),
            ("b", s => s.Memory(new(0x20), 1, MemAccessFlags.Write))).Rights;

        Assert.Equal([new RightsRun(0x10, 2, MemoryAccess.Rx), new RightsRun(0x20, 1, MemoryAccess.Rx)], rights.Runs.ToArray());
    }

    [Theory]
    [InlineData(MemAccessFlags.Read, MemoryAccess.X)]
    [InlineData(MemAccessFlags.Write, MemoryAccess.Rx)]
    [InlineData(MemAccessFlags.Execute, MemoryAccess.Rw)]
    [InlineData(MemAccessFlags.Read | MemAccessFlags.Write, MemoryAccess.X)]
    [InlineData(MemAccessFlags.Write | MemAccessFlags.Execute, MemoryAccess.R)]
    [InlineData(MemAccessFlags.Read | MemAccessFlags.Execute, MemoryAccess.N)]
    [InlineData(MemAccessFlags.Read | MemAccessFlags.Write | MemAccessFlags.Execute, MemoryAccess.N)]
    public void Rights_are_such_as_a_processor_has(MemAccessFlags watched, MemoryAccess access)
    {
        Assert.Equal(access, MemoryRights.Forbid(watched));
    }

    private static SubscriptionPlan Plan(MonitorCapabilities capabilities, params (string Name, Action<SubscriptionBuilder> Subscribe)[] handlers)
    {
        return SubscriptionPlan.Make(
            [.. handlers.Select(handler =>
            {
                var builder = new SubscriptionBuilder(handler.Name);
                handler.Subscribe(builder);
                return (handler.Name, builder.Build());
            })],
            capabilities);
    }
}
