using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;
using Introspect.Rules.Handlers;
using Introspect.Rules.Tests.Mocks;

namespace Introspect.Rules.Tests.Responses;

/// <summary>Every reason with every verdict: the response to the byte, and what was done beside it.</summary>
public class ResponseBuilderTests
{
    private const VmEventFlags Paused = VmEventFlags.VcpuPaused;
    private const VmEventFlags Emulate = VmEventFlags.Emulate;
    private static readonly TrapInjection GeneralProtection = new(13, 3, 0, 0, 0);

    // Name of the request; verdict; flags of the response beside VCPU_PAUSED; how far RIP moves; vector injected
    // (0 for none); whether all of the verdict has a meaning.
    public static TheoryData<string, string, VmEventFlags, int, int, bool> Table => new()
    {
        { "cr4", "pass", 0, 0, 0, true },
        { "cr4", "allow", 0, 0, 0, true },
        { "cr4", "deny", VmEventFlags.Deny, 0, 0, true },
        { "cr4", "emulate", 0, 0, 0, false },
        { "xcr0", "allow", 0, 0, 0, true },
        { "xcr0", "deny", 0, 0, 0, false },
        { "msr", "pass", 0, 0, 0, true },
        { "msr", "deny", VmEventFlags.Deny, 0, 0, true },
        { "msr", "emulate", 0, 0, 0, false },
        { "cpuid", "pass", VmEventFlags.SetRegisters, 2, 0, true },
        { "cpuid", "allow", VmEventFlags.SetRegisters, 2, 0, true },
        { "cpuid", "deny", VmEventFlags.SetRegisters, 2, 0, false },
        { "cpuid", "emulate", VmEventFlags.SetRegisters, 2, 0, false },
        { "breakpoint", "pass", 0, 0, 3, true },
        { "breakpoint", "allow", 0, 0, 3, true },
        { "breakpoint", "reinject", 0, 0, 3, true },
        { "breakpoint", "deny", VmEventFlags.SetRegisters, 1, 0, true },
        { "breakpoint", "emulate", 0, 0, 3, false },
        { "breakpoint", "step", VmEventFlags.ToggleSinglestep, 0, 0, true },
        { "breakpoint", "view", VmEventFlags.AlternateP2m, 0, 0, true },
        { "debug", "pass", 0, 0, 1, true },
        { "debug", "reinject", 0, 0, 1, true },
        { "debug", "deny", 0, 0, 0, true },
        { "debug", "emulate", 0, 0, 1, false },
        { "write", "pass", VmEventFlags.ToggleSinglestep, 0, 0, true },
        { "write", "allow", VmEventFlags.ToggleSinglestep, 0, 0, true },
        { "write", "deny", Emulate | VmEventFlags.EmulateNoWrite, 0, 0, true },
        { "write", "emulate", Emulate, 0, 0, true },
        { "write", "nowrite", Emulate | VmEventFlags.EmulateNoWrite, 0, 0, true },
        { "write", "readdata", Emulate, 0, 0, false },
        { "write", "view", VmEventFlags.AlternateP2m, 0, 0, true },
        { "read", "pass", VmEventFlags.ToggleSinglestep, 0, 0, true },
        { "read", "deny", 0, 0, 13, true },
        { "fetch", "deny", 0, 0, 13, true },
        { "fetch", "emulate", Emulate, 0, 0, true },
        { "descriptor", "pass", Emulate, 0, 0, true },
        { "descriptor", "allow", Emulate, 0, 0, true },
        { "descriptor", "emulate", Emulate, 0, 0, true },
        { "descriptor", "nowrite", Emulate | VmEventFlags.EmulateNoWrite, 0, 0, true },
        { "descriptor", "deny", 0, 0, 13, true },
        { "port", "pass", VmEventFlags.ToggleSinglestep, 0, 0, true },
        { "port", "allow", VmEventFlags.ToggleSinglestep, 0, 0, true },
        { "port", "emulate", VmEventFlags.ToggleSinglestep, 0, 0, false },
        { "request", "pass", 0, 0, 0, true },
        { "request", "deny", 0, 0, 0, false },
        { "request", "view", VmEventFlags.AlternateP2m, 0, 0, true },
        { "request", "step", VmEventFlags.ToggleSinglestep, 0, 0, true },
        { "request", "reinject", 0, 0, 0, false },
        { "vmexit", "pass", 0, 0, 0, true },
        { "vmexit", "deny", 0, 0, 0, false },
        { "interrupt", "pass", 0, 0, 0, true },
        { "interrupt", "emulate", 0, 0, 0, false },
        { "privcall", "pass", 0, 0, 0, true },
        { "unimplemented", "pass", 0, 0, 0, true },
        { "sharing", "pass", 0, 0, 0, true },
        { "step", "pass", VmEventFlags.ToggleSinglestep, 0, 0, true },
        { "step", "step", 0, 0, 0, true },
        { "step", "stepoff", VmEventFlags.ToggleSinglestep, 0, 0, true },
    };

    [Theory]
    [MemberData(nameof(Table))]
    public void Each_reason_and_verdict_has_its_response(string requestName, string verdictName, VmEventFlags flags, int ripMoves, int vector, bool meaningful)
    {
        var bench = new Bench();
        var request = RequestNamed(requestName);
        var verdict = VerdictNamed(verdictName);

        var response = bench.Answer(request, verdict);

        var expected = request;
        expected.Flags = Paused | flags;
        expected.Registers.Rip += (ulong)ripMoves;
        expected.AltP2mIndex = verdict.View;
        Bench.SameBytes(expected, response);
        Assert.Equal(meaningful, bench.WasMeaningful);
        Assert.Equal(vector == 0 ? [] : [vector], bench.Domain.Traps.Select(entry => (int)entry.Trap.Vector));
        Assert.Empty(bench.Failures);
    }

    [Theory]
    [InlineData("cr4")]
    [InlineData("cpuid")]
    [InlineData("debug")]
    [InlineData("write")]
    [InlineData("port")]
    [InlineData("request")]
    [InlineData("vmexit")]
    public void An_async_event_is_echoed_and_whatever_was_wanted_of_it_is_ignored(string name)
    {
        var bench = new Bench();
        var request = RequestNamed(name);
        request.Flags = VmEventFlags.Foreign | VmEventFlags.AlternateP2m;

        var expected = request;
        expected.Flags = VmEventFlags.None;
        Bench.SameBytes(expected, bench.Answer(request, Verdict.Pass));
        Assert.True(bench.WasMeaningful);
        Bench.SameBytes(expected, bench.Answer(request, Verdict.Deny.WithRegisters(), SetRax));
        Assert.False(bench.WasMeaningful);
        Assert.Empty(bench.Domain.Traps);
        Assert.Empty(bench.Domain.Monitor.Responses);
    }

    [Fact]
    public void Only_the_paused_flag_of_a_request_is_echoed()
    {
        var request = RequestNamed("request");
        request.Flags |= VmEventFlags.AlternateP2m | VmEventFlags.Foreign | VmEventFlags.NestedP2m;
        request.AltP2mIndex = 3;

        var response = new Bench().Answer(request, Verdict.Pass);

        Assert.Equal(Paused, response.Flags);
        Assert.Equal(3, response.AltP2mIndex);
    }

    [Fact]
    public void Deny_is_ignored_where_nobody_announced_it()
    {
        var bench = new Bench(subscription => subscription.ControlRegister(ControlRegisterIndex.Cr4));

        Assert.Equal(Paused, bench.Answer(RequestNamed("cr4"), Verdict.Deny).Flags);
        Assert.False(bench.WasMeaningful);
    }

    [Theory]
    [InlineData(2u, 2)]
    [InlineData(3u, 3)]
    [InlineData(15u, 15)]
    [InlineData(0u, 2)]
    [InlineData(16u, 2)]
    [InlineData(uint.MaxValue, 2)]
    public void CPUID_goes_on_after_the_instruction_whatever_length_is_claimed(uint claimed, int moved)
    {
        var response = new Bench().Answer(Requests.Cpuid(length: claimed), Verdict.Pass);

        Assert.Equal(Requests.Rip + (ulong)moved, response.Registers.Rip);
    }

    [Fact]
    public void CPUID_results_that_a_handler_sets_reach_the_guest()
    {
        var bench = new Bench();

        var response = bench.Answer(Requests.Cpuid(), Verdict.Allow.WithRegisters(), SetRax);

        var expected = Requests.Cpuid();
        expected.Flags = Paused | VmEventFlags.SetRegisters;
        expected.Registers.Rax = 42;
        expected.Registers.Rip += 2;
        Bench.SameBytes(expected, response);
        Assert.True(bench.WasMeaningful);
    }

    [Fact]
    public void CPUID_results_that_a_verdict_does_not_name_are_undone()
    {
        var response = new Bench().Answer(Requests.Cpuid(), Verdict.Allow, SetRax);

        var expected = Requests.Cpuid();
        expected.Flags = Paused | VmEventFlags.SetRegisters;
        expected.Registers.Rip += 2;
        Bench.SameBytes(expected, response);
    }

    [Theory]
    [InlineData(new byte[] { 0x0f, 0x22, 0xe0 }, 3)]
    [InlineData(new byte[] { 0x44, 0x0f, 0x22, 0xc0 }, 4)]
    [InlineData(new byte[] { 0x0f, 0x30 }, 2)]
    public void Registers_set_at_a_register_write_come_with_RIP_after_it(byte[] code, int length)
    {
        var bench = new Bench();
        bench.Domain.GuestMemory.WritePhysical(new(Requests.Rip), code);

        var response = bench.Answer(RequestNamed("cr4"), Verdict.Allow.WithRegisters(), SetRax);

        var expected = RequestNamed("cr4");
        expected.Flags = Paused | VmEventFlags.SetRegisters;
        expected.Registers.Rax = 42;
        expected.Registers.Rip += (ulong)length;
        Bench.SameBytes(expected, response);
        Assert.True(bench.WasMeaningful);
    }

    [Fact]
    public void Registers_are_left_out_where_the_instruction_would_run_for_ever()
    {
        var bench = new Bench();

        var response = bench.Answer(RequestNamed("cr4"), Verdict.Deny.WithRegisters(), SetRax);

        var expected = RequestNamed("cr4");
        expected.Flags = Paused | VmEventFlags.Deny;
        Bench.SameBytes(expected, response);
        Assert.False(bench.WasMeaningful);
    }

    [Fact]
    public void A_RIP_that_the_handler_sets_is_taken_as_it_is()
    {
        var response = new Bench().Answer(RequestNamed("cr4"), Verdict.Deny.WithRegisters(), MoveRip);

        var expected = RequestNamed("cr4");
        expected.Flags = Paused | VmEventFlags.Deny | VmEventFlags.SetRegisters;
        expected.Registers.Rip = 0x4000;
        Bench.SameBytes(expected, response);
    }

    [Fact]
    public void A_denied_write_can_raise_an_exception_in_the_guest()
    {
        var bench = new Bench();

        var response = bench.Answer(RequestNamed("msr"), Verdict.Deny.WithInjection(), InjectGeneralProtection);

        Assert.Equal(Paused | VmEventFlags.Deny, response.Flags);
        Assert.Equal((0u, GeneralProtection), Assert.Single(bench.Domain.Traps));
        Assert.True(bench.WasMeaningful);
    }

    [Fact]
    public void A_breakpoint_is_given_to_the_guest_as_it_was_raised()
    {
        var bench = new Bench();

        bench.Answer(Requests.Breakpoint(length: 2, vcpu: 1), Verdict.Pass);

        Assert.Equal((1u, new TrapInjection(3, 6, 2, TrapInjection.NoErrorCode, 0)), Assert.Single(bench.Domain.Traps));
        Assert.Equal(1, bench.Statistics.InjectedTraps);
    }

    [Fact]
    public void A_refused_injection_is_counted_and_the_vCPU_answered()
    {
        var bench = new Bench();
        bench.Domain.Log.Fail("InjectTrap", Errno.EBUSY);

        var response = bench.Answer(Requests.Breakpoint(), Verdict.Pass);

        Assert.Equal(Paused, response.Flags);
        Assert.Equal(Errno.EBUSY, Assert.Single(bench.Failures).Error);
        Assert.Equal(0, bench.Statistics.InjectedTraps);
    }

    [Fact]
    public void A_breakpoint_whose_registers_a_handler_sets_is_its_own()
    {
        var bench = new Bench();

        var response = bench.Answer(Requests.Breakpoint(), Verdict.Allow.WithRegisters(), MoveRip);

        var expected = Requests.Breakpoint();
        expected.Flags = Paused | VmEventFlags.SetRegisters;
        expected.Registers.Rip = 0x4000;
        Bench.SameBytes(expected, response);
        Assert.Empty(bench.Domain.Traps);
    }

    [Fact]
    public void A_breakpoint_can_be_run_as_another_instruction()
    {
        var bench = new Bench();

        var response = bench.Answer(Requests.Breakpoint(), Verdict.EmulateInstruction, (ref readonly VmEvent _, ref HandlerContext context) =>
        {
            context.SetEmulationInstruction([0x55, 0x90]);
            return default;
        });

        Assert.Equal(Paused | Emulate | VmEventFlags.SetEmulInsnData, response.Flags);
        AssertPayload(response, 56, [0x55, 0x90]);
        Assert.Empty(bench.Domain.Traps);
        Assert.True(bench.WasMeaningful);
    }

    [Fact]
    public void A_step_that_a_handler_may_not_ask_for_leaves_the_breakpoint_to_the_guest()
    {
        var bench = new Bench { MayStep = false };

        var response = bench.Answer(Requests.Breakpoint(), Verdict.Allow.WithSinglestepOn());

        Assert.Equal(Paused, response.Flags);
        Assert.Single(bench.Domain.Traps);
        Assert.False(bench.WasMeaningful);
    }

    [Fact]
    public void A_debug_exception_is_given_to_the_guest_with_its_pending_bits()
    {
        var bench = new Bench();

        bench.Answer(Requests.DebugException(type: 3, pending: 0x4001), Verdict.Pass);
        bench.Answer(Requests.DebugException(type: 5, length: 1), Verdict.Pass);

        Assert.Equal(new TrapInjection(1, 3, 0, TrapInjection.NoErrorCode, 0x4001), bench.Domain.Traps[0].Trap);
        Assert.Equal(new TrapInjection(1, 5, 1, TrapInjection.NoErrorCode, 0x4000), bench.Domain.Traps[1].Trap);
    }

    [Fact]
    public void A_denied_ICEBP_goes_on_after_it()
    {
        var response = new Bench().Answer(Requests.DebugException(type: 5, length: 1), Verdict.Deny);

        Assert.Equal(Paused | VmEventFlags.SetRegisters, response.Flags);
        Assert.Equal(Requests.Rip + 1, response.Registers.Rip);
    }

    [Fact]
    public void A_denied_instruction_breakpoint_goes_on_with_the_resume_flag()
    {
        // As Xen tells it: the event has neither the condition nor the debug registers, and the vCPU has both.
        var bench = new Bench();
        bench.Domain.VcpuState = new() { Dr1 = Requests.Rip, Dr6 = 0xffff_0ff2, Dr7 = 0x408 };

        var response = bench.Answer(Requests.DebugException(pending: 0), Verdict.Deny);

        Assert.Equal(Paused | VmEventFlags.SetRegisters, response.Flags);
        Assert.Equal(0x10202ul, response.Registers.Rflags);
        Assert.Equal(Requests.Rip, response.Registers.Rip);
    }

    [Theory]
    [InlineData(Requests.Rip, 0xffff_0ff2ul, 0x10_0408ul)]
    [InlineData(Requests.Rip, 0xffff_0ff1ul, 0x408ul)]
    [InlineData(Requests.Rip + 1, 0xffff_0ff2ul, 0x408ul)]
    public void A_denied_debug_exception_of_another_kind_needs_no_resume_flag(ulong dr1, ulong dr6, ulong dr7)
    {
        var bench = new Bench();
        bench.Domain.VcpuState = new() { Dr1 = dr1, Dr6 = dr6, Dr7 = dr7 };

        Assert.Equal(Paused, bench.Answer(Requests.DebugException(pending: 0), Verdict.Deny).Flags);
    }

    [Fact]
    public void A_denied_debug_exception_of_a_vcpu_that_cannot_be_read_goes_on()
    {
        var bench = new Bench();
        bench.Domain.Log.Fail("ReadVcpu", Errno.ESRCH);

        Assert.Equal(Paused, bench.Answer(Requests.DebugException(pending: 0), Verdict.Deny).Flags);
        Assert.Equal(("reading what a debug exception is about", Errno.ESRCH), Assert.Single(bench.Failures));
    }

    [Fact]
    public void Emulation_reads_what_the_handler_gives()
    {
        var bench = new Bench();

        var response = bench.Answer(RequestNamed("read"), Verdict.EmulateWithReadData, (ref readonly VmEvent _, ref HandlerContext context) =>
        {
            context.SetEmulationReadData([1, 2, 3]);
            return default;
        });

        Assert.Equal(Paused | Emulate | VmEventFlags.SetEmulReadData, response.Flags);
        Assert.Equal(3u, response.EmulReadSize);
        AssertPayload(response, 60, [1, 2, 3]);
        Assert.True(bench.WasMeaningful);
    }

    [Fact]
    public void Registers_and_emulation_data_do_not_go_together()
    {
        var bench = new Bench();

        var response = bench.Answer(RequestNamed("read"), Verdict.EmulateWithReadData.WithRegisters(), (ref readonly VmEvent _, ref HandlerContext context) =>
        {
            context.SetEmulationReadData([1, 2, 3]);
            return default;
        });

        Assert.Equal(Paused | Emulate | VmEventFlags.SetEmulReadData, response.Flags);
        Assert.False(bench.WasMeaningful);
    }

    [Fact]
    public void An_access_that_the_handler_moved_past_is_not_stepped()
    {
        var bench = new Bench();

        var response = bench.Answer(RequestNamed("write"), Verdict.Allow.WithRegisters(), MoveRip);

        Assert.Equal(Paused | VmEventFlags.SetRegisters, response.Flags);
        Assert.Equal(MemoryAccess.Rx, bench.Domain.Monitor.Access[0x200]);
    }

    [Fact]
    public void A_skipped_port_read_gives_all_ones()
    {
        foreach (var (bytes, rax) in new[] { (1u, 0x1111_1111_2222_22fful), (2u, 0x1111_1111_2222_fffful), (4u, 0xffff_fffful) })
        {
            var bench = new Bench();
            bench.Domain.GuestMemory.WritePhysical(new(Requests.Rip), [0xec]);
            var request = Requests.PortAccess(0x3f8, bytes, input: true);

            var response = bench.Answer(request, Verdict.Deny);

            var expected = request;
            expected.Flags = Paused | VmEventFlags.SetRegisters;
            expected.Registers.Rax = rax;
            expected.Registers.Rip += 1;
            Bench.SameBytes(expected, response);
            Assert.True(bench.WasMeaningful);
        }
    }

    [Fact]
    public void A_port_access_that_cannot_be_skipped_is_stepped_and_the_verdict_counted()
    {
        var bench = new Bench();

        var response = bench.Answer(Requests.PortAccess(0x3f8, 1, input: false), Verdict.Deny);

        Assert.Equal(Paused | VmEventFlags.ToggleSinglestep, response.Flags);
        Assert.False(bench.WasMeaningful);
    }

    [Fact]
    public void The_echo_of_last_resort_still_passes_CPUID()
    {
        var request = Requests.Cpuid();
        var response = default(VmEvent);

        Introspect.Rules.Responses.ResponseBuilder.BuildEcho(in request, ref response);

        var expected = request;
        expected.Flags = Paused | VmEventFlags.SetRegisters;
        expected.Registers.Rip += 2;
        Bench.SameBytes(expected, response);
    }

    private static Verdict SetRax(ref readonly VmEvent request, ref HandlerContext context)
    {
        context.Registers.Rax = 42;
        return default;
    }

    private static Verdict MoveRip(ref readonly VmEvent request, ref HandlerContext context)
    {
        context.Registers.Rip = 0x4000;
        return default;
    }

    private static Verdict InjectGeneralProtection(ref readonly VmEvent request, ref HandlerContext context)
    {
        context.Trap = GeneralProtection;
        return default;
    }

    private static void AssertPayload(VmEvent response, int offset, byte[] expected)
    {
        var bytes = System.Runtime.InteropServices.MemoryMarshal.AsBytes(new ReadOnlySpan<VmEvent>(in response));
        Assert.Equal(expected, bytes.Slice(offset, expected.Length).ToArray());
        Assert.Equal(-1, bytes[(offset + expected.Length)..].IndexOfAnyExcept((byte)0));
    }

    private static VmEvent RequestNamed(string name) => name switch
    {
        "cr4" => Requests.ControlRegister(ControlRegisterIndex.Cr4, 0x3000a0, 0x2000a0),
        "xcr0" => Requests.ControlRegister(ControlRegisterIndex.Xcr0, 3, 7),
        "msr" => Requests.Msr(0xc0000082, 1, 2),
        "cpuid" => Requests.Cpuid(),
        "breakpoint" => Requests.Breakpoint(),
        "debug" => Requests.DebugException(),
        "write" => Requests.MemAccess(0x200, MemAccessFlags.Write | MemAccessFlags.GlaValid),
        "read" => Requests.MemAccess(0x200, MemAccessFlags.Read),
        "fetch" => Requests.MemAccess(0x200, MemAccessFlags.Execute),
        "descriptor" => Requests.Descriptor(write: true),
        "port" => Requests.PortAccess(0x3f8, 1, input: false),
        "request" => Requests.Make(VmEventReason.GuestRequest),
        "vmexit" => Requests.Make(VmEventReason.VmExit),
        "interrupt" => Requests.Make(VmEventReason.Interrupt),
        "privcall" => Requests.Make(VmEventReason.PrivilegedCall),
        "unimplemented" => Requests.Make(VmEventReason.EmulUnimplemented),
        "sharing" => Requests.Make(VmEventReason.MemSharing),
        "step" => Requests.Step(),
        _ => throw new ArgumentOutOfRangeException(nameof(name), name, "no such request"),
    };

    private static Verdict VerdictNamed(string name) => name switch
    {
        "pass" => Verdict.Pass,
        "allow" => Verdict.Allow,
        "deny" => Verdict.Deny,
        "emulate" => Verdict.Emulate,
        "nowrite" => Verdict.EmulateDiscardingWrites,
        "readdata" => Verdict.EmulateWithReadData,
        "reinject" => Verdict.Reinject,
        "step" => Verdict.Allow.WithSinglestepOn(),
        "stepoff" => Verdict.Allow.WithSinglestepOff(),
        "view" => Verdict.Allow.WithView(5),
        _ => throw new ArgumentOutOfRangeException(nameof(name), name, "no such verdict"),
    };
}
