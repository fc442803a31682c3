using Introspect.Hypervisor.Core.Cpu;
using Introspect.Hypervisor.Core.Cpu.SystemMode;
using static Introspect.Hypervisor.Tests.Cpu.SystemMode.DescriptorBuilder;
using M = Introspect.Hypervisor.Tests.Cpu.SystemMode.SystemMachine;

namespace Introspect.Hypervisor.Tests.Cpu.SystemMode;

/// <summary>Delivery through the IDT of protected mode (SDM vol. 3, 6.12; vol. 2, INT n).</summary>
public sealed unsafe class EventDeliveryTests
{
    private const int InterruptGate = 14;
    private const int TrapGate = 15;
    private const byte V = 0x20;

    [Fact]
    public void An_interrupt_at_level_0_pushes_three_words_and_clears_if()
    {
        using var m = M.Protected(0);
        Flags.Write(m.State, RFlags.If | RFlags.Tf | RFlags.Nt | RFlags.Cf, RFlags.All);
        m.InstallGate(V, Gate(InterruptGate, 0, M.Code0, 0x12345678));
        m.Raise(V, EventType.ExternalInterrupt);
        Assert.Equal(DeliveryResult.Delivered, EventDelivery.Deliver(m.State));
        Assert.Equal(0x12345678UL, m.State->Rip);
        Assert.Equal(M.OuterStack - 12, m.State->Gpr[4]);
        Assert.Equal(M.Rip, m.Read(M.OuterStack - 12, 4));
        Assert.Equal(M.Code0, m.Read(M.OuterStack - 8, 4));
        Assert.Equal(RFlags.If | RFlags.Tf | RFlags.Nt | RFlags.Cf | RFlags.Fixed1, m.Read(M.OuterStack - 4, 4));
        Assert.Equal(RFlags.Cf | RFlags.Fixed1, Flags.Read(m.State));
        Assert.False(m.State->Pending.Valid);
    }

    [Fact]
    public void A_trap_gate_keeps_if()
    {
        using var m = M.Protected(0);
        Flags.Write(m.State, RFlags.If, RFlags.If);
        m.InstallGate(V, Gate(TrapGate, 0, M.Code0, 0x100));
        m.Raise(V, EventType.ExternalInterrupt);
        EventDelivery.Deliver(m.State);
        Assert.Equal(RFlags.If | RFlags.Fixed1, Flags.Read(m.State));
    }

    [Fact]
    public void A_change_of_level_switches_stacks_by_the_tss()
    {
        using var m = M.Protected(3);
        m.InstallGate(13, Gate(InterruptGate, 0, M.Code0, 0x100));
        m.Raise(13, errorCode: 0xABC);
        Assert.Equal(DeliveryResult.Delivered, EventDelivery.Deliver(m.State));
        Assert.Equal(0, m.State->Cpl);
        Assert.Equal((M.Code0, M.Data0), (m.State->Seg(SegmentIndex.Cs)->Selector, m.State->Seg(SegmentIndex.Ss)->Selector));
        Assert.Equal(M.InnerStack - 24, m.State->Gpr[4]);
        ulong[] frame = [0xABC, M.Rip, M.Code3, RFlags.Fixed1 | RFlags.Rf, M.OuterStack, M.Data3];
        Assert.Equal(frame, Words(m, M.InnerStack - 24, 6, 4));
        Assert.Equal(CpuMode.Code32 | CpuMode.FlatData, m.State->Mode);
    }

    [Fact]
    public void A_16_bit_gate_pushes_16_bits_and_cuts_the_entry_point()
    {
        using var m = M.Protected(3);
        m.InstallGate(13, Gate(6, 0, M.Code0, 0x99990100));
        m.Raise(13, errorCode: 0xABC);
        Assert.Equal(DeliveryResult.Delivered, EventDelivery.Deliver(m.State));
        Assert.Equal(0x100UL, m.State->Rip);
        ulong[] frame = [0xABC, M.Rip & 0xFFFF, M.Code3, RFlags.Fixed1, M.OuterStack, M.Data3];
        Assert.Equal(frame, Words(m, M.InnerStack - 12, 6, 2));
    }

    [Fact]
    public void Conforming_code_handles_at_the_interrupted_level()
    {
        using var m = M.Protected(3);
        m.InstallGate(V, Gate(InterruptGate, 0, M.Conforming, 0x100));
        m.Raise(V, EventType.ExternalInterrupt);
        EventDelivery.Deliver(m.State);
        Assert.Equal(3, m.State->Cpl);
        Assert.Equal(M.Conforming | 3, m.State->Seg(SegmentIndex.Cs)->Selector);
        Assert.Equal(M.OuterStack - 12, m.State->Gpr[4]);
    }

    /// <summary>Rule, event type, RF in the image (SDM vol. 3, 18.3.1.1).</summary>
    [Theory]
    [InlineData("a fault sets RF", 13, (int)EventType.HardwareException, 0, true)]
    [InlineData("an instruction breakpoint does not", 1, (int)EventType.HardwareException, 1, false)]
    [InlineData("a single step does not", 1, (int)EventType.HardwareException, 1 << 14, false)]
    [InlineData("general detection is a fault", 1, (int)EventType.HardwareException, 1 << 13, true)]
    [InlineData("an interrupt does not", 0x20, (int)EventType.ExternalInterrupt, 0, false)]
    [InlineData("int3 does not", 3, (int)EventType.SoftwareException, 0, false)]
    public void Rf_in_the_saved_flags(string rule, byte vector, int type, ulong payload, bool expected)
    {
        Assert.NotEmpty(rule);
        using var m = M.Protected(0);
        m.InstallGate(vector, Gate(InterruptGate, 0, M.Code0, 0x100));
        m.Raise(vector, (EventType)type, payload: payload);
        EventDelivery.Deliver(m.State);
        Assert.Equal(expected, (m.Read(m.State->Gpr[4] + 8, 4) & RFlags.Rf) != 0);
        Assert.Equal(0u, m.State->FlagsOther & RFlags.Rf);
    }

    [Theory]
    [InlineData((int)EventType.SoftwareInterrupt)]
    [InlineData((int)EventType.SoftwareException)]
    [InlineData((int)EventType.PrivilegedSoftwareException)]
    public void Software_events_return_behind_their_instruction(int type)
    {
        using var m = M.Protected(0);
        m.InstallGate(3, Gate(InterruptGate, 0, M.Code0, 0x100));
        m.Raise(3, (EventType)type, length: 2);
        EventDelivery.Deliver(m.State);
        Assert.Equal(M.Rip + 2, m.Read(m.State->Gpr[4], 4));
    }

    /// <summary>
    /// Rule, event type, gate of vector 0x20, what lies in the slots, exception and error code that come of it. Each
    /// exception has a good gate, whose frame shows its error code.
    /// </summary>
    public static TheoryData<string, int, ulong, ulong, byte, uint> Refused
    {
        get
        {
            const uint InIdt = (V * 8) + 2;
            var good = Gate(InterruptGate, 0, M.Code0, 0x100);
            return new()
            {
                { "not a gate: #GP(vector*8+2+EXT)", (int)EventType.ExternalInterrupt, Gate(12, 0, M.Code0, 0), 0, 13, InIdt + 1 },
                { "not a gate, INT n: no EXT", (int)EventType.SoftwareInterrupt, Gate(12, 3, M.Code0, 0), 0, 13, InIdt },
                { "INT n with DPL < CPL: #GP(vector*8+2)", (int)EventType.SoftwareInterrupt, good, 0, 13, InIdt },
                { "int3 with DPL < CPL: #GP(vector*8+2)", (int)EventType.SoftwareException, good, 0, 13, InIdt },
                { "DPL comes before presence", (int)EventType.SoftwareInterrupt, Gate(InterruptGate, 0, M.Code0, 0, present: false), 0, 13, InIdt },
                { "gate not present: #NP(vector*8+2+EXT)", (int)EventType.ExternalInterrupt, Gate(InterruptGate, 0, M.Code0, 0, present: false), 0, 11, InIdt + 1 },
                { "null code selector: #GP(EXT)", (int)EventType.ExternalInterrupt, Gate(InterruptGate, 3, 3, 0), 0, 13, 1 },
                { "code selector beyond the GDT: #GP(sel+EXT)", (int)EventType.ExternalInterrupt, Gate(InterruptGate, 3, M.BeyondGdt, 0), 0, 13, M.BeyondGdt + 1 },
                { "code selector names data: #GP(sel+EXT)", (int)EventType.ExternalInterrupt, Gate(InterruptGate, 3, M.Slot, 0), Data(0), 13, M.Slot + 1 },
                { "code not present: #NP(sel+EXT)", (int)EventType.ExternalInterrupt, Gate(InterruptGate, 3, M.Slot, 0), Code(0, present: false), 11, M.Slot + 1 },
                { "code not present, INT n: #NP(sel)", (int)EventType.SoftwareInterrupt, Gate(InterruptGate, 3, M.Slot, 0), Code(0, present: false), 11, M.Slot },
                { "entry point beyond the limit: #GP(EXT)", (int)EventType.ExternalInterrupt, Gate(InterruptGate, 3, M.Slot, 0x2000), Code(0, limit: 0x1FFF, pages: false), 13, 1 },
            };
        }
    }

    [Theory]
    [MemberData(nameof(Refused))]
    public void A_bad_gate_becomes_an_exception_of_its_own(string rule, int type, ulong gate, ulong slot, byte vector, uint code)
    {
        Assert.NotEmpty(rule);
        using var m = M.Protected(3);
        m.Install(M.Slot, slot);
        m.InstallGate(V, gate);
        m.InstallGate(vector, Gate(InterruptGate, 0, M.Code0, 0x777));
        m.Raise(V, (EventType)type, length: 2);
        Assert.Equal(DeliveryResult.Delivered, EventDelivery.Deliver(m.State));
        Assert.Equal(0x777UL, m.State->Rip);
        Assert.Equal(code, m.Read(M.InnerStack - 24, 4));
        Assert.Equal(M.Rip, m.Read(M.InnerStack - 20, 4));
    }

    /// <summary>Rule, SS in the TSS, slot, exception, error code: the new stack of an inner level.</summary>
    public static TheoryData<string, int, ulong, byte, uint> BadStacks => new()
    {
        { "null: #TS(EXT)", 0, 0, 10, 1 },
        { "beyond the table: #TS(sel+EXT)", M.BeyondGdt, 0, 10, M.BeyondGdt + 1 },
        { "RPL unlike the new level: #TS(sel+EXT)", M.Slot | 1, Data(0), 10, M.Slot + 1 },
        { "DPL unlike the new level: #TS(sel+EXT)", M.Slot, Data(1), 10, M.Slot + 1 },
        { "read-only: #TS(sel+EXT)", M.Slot, Data(0, writable: false), 10, M.Slot + 1 },
        { "not present: #SS(sel+EXT)", M.Slot, Data(0, present: false), 12, M.Slot + 1 },
        { "no room: #SS(sel+EXT)", M.Slot, Data(0, limit: 0x1000, pages: false), 12, M.Slot + 1 },
        { "no room in an expand-down segment: #SS(sel+EXT)", M.Slot, Data(0, expandDown: true, limit: M.InnerStack - 20, pages: false), 12, M.Slot + 1 },
    };

    [Theory]
    [MemberData(nameof(BadStacks))]
    public void A_bad_inner_stack_is_the_handlers_problem(string rule, int ss, ulong slot, byte vector, uint code)
    {
        Assert.NotEmpty(rule);
        using var m = M.Protected(3);
        m.Install(M.Slot, slot);
        m.Write(M.Tss + 8, (uint)ss, 2);
        m.InstallGate(V, Gate(InterruptGate, 0, M.Code0, 0x100));

        // Only a conforming handler can run without that stack.
        m.InstallGate(vector, Gate(InterruptGate, 0, M.Conforming, 0x777));
        m.Raise(V, EventType.ExternalInterrupt);
        Assert.Equal(DeliveryResult.Delivered, EventDelivery.Deliver(m.State));
        Assert.Equal(0x777UL, m.State->Rip);
        Assert.Equal(code, m.Read(M.OuterStack - 16, 4));
    }

    [Fact]
    public void An_expand_down_stack_starts_behind_its_limit()
    {
        using var m = M.Protected(3);
        m.Install(M.Slot, Data(0, expandDown: true, limit: M.InnerStack - 21, pages: false));
        m.Write(M.Tss + 8, M.Slot, 2);
        m.InstallGate(V, Gate(InterruptGate, 0, M.Code0, 0x100));
        m.Raise(V, EventType.ExternalInterrupt);
        Assert.Equal(DeliveryResult.Delivered, EventDelivery.Deliver(m.State));
        Assert.Equal((0x100UL, M.InnerStack - 20UL), (m.State->Rip, m.State->Gpr[4]));
    }

    [Fact]
    public void A_tss_too_small_for_the_stack_is_ts_of_the_tss()
    {
        using var m = M.Protected(3);
        m.State->Seg(SegmentIndex.Tr)->Limit = 8;
        m.InstallGate(V, Gate(InterruptGate, 0, M.Code0, 0x100));
        m.InstallGate(10, Gate(InterruptGate, 0, M.Conforming, 0x777));
        m.Raise(V, EventType.ExternalInterrupt);
        EventDelivery.Deliver(m.State);
        Assert.Equal(M.TssSelector + 1u, m.Read(M.OuterStack - 16, 4));
    }

    [Fact]
    public void A_16_bit_tss_has_its_stacks_in_4_bytes_each()
    {
        using var m = M.Protected(3);
        m.State->Seg(SegmentIndex.Tr)->Attributes = 0x83;
        m.Write(M.Tss + 2, M.InnerStack, 2);
        m.Write(M.Tss + 4, M.Data0, 2);
        m.InstallGate(V, Gate(InterruptGate, 0, M.Code0, 0x100));
        m.Raise(V, EventType.ExternalInterrupt);
        Assert.Equal(DeliveryResult.Delivered, EventDelivery.Deliver(m.State));
        Assert.Equal(M.InnerStack - 20, m.State->Gpr[4]);
    }

    [Fact]
    public void Beyond_the_idt_is_gp_of_the_vector()
    {
        using var m = M.Protected(0);
        m.State->IdtrLimit = (14 * 8) - 1;
        m.InstallGate(13, Gate(InterruptGate, 0, M.Code0, 0x777));
        m.Raise(0x80, EventType.SoftwareInterrupt, length: 2);
        Assert.Equal(DeliveryResult.Delivered, EventDelivery.Deliver(m.State));
        Assert.Equal(0x402UL, m.Read(m.State->Gpr[4], 4));
        Assert.Equal(M.Rip, m.Read(m.State->Gpr[4] + 4, 4));
    }

    [Fact]
    public void A_page_fault_writes_cr2_and_a_debug_exception_dr6_and_dr7()
    {
        using var m = M.Protected(0);
        m.InstallGate(14, Gate(InterruptGate, 0, M.Code0, 0x100));
        m.InstallGate(1, Gate(InterruptGate, 0, M.Code0, 0x100));
        m.Raise(14, errorCode: 2, payload: 0xCAFE0000);
        EventDelivery.Deliver(m.State);
        Assert.Equal(0xCAFE0000UL, m.State->Cr2);

        m.State->Dr6 = 0xFFFF0FF3;
        m.State->Dr7 = 0x2400;
        m.Raise(1, payload: (1 << 14) | 4);
        EventDelivery.Deliver(m.State);
        Assert.Equal(0xFFFF4FF4UL, m.State->Dr6);
        Assert.Equal(0x400UL, m.State->Dr7);
    }

    [Fact]
    public void An_nmi_blocks_further_ones_and_every_event_ends_the_shadows()
    {
        using var m = M.Protected(0);
        m.InstallGate(2, Gate(InterruptGate, 0, M.Code0, 0x100));
        m.State->Shadow = CpuShadow.MovSs | CpuShadow.Sti;
        m.Raise(2, EventType.Nmi);
        EventDelivery.Deliver(m.State);
        Assert.Equal(CpuShadow.Nmi, m.State->Shadow);
    }

    private static ulong[] Words(SystemMachine m, uint at, int count, int size) =>
        [.. Enumerable.Range(0, count).Select(n => m.Read(at + (uint)(n * size), size))];
}
