using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Cpu;
using Introspect.Hypervisor.Core.Cpu.SystemMode;
using static Introspect.Hypervisor.Tests.Cpu.SystemMode.DescriptorBuilder;
using M = Introspect.Hypervisor.Tests.Cpu.SystemMode.SystemMachine;

namespace Introspect.Hypervisor.Tests.Cpu.SystemMode;

/// <summary>Delivery through 16-byte gates (SDM vol. 3, 6.14).</summary>
public sealed unsafe class LongModeDeliveryTests
{
    private const int InterruptGate = 14;
    private const byte V = 0x20;

    [Fact]
    public void The_same_level_pushes_ss_rsp_too_on_an_aligned_stack()
    {
        using var m = M.Long(0);
        m.State->Gpr[4] = M.OuterStack - 3;
        m.InstallGate(V, Gate(InterruptGate, 0, M.Code64, 0x9000_0100), 0xFFFF_FFFF);
        m.Raise(V, EventType.ExternalInterrupt);
        Assert.Equal(DeliveryResult.Delivered, EventDelivery.Deliver(m.State));
        Assert.Equal(0xFFFF_FFFF_9000_0100UL, m.State->Rip);
        Assert.Equal(M.OuterStack - 16 - 40, m.State->Gpr[4]);
        ulong[] frame = [M.Rip, M.Code64, RFlags.Fixed1, M.OuterStack - 3, M.Data0];
        Assert.Equal(frame, Frame(m, 5));
        Assert.Equal(M.Data0, m.State->Seg(SegmentIndex.Ss)->Selector);
    }

    [Fact]
    public void An_inner_level_takes_rsp_from_the_tss_and_a_null_ss()
    {
        using var m = M.Long(3);
        m.InstallGate(14, Gate(InterruptGate, 0, M.Code64, 0x100));
        m.Raise(14, errorCode: 6, payload: 0x1234);
        Assert.Equal(DeliveryResult.Delivered, EventDelivery.Deliver(m.State));
        Assert.Equal((0, (ushort)0), (m.State->Cpl, m.State->Seg(SegmentIndex.Ss)->Selector));
        Assert.Equal(M.InnerStack - 48, m.State->Gpr[4]);
        ulong[] frame = [6, M.Rip, M.Code64User, RFlags.Fixed1 | RFlags.Rf, M.OuterStack, M.Data3];
        Assert.Equal(frame, Frame(m, 6));
    }

    [Fact]
    public void An_ist_gate_switches_stacks_at_every_level_but_keeps_ss_at_the_same_one()
    {
        using var m = M.Long(0);
        m.Write(M.Tss + 36 + 8, 0xC008, 8);
        m.InstallGate(2, Gate(InterruptGate, 0, M.Code64, 0x100, parameters: 2));
        m.Raise(2, EventType.Nmi);
        Assert.Equal(DeliveryResult.Delivered, EventDelivery.Deliver(m.State));
        Assert.Equal(0xC000UL - 40, m.State->Gpr[4]);
        Assert.Equal(M.Data0, m.State->Seg(SegmentIndex.Ss)->Selector);
    }

    [Fact]
    public void Compatibility_code_is_interrupted_with_a_32_bit_stack_pointer()
    {
        using var m = M.Long(3, compatibility: true);
        m.State->Gpr[4] = 0xFFFF_FFFF_0000_9000;
        m.InstallGate(V, Gate(InterruptGate, 0, M.Code64, 0x100));
        m.Raise(V, EventType.ExternalInterrupt);
        Assert.Equal(DeliveryResult.Delivered, EventDelivery.Deliver(m.State));
        Assert.Equal(CpuMode.Code64, m.State->Mode);
        Assert.Equal(0x9000UL, Frame(m, 5)[3]);
    }

    /// <summary>Rule, gate, code descriptor in the slot, RSP0, TSS limit, exception, error code.</summary>
    public static TheoryData<string, ulong, ulong, ulong, uint, byte, uint> Refused => new()
    {
        { "16-bit gates do not exist: #GP(vector*8+2+EXT)", Gate(6, 0, M.Code64, 0), 0, M.InnerStack, 0x67, 13, (V * 8) + 3 },
        { "task gates do not exist: #GP(vector*8+2+EXT)", Gate(5, 0, M.TssSelector, 0), 0, M.InnerStack, 0x67, 13, (V * 8) + 3 },
        { "32-bit code: #GP(sel+EXT)", Gate(InterruptGate, 0, M.Slot, 0), Code(0), M.InnerStack, 0x67, 13, M.Slot + 1 },
        { "L and D: #GP(sel+EXT)", Gate(InterruptGate, 0, M.Slot, 0), Code(0, bits: 64) | (1UL << 54), M.InnerStack, 0x67, 13, M.Slot + 1 },
        { "code not present: #NP(sel+EXT)", Gate(InterruptGate, 0, M.Slot, 0), Code(0, bits: 64, present: false), M.InnerStack, 0x67, 11, M.Slot + 1 },
        { "TSS too small: #TS(tss+EXT)", Gate(InterruptGate, 0, M.Code64, 0), 0, M.InnerStack, 10, 10, M.TssSelector + 1 },
        { "non-canonical RSP0: #SS(EXT)", Gate(InterruptGate, 0, M.Code64, 0), 0, 0x8000_0000_0000_0000, 0x67, 12, 1 },
    };

    [Theory]
    [MemberData(nameof(Refused))]
    public void A_bad_gate_becomes_an_exception_of_its_own(string rule, ulong gate, ulong slot, ulong rsp0, uint limit, byte vector, uint code)
    {
        Assert.NotEmpty(rule);
        using var m = M.Long(3);
        m.Install(M.Slot, slot);
        m.Write(M.Tss + 4, rsp0, 8);
        m.State->Seg(SegmentIndex.Tr)->Limit = limit;
        m.InstallGate(V, gate);
        m.InstallGate(vector, Gate(InterruptGate, 0, M.Conforming, 0x777));
        m.Raise(V, EventType.ExternalInterrupt);
        Assert.Equal(DeliveryResult.Delivered, EventDelivery.Deliver(m.State));
        Assert.Equal(0x777UL, m.State->Rip);
        Assert.Equal(code, m.Read(m.State->Gpr[4], 8));
    }

    [Fact]
    public void A_non_canonical_handler_is_gp_ext()
    {
        using var m = M.Long(0);
        m.InstallGate(V, Gate(InterruptGate, 0, M.Code64, 0), 0x8000_0000);
        m.InstallGate(13, Gate(InterruptGate, 0, M.Code64, 0x777));
        m.Raise(V, EventType.ExternalInterrupt);
        EventDelivery.Deliver(m.State);
        Assert.Equal(1UL, m.Read(m.State->Gpr[4], 8));
    }

    [Fact]
    public void A_nested_page_fault_on_the_stack_leaves_the_event_pending_and_delivery_can_be_repeated()
    {
        using var m = M.Long(3);
        m.InstallGate(14, Gate(InterruptGate, 0, M.Code64, 0x100));
        m.Protect(M.InnerStack - 1, MemoryAccess.R);
        m.Raise(14, errorCode: 4, payload: 0xABC);
        var before = m.Visible();
        Assert.Equal(DeliveryResult.Exit, EventDelivery.Deliver(m.State));
        Assert.Equal(ExitKind.NestedPageFault, m.State->Exit.Kind);
        Assert.Equal(before, m.Visible());
        Assert.Equal((true, (byte)14, 4u), (m.State->Pending.Valid, m.State->Pending.Vector, m.State->Pending.ErrorCode));
        m.Protect(M.InnerStack - 1, MemoryAccess.Rwx);
        Assert.Equal(DeliveryResult.Delivered, EventDelivery.Deliver(m.State));
        Assert.Equal(4UL, m.Read(m.State->Gpr[4], 8));
    }

    private static ulong[] Frame(SystemMachine m, int count) =>
        [.. Enumerable.Range(0, count).Select(n => m.Read(m.State->Gpr[4] + (uint)(n * 8), 8))];
}
