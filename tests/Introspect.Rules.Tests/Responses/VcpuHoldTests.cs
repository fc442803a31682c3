using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;
using Introspect.Rules.Handlers;
using Introspect.Rules.Pump;
using Introspect.Rules.Tests.Mocks;
using Introspect.Rules.Tests.Pump;

namespace Introspect.Rules.Tests.Responses;

/// <summary>No vCPU gets past a watched page while another one steps over it.</summary>
public class VcpuHoldTests
{
    private const VmEventFlags Paused = VmEventFlags.VcpuPaused;
    private const VmEventFlags Toggle = VmEventFlags.ToggleSinglestep;

    [Fact]
    public void The_others_are_held_from_the_lift_to_the_step()
    {
        var bench = new Bench(policy: MemoryAccessPolicy.Automatic, vcpus: 3);
        Assert.Equal(Paused | Toggle, bench.Answer(Requests.MemAccess(0x200, MemAccessFlags.Write, vcpu: 1), Verdict.Pass).Flags);
        Assert.Equal([1, 0, 1], bench.Domain.Holds);

        // A second page of the same instruction is part of the same step.
        bench.Answer(Requests.MemAccess(0x201, MemAccessFlags.Write, vcpu: 1), Verdict.Pass);
        Assert.Equal([1, 0, 1], bench.Domain.Holds);

        bench.Answer(Requests.Step(vcpu: 1), Verdict.Pass);
        Assert.Equal([0, 0, 0], bench.Domain.Holds);
        Assert.Equal(0, bench.Domain.PauseCount);
        Assert.Equal(2, bench.Domain.Monitor.Access.Count);
    }

    [Fact]
    public void Where_they_cannot_be_held_the_access_is_emulated_and_nobody_asks_again()
    {
        var bench = new Bench(policy: MemoryAccessPolicy.Automatic, prepare: domain => domain.CannotHold = true);
        for (var i = 0; i < 3; i++)
        {
            Assert.Equal(Paused | VmEventFlags.Emulate, bench.Answer(Requests.MemAccess(0x200, MemAccessFlags.Write), Verdict.Pass).Flags);
        }

        Assert.Equal(1, bench.Domain.Log.Count("PauseVcpu 1"));
        Assert.Equal(0, bench.Domain.PauseCount);
        Assert.Empty(bench.Failures);
    }

    [Fact]
    public void Where_the_lift_is_refused_nobody_stays_held()
    {
        var bench = new Bench(policy: MemoryAccessPolicy.Automatic);
        bench.Domain.Log.Fail("SetMemoryAccess 0x200+1 Rwx", Errno.ESRCH);
        Assert.Equal(Paused | VmEventFlags.Emulate, bench.Answer(Requests.MemAccess(0x200, MemAccessFlags.Write), Verdict.Pass).Flags);
        Assert.Equal([0, 0], bench.Domain.Holds);
    }

    [Fact]
    public void Where_one_cannot_be_held_the_rest_goes_on()
    {
        var bench = new Bench(policy: MemoryAccessPolicy.Automatic, vcpus: 4);
        bench.Domain.Log.Fail("PauseVcpu 2", Errno.EINVAL);
        Assert.Equal(Paused | VmEventFlags.Emulate, bench.Answer(Requests.MemAccess(0x200, MemAccessFlags.Write), Verdict.Pass).Flags);
        Assert.Equal([0, 0, 0, 0], bench.Domain.Holds);
        Assert.Equal(Errno.EINVAL, Assert.Single(bench.Failures).Error);
    }

    [Theory]
    [InlineData(0xf4)]
    [InlineData(0x0f, 0x01, 0xc9)]
    public void An_instruction_that_may_wait_for_the_others_does_not_hold_them(params int[] code)
    {
        var bench = new Bench(policy: MemoryAccessPolicy.Automatic);
        var request = Requests.MemAccess(0x200, MemAccessFlags.Write);
        bench.Domain.GuestMemory.WritePhysical(new(request.Registers.Rip), Array.ConvertAll(code, value => (byte)value));
        Assert.Equal(Paused | VmEventFlags.Emulate, bench.Answer(request, Verdict.Pass).Flags);
        Assert.Equal([0, 0], bench.Domain.Holds);
    }

    [Fact]
    public void An_access_of_a_held_vCPU_comes_again_and_is_judged_then()
    {
        var seen = new List<uint>();
        using var rig = new PumpRig(new TestHandler("watch", subscription => subscription.Memory(new(0x200), 1, MemAccessFlags.Write), (ref readonly VmEvent request, ref HandlerContext _) =>
        {
            seen.Add(request.VcpuId);
            return Verdict.Pass;
        }));
        rig.Start();

        // Both are in the ring before either is answered.
        var answers = rig.Exchange(Requests.MemAccess(0x200, MemAccessFlags.Write, 0), Requests.MemAccess(0x200, MemAccessFlags.Write, 1));
        Assert.Equal([Paused | Toggle, Paused], answers.Select(answer => answer.Flags));
        Assert.Equal([0u], seen);
        Assert.Equal([0, 1], rig.Domain.Holds);

        rig.Exchange(Requests.Step(0));
        Assert.Equal([0, 0], rig.Domain.Holds);
        Assert.Equal(Paused | Toggle, Assert.Single(rig.Exchange(Requests.MemAccess(0x200, MemAccessFlags.Write, 1))).Flags);
        Assert.Equal([0u, 1u], seen);
        rig.Exchange(Requests.Step(1));

        rig.Pump.Stop();
        Assert.Equal(2, rig.ReadRecords().Count);
        rig.AssertNothingIsLeft();
    }

    [Fact]
    public void A_stop_in_the_middle_of_a_step_lets_the_others_go()
    {
        using var rig = new PumpRig(new TestHandler("watch", subscription => subscription.Memory(new(0x200), 1, MemAccessFlags.Write), Verdict.Pass));
        rig.Start();
        rig.Exchange(Requests.MemAccess(0x200, MemAccessFlags.Write, 0));
        Assert.Equal([0, 1], rig.Domain.Holds);
        rig.Domain.OnPause = () =>
        {
            // The guest makes its step just before it is paused.
            rig.Domain.OnPause = null;
            rig.Monitor.PushAll(Requests.Step(0));
        };

        rig.Pump.Stop();
        rig.AssertNothingIsLeft();
    }
}
