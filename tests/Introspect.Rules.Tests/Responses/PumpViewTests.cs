using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;
using Introspect.Rules.Handlers;
using Introspect.Rules.Pump;
using Introspect.Rules.Tests.Mocks;

namespace Introspect.Rules.Tests.Responses;

/// <summary>Watching in an altp2m view: who gets past leaves it for one step, and everybody else stays in it.</summary>
public class PumpViewTests
{
    private const ulong Address = 0x100ffe;
    private const VmEventFlags Paused = VmEventFlags.VcpuPaused;
    private const VmEventFlags Toggle = VmEventFlags.ToggleSinglestep;
    private const VmEventFlags Switch = VmEventFlags.AlternateP2m;

    [Fact]
    public void The_view_is_made_filled_and_entered_in_this_order()
    {
        var bench = Make();
        var views = bench.Domain.Monitor.MockViews;

        Assert.Equal((AltP2mUse.External, true, MockViews.Made), (views.Use, views.IsActive, views.Current));
        Assert.Equal(MemoryAccess.Rx, views.Access[0x200]);
        Assert.Equal(MemoryAccess.Rx, views.Access[0x201]);
        Assert.Empty(bench.Domain.Monitor.Access);
        Assert.Equal(bench.Domain.Frames[0], views.Remapped[0x100]);
        Assert.Equal(MemoryAccess.X, views.Access[0x100]);
        var calls = bench.Domain.Log.Calls.ToList();
        Assert.True(calls.IndexOf("CreateView") < calls.IndexOf("SetViewAccess 4 0x200 Rx"));
        Assert.Equal("SwitchTo 4", calls[^1]);
    }

    [Fact]
    public void The_int3_is_in_the_copy_and_the_guests_page_as_it_was()
    {
        var bench = Make();
        Assert.Equal(0x55, Byte(bench, Address));
        Assert.Equal(0xcc, Byte(bench, Shadow(bench)));
        Assert.Equal(0x77, Byte(bench, Shadow(bench) - 1));
    }

    [Fact]
    public void An_access_leaves_the_view_for_one_step_and_nobody_is_held()
    {
        var bench = Make();
        var response = bench.Answer(Requests.MemAccess(0x200, MemAccessFlags.Write, vcpu: 1), Verdict.Pass);
        Assert.Equal((Paused | Toggle | Switch, 0), (response.Flags, response.AltP2mIndex));

        response = bench.Answer(Requests.Step(vcpu: 1), Verdict.Pass);
        Assert.Equal((Paused | Toggle | Switch, MockViews.Made.Value), (response.Flags, response.AltP2mIndex));
        Assert.Equal(0, bench.Domain.Log.Count("PauseVcpu 0"));
        Assert.Equal(0, bench.Domain.PauseCount);
        Assert.Empty(bench.Domain.Monitor.Access);
    }

    [Fact]
    public void Past_a_breakpoint_memory_stays_watched()
    {
        var bench = Make();
        Assert.Equal(new Dictionary<ulong, MemoryAccess> { [0x200] = MemoryAccess.Rx, [0x201] = MemoryAccess.Rx }, bench.Domain.Monitor.MockViews.OtherAccess);

        var response = bench.Answer(Hit(0), Verdict.Pass);
        Assert.Equal((Paused | Toggle | Switch, 5), (response.Flags, response.AltP2mIndex));
        response = bench.Answer(Requests.MemAccess(0x200, MemAccessFlags.Write), Verdict.Pass);
        Assert.Equal((Paused | Switch, 0), (response.Flags, response.AltP2mIndex));
        response = bench.Answer(Requests.Step(), Verdict.Pass);
        Assert.Equal((Paused | Toggle | Switch, 4), (response.Flags, response.AltP2mIndex));
    }

    [Fact]
    public void Two_vCPUs_get_past_each_by_itself()
    {
        var bench = Make();
        Assert.Equal(Paused | Toggle | Switch, bench.Answer(Hit(0), Verdict.Pass).Flags);
        Assert.Equal(Paused | Toggle | Switch, bench.Answer(Hit(1), Verdict.Pass).Flags);
        Assert.Equal(MockViews.Made.Value, bench.Answer(Requests.Step(0), Verdict.Pass).AltP2mIndex);
        Assert.Equal(Paused | Toggle | Switch, bench.Answer(Requests.Step(1), Verdict.Pass).Flags);
        Assert.Equal(0xcc, Byte(bench, Shadow(bench)));
        Assert.Empty(bench.Domain.Traps);
    }

    [Fact]
    public void A_page_of_breakpoints_that_the_guest_writes_is_copied_anew()
    {
        var bench = Make();
        Assert.Equal(Paused | Toggle | Switch, bench.Answer(Requests.MemAccess(0x100, MemAccessFlags.Write), Verdict.Pass).Flags);
        bench.Domain.GuestMemory.WritePhysical(new(Address - 1), [0x78, 0x56]);
        bench.Answer(Requests.Step(), Verdict.Pass);

        Assert.Equal(0x78, Byte(bench, Shadow(bench) - 1));
        Assert.Equal(0xcc, Byte(bench, Shadow(bench)));
        Assert.Equal(0x56, Byte(bench, Address));
    }

    [Fact]
    public void A_page_that_is_watched_for_fetches_and_has_breakpoints_has_no_rights()
    {
        var bench = Make(subscription => subscription.Memory(new(0x100), 1, MemAccessFlags.Execute));
        Assert.Equal(MemoryAccess.N, bench.Domain.Monitor.MockViews.Access[0x100]);
    }

    [Fact]
    public void A_handler_that_names_a_view_of_its_own_has_its_way()
    {
        var response = Make().Answer(Requests.MemAccess(0x200, MemAccessFlags.Write), Verdict.Allow.WithView(7));
        Assert.Equal((Paused | Switch, 7), (response.Flags, response.AltP2mIndex));
    }

    [Fact]
    public void At_the_end_everybody_is_out_and_the_copies_are_gone()
    {
        var bench = Make();
        bench.Answer(Requests.MemAccess(0x200, MemAccessFlags.Write), Verdict.Pass);
        bench.Attachment.Detach(bench.Stepper, keepSteps: false, (_, action) =>
        {
            action();
            return true;
        });
        bench.Builder.NothingEnabled = true;
        bench.Stepper.Abandon();

        Assert.False(bench.Domain.Monitor.MockViews.Exists);
        Assert.Equal(ViewId.Host, bench.Domain.Monitor.MockViews.Current);
        Assert.Empty(bench.Domain.Frames);
        Assert.Equal(0x55, Byte(bench, Address));

        // A step that was under way is switched off, and leads back into no view.
        Assert.Equal(Paused | Toggle, bench.Answer(Requests.Step(), Verdict.Pass).Flags);
    }

    [Fact]
    public void A_domain_that_can_have_no_views_is_refused()
    {
        var error = Assert.Throws<PumpStartException>(() => Make(prepare: domain => domain.Log.Fail("SetActive", Errno.EOPNOTSUPP)));
        Assert.Contains("making an altp2m view", error.Message, StringComparison.Ordinal);
        Assert.Equal(Errno.EOPNOTSUPP, Assert.IsType<HypervisorException>(error.InnerException).Error);
    }

    [Fact]
    public void Without_anything_to_watch_there_is_no_view()
    {
        Assert.False(SubscriptionPlan.Make([("a", new SubscriptionBuilder("a").Cpuid().InView().Build())], (MonitorCapabilities)0x3fff).UsesView);
    }

    private static Bench Make(Action<SubscriptionBuilder>? more = null, Action<MockDomain>? prepare = null) => new(
        subscription =>
        {
            subscription.InView().Memory(new(0x200), 2, MemAccessFlags.Write).Breakpoint(new(Address)).Singlestep();
            more?.Invoke(subscription);
        },
        MemoryAccessPolicy.Automatic,
        vcpus: 2,
        prepare: domain =>
        {
            domain.GuestMemory.WritePhysical(new(Address & ~0xffful), new byte[0x1000]);
            domain.GuestMemory.WritePhysical(new(Address - 1), [0x77, 0x55]);
            prepare?.Invoke(domain);
        });

    private static VmEvent Hit(uint vcpu)
    {
        var request = Requests.Breakpoint(vcpu: vcpu);
        request.Registers.Rip = Address;
        request.AltP2mIndex = MockViews.Made.Value;
        return request;
    }

    private static ulong Shadow(Bench bench) => bench.Domain.Frames[0].Address.Value | (Address & 0xfff);

    private static byte Byte(Bench bench, ulong address)
    {
        Span<byte> code = stackalloc byte[1];
        bench.Domain.GuestMemory.ReadPhysical(new(address), code);
        return code[0];
    }
}
