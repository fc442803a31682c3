using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;
using Introspect.Rules.Handlers;
using Introspect.Rules.Pump;
using Introspect.Rules.Responses;
using Introspect.Rules.Tests.Mocks;

namespace Introspect.Rules.Tests.Responses;

public class MemoryAccessStepperTests
{
    private const VmEventFlags Paused = VmEventFlags.VcpuPaused;
    private const VmEventFlags Toggle = VmEventFlags.ToggleSinglestep;

    [Fact]
    public void The_rights_are_lifted_for_one_step_and_restored()
    {
        var bench = new Bench();

        Assert.Equal(Paused | Toggle, bench.Answer(Requests.MemAccess(0x201, MemAccessFlags.Write), Verdict.Pass).Flags);
        Assert.Equal([0x200ul], bench.Domain.Monitor.Access.Keys);
        Assert.True(bench.Stepper.AnyStepping);

        Assert.Equal(Paused | Toggle, bench.Answer(Requests.Step(), Verdict.Pass).Flags);
        Assert.Equal(MemoryAccess.Rx, bench.Domain.Monitor.Access[0x201]);
        Assert.False(bench.Stepper.AnyStepping);
    }

    [Fact]
    public void One_instruction_on_two_watched_pages_toggles_once_and_restores_both()
    {
        var bench = new Bench();

        Assert.Equal(Paused | Toggle, bench.Answer(Requests.MemAccess(0x200, MemAccessFlags.Write), Verdict.Pass).Flags);
        Assert.Equal(Paused, bench.Answer(Requests.MemAccess(0x201, MemAccessFlags.Write), Verdict.Pass).Flags);
        Assert.Empty(bench.Domain.Monitor.Access);

        Assert.Equal(Paused | Toggle, bench.Answer(Requests.Step(), Verdict.Pass).Flags);
        Assert.Equal(2, bench.Domain.Monitor.Access.Count);
    }

    [Fact]
    public void A_page_that_two_vCPUs_step_over_is_restored_by_the_last()
    {
        var bench = new Bench(prepare: domain => domain.CannotHold = true);
        bench.Answer(Requests.MemAccess(0x200, MemAccessFlags.Write, vcpu: 0), Verdict.Pass);
        bench.Answer(Requests.MemAccess(0x200, MemAccessFlags.Write, vcpu: 1), Verdict.Pass);

        bench.Answer(Requests.Step(vcpu: 0), Verdict.Pass);
        Assert.DoesNotContain(0x200ul, bench.Domain.Monitor.Access.Keys);

        bench.Answer(Requests.Step(vcpu: 1), Verdict.Pass);
        Assert.Equal(MemoryAccess.Rx, bench.Domain.Monitor.Access[0x200]);
        Assert.Equal(1, bench.Domain.Log.Count("SetMemoryAccess 0x200+1 Rwx"));
    }

    [Fact]
    public void A_handlers_stepping_goes_on_after_the_pumps_own_step()
    {
        var bench = new Bench();
        Assert.Equal(Paused | Toggle, bench.Answer(Requests.Make(VmEventReason.GuestRequest), Verdict.Allow.WithSinglestepOn()).Flags);
        Assert.Equal(Paused, bench.Answer(Requests.MemAccess(0x200, MemAccessFlags.Write), Verdict.Pass).Flags);

        Assert.Equal(Paused, bench.Answer(Requests.Step(), Verdict.Pass).Flags);
        Assert.Equal(MemoryAccess.Rx, bench.Domain.Monitor.Access[0x200]);
        Assert.Equal(Paused | Toggle, bench.Answer(Requests.Step(), Verdict.Allow.WithSinglestepOff()).Flags);
    }

    [Fact]
    public void Stepping_is_kept_apart_for_each_vCPU()
    {
        var bench = new Bench();
        bench.Answer(Requests.Make(VmEventReason.GuestRequest, vcpu: 1), Verdict.Allow.WithSinglestepOn());

        Assert.True(bench.Stepper.HandlerWantsSteps(1));
        Assert.False(bench.Stepper.HandlerWantsSteps(0));
        Assert.Equal(Paused, bench.Answer(Requests.Cpuid(vcpu: 0), Verdict.Pass).Flags & ~VmEventFlags.SetRegisters);
    }

    [Fact]
    public void A_step_that_nobody_asked_for_is_switched_off()
    {
        Assert.Equal(Paused | Toggle, new Bench().Answer(Requests.Step(), Verdict.Pass).Flags);
    }

    [Fact]
    public void A_page_that_no_handler_watches_gets_the_rights_back_that_it_had()
    {
        var bench = new Bench();
        bench.Domain.Monitor.SetMemoryAccess(new(0x900), 1, MemoryAccess.R);

        bench.Answer(Requests.MemAccess(0x900, MemAccessFlags.Write), Verdict.Pass);
        Assert.DoesNotContain(0x900ul, bench.Domain.Monitor.Access.Keys);
        bench.Answer(Requests.Step(), Verdict.Pass);

        Assert.Equal(MemoryAccess.R, bench.Domain.Monitor.Access[0x900]);
    }

    [Fact]
    public void Where_the_lift_is_refused_the_access_is_emulated()
    {
        var bench = new Bench();
        bench.Domain.Log.Fail("SetMemoryAccess 0x200+1 Rwx", Errno.ESRCH);

        Assert.Equal(Paused | VmEventFlags.Emulate, bench.Answer(Requests.MemAccess(0x200, MemAccessFlags.Write), Verdict.Pass).Flags);
        Assert.Single(bench.Failures);
        Assert.False(bench.Stepper.AnyStepping);
    }

    [Fact]
    public void Without_single_steps_accesses_are_emulated()
    {
        var bench = new Bench(
            subscription => subscription.Memory(new(0x200), 1, MemAccessFlags.Write),
            capabilities: (MonitorCapabilities)0x3fff & ~MonitorCapabilities.Singlestep);

        Assert.Equal(Paused | VmEventFlags.Emulate, bench.Answer(Requests.MemAccess(0x200, MemAccessFlags.Write), Verdict.Pass).Flags);
        Assert.Equal(MemoryAccess.Rx, bench.Domain.Monitor.Access[0x200]);
    }

    [Fact]
    public void More_pages_than_a_step_can_lift_are_emulated()
    {
        var bench = new Bench(subscription => subscription.Memory(new(0), 64, MemAccessFlags.Read));
        for (ulong gfn = 0; gfn < MemoryAccessStepper.MaxLifted; gfn++)
        {
            Assert.Equal(Paused, bench.Answer(Requests.MemAccess(gfn, MemAccessFlags.Read), Verdict.Pass).Flags & ~Toggle);
        }

        Assert.Equal(Paused | VmEventFlags.Emulate, bench.Answer(Requests.MemAccess(40, MemAccessFlags.Read), Verdict.Pass).Flags);
        Assert.Equal(Paused, bench.Answer(Requests.MemAccess(0, MemAccessFlags.Read), Verdict.Pass).Flags);
        bench.Answer(Requests.Step(), Verdict.Pass);
        Assert.Equal(64, bench.Domain.Monitor.Access.Count);
    }

    [Fact]
    public void What_the_emulator_has_no_code_for_is_stepped()
    {
        var bench = new Bench(policy: MemoryAccessPolicy.Emulate);
        Assert.Equal(Paused | VmEventFlags.Emulate, bench.Answer(Requests.MemAccess(0x200, MemAccessFlags.Write), Verdict.Pass).Flags);

        Assert.Equal(Paused | Toggle, bench.Answer(Requests.Make(VmEventReason.EmulUnimplemented), Verdict.Pass).Flags);
        Assert.DoesNotContain(0x200ul, bench.Domain.Monitor.Access.Keys);
        bench.Answer(Requests.Step(), Verdict.Pass);
        Assert.Equal(MemoryAccess.Rx, bench.Domain.Monitor.Access[0x200]);
    }

    [Fact]
    public void A_denied_write_that_the_emulator_has_no_code_for_does_not_happen_either()
    {
        var bench = new Bench();
        bench.Answer(Requests.MemAccess(0x200, MemAccessFlags.Write), Verdict.Deny);

        Assert.Equal(Paused, bench.Answer(Requests.Make(VmEventReason.EmulUnimplemented), Verdict.Pass).Flags);

        Assert.Equal(13, Assert.Single(bench.Domain.Traps).Trap.Vector);
        Assert.Equal(MemoryAccess.Rx, bench.Domain.Monitor.Access[0x200]);
    }

    [Fact]
    public void A_port_access_happens_with_the_event_suspended_for_its_step()
    {
        var bench = new Bench();

        Assert.Equal(Paused | Toggle, bench.Answer(Requests.PortAccess(0x3f8, 1, false), Verdict.Pass).Flags);
        Assert.DoesNotContain("IoInstruction", bench.Domain.Monitor.Enabled);
        bench.Answer(Requests.PortAccess(0x3f8, 1, false, vcpu: 1), Verdict.Pass);

        bench.Answer(Requests.Step(vcpu: 0), Verdict.Pass);
        Assert.DoesNotContain("IoInstruction", bench.Domain.Monitor.Enabled);
        bench.Answer(Requests.Step(vcpu: 1), Verdict.Pass);
        Assert.Contains("IoInstruction", bench.Domain.Monitor.Enabled);
    }

    [Fact]
    public void A_descriptor_access_without_an_emulation_is_stepped_with_the_event_suspended()
    {
        var bench = new Bench();
        bench.Answer(Requests.Descriptor(write: true), Verdict.Pass);

        Assert.Equal(Paused | Toggle, bench.Answer(Requests.Make(VmEventReason.EmulUnimplemented), Verdict.Pass).Flags);
        Assert.DoesNotContain("DescriptorAccess", bench.Domain.Monitor.Enabled);
        bench.Answer(Requests.Step(), Verdict.Pass);
        Assert.Contains("DescriptorAccess", bench.Domain.Monitor.Enabled);
    }

    [Fact]
    public void Detaching_in_the_middle_of_a_step_leaves_nothing_enabled_and_no_rights_taken()
    {
        var bench = new Bench();
        bench.Answer(Requests.PortAccess(0x3f8, 1, false), Verdict.Pass);
        bench.Answer(Requests.MemAccess(0x200, MemAccessFlags.Write), Verdict.Pass);

        var refused = 0;
        bench.Attachment.Detach(bench.Stepper, false, (_, action) =>
        {
            try
            {
                action();
                return true;
            }
            catch (HypervisorException)
            {
                refused++;
                return false;
            }
        });

        Assert.Equal(0, refused);
        Assert.Empty(bench.Domain.Monitor.Enabled);
        Assert.Empty(bench.Domain.Monitor.Access);
    }

    [Fact]
    public void An_abandoned_step_is_switched_off_by_the_next_response()
    {
        var bench = new Bench();
        bench.Answer(Requests.MemAccess(0x200, MemAccessFlags.Write), Verdict.Pass);
        bench.Answer(Requests.Make(VmEventReason.GuestRequest, vcpu: 1), Verdict.Allow.WithSinglestepOn());

        bench.Builder.NothingEnabled = true;
        bench.Stepper.Abandon();

        Assert.Equal(Paused | Toggle, bench.Answer(Requests.Step(vcpu: 0), Verdict.Pass).Flags);
        Assert.Equal(Paused | Toggle, bench.Answer(Requests.Make(VmEventReason.GuestRequest, vcpu: 1), Verdict.Pass).Flags);
        Assert.False(bench.Stepper.AnyStepping);
    }
}
