using System.Runtime.InteropServices;
using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;
using Introspect.Rules.Handlers;
using Introspect.Rules.Pump;
using Introspect.Rules.Tests.Mocks;

namespace Introspect.Rules.Tests.Responses;

/// <summary>Breakpoints that the pump puts into the guest: in memory, stepped over, and out again.</summary>
public class OwnBreakpointTests
{
    private const ulong Address = 0x100ffe;
    private const VmEventFlags Paused = VmEventFlags.VcpuPaused;
    private const VmEventFlags Toggle = VmEventFlags.ToggleSinglestep;
    private const MonitorCapabilities WithoutStep = (MonitorCapabilities)0x3fff & ~MonitorCapabilities.Singlestep;
    private const MonitorCapabilities WithoutTelling = (MonitorCapabilities)0x3fff & ~MonitorCapabilities.EmulUnimplemented;

    [Fact]
    public void It_is_inserted_at_the_start_and_taken_out_at_the_end()
    {
        var bench = Make();
        Assert.Equal(0xcc, Byte(bench));
        Assert.Contains(new MonitorEvent.SoftwareBreakpoint(), bench.Plan.Events);

        bench.Attachment.Detach(bench.Stepper, keepSteps: false, Attempt);
        Assert.Equal(0x55, Byte(bench));
    }

    [Fact]
    public void The_vCPU_steps_over_it_while_the_others_are_held()
    {
        var bench = Make();

        Assert.Equal(Paused | Toggle, bench.Answer(Hit(), Verdict.Pass).Flags);
        Assert.Equal(0x55, Byte(bench));
        Assert.Equal([0, 1, 1], bench.Domain.Holds);
        Assert.Equal(0, bench.Domain.PauseCount);
        Assert.Empty(bench.Domain.Traps);

        Assert.Equal(Paused | Toggle, bench.Answer(Requests.Step(), Verdict.Pass).Flags);
        Assert.Equal(0xcc, Byte(bench));
        Assert.Equal([0, 0, 0], bench.Domain.Holds);
    }

    [Fact]
    public void One_vCPU_alone_is_stepped_without_pausing_anything()
    {
        var bench = Make(vcpus: 1);
        Assert.Equal(Paused | Toggle, bench.Answer(Hit(), Verdict.Pass).Flags);
        Assert.Equal(0, bench.Domain.Log.Count("Pause"));
        Assert.Equal(0x55, Byte(bench));
    }

    [Fact]
    public void A_handlers_stepping_goes_on_behind_it()
    {
        var bench = Make();
        Assert.Equal(Paused | Toggle, bench.Answer(Hit(), Verdict.Allow.WithSinglestepOn()).Flags);
        Assert.True(bench.WasMeaningful);
        Assert.Equal(Paused, bench.Answer(Requests.Step(), Verdict.Pass).Flags);
        Assert.Equal(0xcc, Byte(bench));
        Assert.Equal([0, 0, 0], bench.Domain.Holds);
    }

    [Theory]
    [InlineData(true, 0x55)]
    [InlineData(false, 0xf4)]
    [InlineData(false, 0x0f, 0x01, 0xc1)]
    [InlineData(false, 0xf3, 0x0f, 0x01, 0xd9)]
    public void Where_the_others_cannot_be_held_the_instruction_is_emulated(bool cannotHold, params int[] code)
    {
        // The second kind may wait for one of those that would be held.
        var bytes = Array.ConvertAll(code, value => (byte)value);
        var bench = Make(bytes, prepare: domain => domain.CannotHold = cannotHold);

        var response = bench.Answer(Hit(), Verdict.Pass);

        Assert.Equal(Paused | VmEventFlags.Emulate | VmEventFlags.SetEmulInsnData, response.Flags);
        var given = MemoryMarshal.AsBytes(new ReadOnlySpan<VmEvent>(in response)).Slice(56, bytes.Length);
        Assert.Equal(bytes, given.ToArray());
        Assert.Equal(0xcc, Byte(bench));
        Assert.Equal([0, 0, 0], bench.Domain.Holds);
        Assert.Empty(bench.Failures);
    }

    [Fact]
    public void What_the_emulator_has_no_code_for_is_stepped()
    {
        var bench = Make(prepare: domain => domain.CannotHold = true);
        bench.Answer(Hit(), Verdict.Pass);

        Assert.Equal(Paused | Toggle, bench.Answer(Requests.Make(VmEventReason.EmulUnimplemented), Verdict.Pass).Flags);
        Assert.Equal(0x55, Byte(bench));
        bench.Answer(Requests.Step(), Verdict.Pass);
        Assert.Equal(0xcc, Byte(bench));
    }

    [Fact]
    public void Without_single_steps_it_is_emulated()
    {
        Assert.Equal(Paused | VmEventFlags.Emulate | VmEventFlags.SetEmulInsnData, Make(capabilities: WithoutStep).Answer(Hit(), Verdict.Pass).Flags);
    }

    [Fact]
    public void Two_vCPUs_that_cannot_be_held_put_it_back_when_the_last_is_past()
    {
        var bench = Make(capabilities: WithoutTelling, prepare: domain => domain.CannotHold = true);
        bench.Answer(Hit(0), Verdict.Pass);
        bench.Answer(Hit(1), Verdict.Pass);
        bench.Answer(Requests.Step(0), Verdict.Pass);
        Assert.Equal(0x55, Byte(bench));
        bench.Answer(Requests.Step(1), Verdict.Pass);
        Assert.Equal(0xcc, Byte(bench));
    }

    [Fact]
    public void The_guests_own_breakpoint_is_reinjected()
    {
        var bench = Make();
        var other = Hit();
        other.Registers.Rip++;

        Assert.Equal(Paused, bench.Answer(other, Verdict.Pass).Flags);
        Assert.Equal(3, Assert.Single(bench.Domain.Traps).Trap.Vector);
    }

    [Fact]
    public void Where_the_guest_has_an_int3_nothing_is_inserted_and_the_guest_gets_it()
    {
        var bench = Make([0xcc]);
        Assert.Equal(Paused, bench.Answer(Hit(), Verdict.Pass).Flags);
        Assert.Single(bench.Domain.Traps);
        bench.Attachment.Detach(bench.Stepper, keepSteps: false, Attempt);
        Assert.Equal(0xcc, Byte(bench));
    }

    [Fact]
    public void What_the_guest_writes_over_it_stays()
    {
        var bench = Make();
        bench.Domain.GuestMemory.WritePhysical(new(Address), [0x90]);
        bench.Attachment.Detach(bench.Stepper, keepSteps: false, Attempt);
        Assert.Equal(0x90, Byte(bench));
    }

    [Fact]
    public void What_the_guest_writes_during_the_step_is_what_comes_out()
    {
        var bench = Make();
        bench.Answer(Hit(), Verdict.Pass);
        bench.Domain.GuestMemory.WritePhysical(new(Address), [0x90]);
        bench.Answer(Requests.Step(), Verdict.Pass);
        Assert.Equal(0xcc, Byte(bench));
        bench.Attachment.Detach(bench.Stepper, keepSteps: false, Attempt);
        Assert.Equal(0x90, Byte(bench));
    }

    [Fact]
    public void A_handler_may_go_elsewhere_instead()
    {
        var bench = Make();
        var response = bench.Answer(Hit(), Verdict.Allow.WithRegisters(), (ref readonly VmEvent _, ref HandlerContext context) =>
        {
            context.Registers.Rip = 0x4242;
            return Verdict.Pass;
        });
        Assert.Equal(Paused | VmEventFlags.SetRegisters, response.Flags);
        Assert.Equal(0x4242ul, response.Registers.Rip);
        Assert.Equal(0xcc, Byte(bench));
    }

    [Fact]
    public void A_page_that_is_not_there_is_refused_by_address()
    {
        var error = Assert.Throws<PumpStartException>(() => new Bench(subscription => subscription.Breakpoint(new(0xdead000))));
        Assert.Contains("putting a breakpoint at 0xdead000", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void One_that_can_neither_be_stepped_nor_emulated_is_refused()
    {
        var error = Assert.Throws<PumpStartException>(() => Make(capabilities: WithoutStep & WithoutTelling));
        Assert.Contains("single steps", error.Message, StringComparison.Ordinal);
    }

    private static VmEvent Hit(uint vcpu = 0)
    {
        var request = Requests.Breakpoint(vcpu: vcpu);
        request.Registers.Rip = Address;
        return request;
    }

    private static Bench Make(byte[]? code = null, int vcpus = 3, MonitorCapabilities capabilities = (MonitorCapabilities)0x3fff, Action<MockDomain>? prepare = null) =>
        new(
            subscription => subscription.Breakpoint(new(Address)).Singlestep(optional: true),
            MemoryAccessPolicy.Automatic,
            capabilities,
            vcpus,
            domain =>
            {
                domain.GuestMemory.WritePhysical(new(Address & ~0xffful), new byte[0x2000]);
                domain.GuestMemory.WritePhysical(new(Address), code ?? [0x55]);
                prepare?.Invoke(domain);
            });

    private static byte Byte(Bench bench)
    {
        Span<byte> code = stackalloc byte[1];
        bench.Domain.GuestMemory.ReadPhysical(new(Address), code);
        return code[0];
    }

    private static bool Attempt(string what, Action action)
    {
        action();
        return true;
    }
}
