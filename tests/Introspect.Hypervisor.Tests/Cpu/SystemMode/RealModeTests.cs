using Introspect.Hypervisor.Core.Cpu;
using Introspect.Hypervisor.Core.Cpu.SystemMode;
using static Introspect.Hypervisor.Tests.Cpu.SystemMode.DescriptorBuilder;
using M = Introspect.Hypervisor.Tests.Cpu.SystemMode.SystemMachine;

namespace Introspect.Hypervisor.Tests.Cpu.SystemMode;

/// <summary>Real mode (SDM vol. 3, 21.1) and virtual-8086 mode (21.2, 21.3).</summary>
public sealed unsafe class RealModeTests
{
    [Fact]
    public void An_event_goes_through_the_vector_table_without_an_error_code()
    {
        using var m = M.Real();
        Flags.Write(m.State, RFlags.If | RFlags.Tf | RFlags.Zf, RFlags.All);
        m.Write(13 * 4, 0x1234_5678, 4);
        m.Raise(13, errorCode: 0);
        Assert.Equal(DeliveryResult.Delivered, EventDelivery.Deliver(m.State));
        Assert.Equal((0x5678UL, (ushort)0x1234, 0x12340UL), (m.State->Rip, m.State->Seg(SegmentIndex.Cs)->Selector, m.State->Seg(SegmentIndex.Cs)->Base));
        Assert.Equal(M.OuterStack - 6, m.State->Gpr[4]);
        Assert.Equal(0x7C00UL, m.Read(M.OuterStack - 6, 2));
        Assert.Equal(RFlags.If | RFlags.Tf | RFlags.Zf | RFlags.Fixed1, m.Read(M.OuterStack - 2, 2));
        Assert.Equal(RFlags.Zf | RFlags.Fixed1, Flags.Read(m.State));
    }

    [Fact]
    public void Beyond_the_vector_table_is_gp_and_without_one_for_the_double_fault_a_shutdown()
    {
        using var m = M.Real();
        m.State->IdtrLimit = 13 * 4 + 3;
        m.Write(13 * 4, 0x0000_1300, 4);
        m.Raise(0x20, EventType.ExternalInterrupt);
        Assert.Equal(DeliveryResult.Delivered, EventDelivery.Deliver(m.State));
        Assert.Equal(0x1300UL, m.State->Rip);

        m.State->IdtrLimit = 3;
        m.Raise(0x20, EventType.ExternalInterrupt);
        Assert.Equal(DeliveryResult.TripleFault, EventDelivery.Deliver(m.State));
    }

    [Fact]
    public void Far_calls_and_returns_use_16_or_32_bits()
    {
        using var m = M.Real();
        m.Succeeds(s => FarTransfers.Call(s, 0x2000, 0x100, 2, 5));
        Assert.Equal((0x100UL, 0x20000UL, M.OuterStack - 4), (m.State->Rip, m.State->Seg(SegmentIndex.Cs)->Base, m.State->Gpr[4]));
        Assert.Equal(0x7C05UL, m.Read(M.OuterStack - 4, 4));
        m.Succeeds(s => FarReturns.Return(s, 2, 6));
        Assert.Equal((0x7C05UL, M.OuterStack + 6), (m.State->Rip, m.State->Gpr[4]));
        m.Faults(13, 0, s => FarTransfers.Jump(s, 0x2000, 0x10000, 4, 7));
        m.Faults(13, 0, s => FarTransfers.Call(s, 0x2000, 0x10000, 4, 7));
    }

    [Fact]
    public void A_push_that_does_not_fit_is_ss()
    {
        using var m = M.Real();
        m.State->Gpr[4] = 1;
        m.Faults(12, 0, s => FarTransfers.Call(s, 0x2000, 0x100, 2, 5));
    }

    [Theory]
    [InlineData(2, 0x7FD7u)]
    [InlineData(4, 0x257FD7u)]
    public void Iret_takes_the_flags_of_its_size_but_never_vm_vif_vip(int size, uint expected)
    {
        using var m = M.Real();
        m.Write(M.OuterStack, 0x100, size);
        m.Write(M.OuterStack + (uint)size, 0x2000, 2);
        m.Write(M.OuterStack + (uint)(2 * size), 0xFFFFFFFF, size);
        m.Succeeds(s => InterruptReturn.Return(s, size, 1));
        Assert.Equal(expected, Flags.Read(m.State));
        Assert.Equal((0x100UL, 0x2000), (m.State->Rip, m.State->Seg(SegmentIndex.Cs)->Selector));
    }

    [Fact]
    public void A_fault_of_virtual_8086_code_pushes_its_segments_and_runs_at_level_0()
    {
        using var m = M.Vm86(iopl: 0);
        m.InstallGate(13, Gate(14, 0, M.Code0, 0x400));
        m.Raise(13, errorCode: 0);
        Assert.Equal(DeliveryResult.Delivered, EventDelivery.Deliver(m.State));
        var s = m.State;
        Assert.Equal(M.InnerStack - 40, s->Gpr[4]);
        ulong[] frame = [0, 0x20, 0x110, RFlags.Vm | RFlags.If | RFlags.Rf | RFlags.Fixed1, 0x100, 0x120, 0x100, 0x130, 0x140, 0x150];
        Assert.Equal(frame, Enumerable.Range(0, 10).Select(n => m.Read(m.State->Gpr[4] + (uint)(n * 4), 4)));
        Assert.Equal((0, CpuMode.Code32), (s->Cpl, s->Mode & ~CpuMode.FlatData));
        Assert.Equal((0, 0), (s->Seg(SegmentIndex.Ds)->Selector, s->Seg(SegmentIndex.Gs)->Selector));
        Assert.NotEqual(0u, s->Seg(SegmentIndex.Ds)->Attributes & Segment.Unusable);

        // And back.
        s->Gpr[4] += 4;
        m.Succeeds(c => InterruptReturn.Return(c, 4, 1));
        Assert.Equal((3, 0x20UL, 0x100UL), (s->Cpl, s->Rip, s->Gpr[4]));
        Assert.Equal((0x1100UL, 0x1500UL), (s->Seg(SegmentIndex.Cs)->Base, s->Seg(SegmentIndex.Gs)->Base));
        Assert.True(CpuModes.IsRealOrVm86(s));
    }

    /// <summary>Rule, handler: virtual-8086 code is interrupted into non-conforming code of level 0 only.</summary>
    [Theory]
    [InlineData("conforming handler: #GP(sel)", M.Conforming)]
    [InlineData("handler at level 3: #GP(sel)", M.Code3 & 0xFFF8)]
    [InlineData("handler at level 1: #GP(sel)", M.Slot)]
    public void Virtual_8086_code_cannot_be_interrupted_to_other_levels(string rule, int selector)
    {
        Assert.NotEmpty(rule);
        using var m = M.Vm86(iopl: 3);
        m.Install(M.Slot, Code(1));
        m.InstallGate(0x20, Gate(14, 3, (ushort)selector, 0x100));
        m.InstallGate(13, Gate(14, 0, M.Code0, 0x400));
        m.Raise(0x20, EventType.SoftwareInterrupt, length: 2);
        Assert.Equal(DeliveryResult.Delivered, EventDelivery.Deliver(m.State));
        Assert.Equal((ulong)selector, m.Read(m.State->Gpr[4], 4));
    }

    [Fact]
    public void Int_n_of_virtual_8086_code_needs_iopl_3_but_int3_does_not()
    {
        using var m = M.Vm86(iopl: 2);
        m.Faults(13, 0, s => SoftwareInterrupts.Int(s, 0x21, 2));
        Assert.False(SoftwareInterrupts.Int3(m.State, 1));
        Assert.Equal((3, EventType.SoftwareException), (m.State->Pending.Vector, m.State->Pending.Type));
    }

    /// <summary>IOPL, bit in the redirection map, IF in the pushed image, IF and VIF afterwards (table 21-2, methods 5 and 6).</summary>
    [Theory]
    [InlineData(3, true, false, true)]
    [InlineData(0, true, true, false)]
    public void With_vme_a_clear_bit_redirects_int_n_to_the_8086_handler(int iopl, bool pushedIf, bool ifAfter, bool vifAfter)
    {
        using var m = M.Vm86(iopl, vme: true);
        m.State->FlagsOther |= RFlags.Vif;
        m.Write(M.Tss + 102, 0x88, 2); // redirection map at 0x68
        m.Write(0x21 * 4, 0x0300_0044, 4);
        m.Succeeds(s => SoftwareInterrupts.Int(s, 0x21, 2));
        Assert.Equal((0x44UL, 0x3000UL, 0xFAUL), (m.State->Rip, m.State->Seg(SegmentIndex.Cs)->Base, m.State->Gpr[4]));
        Assert.Equal(0x22UL, m.Read(0x1200 + 0xFA, 2));
        var image = (uint)m.Read(0x1200 + 0xFE, 2);
        Assert.Equal((pushedIf, RFlags.Iopl), ((image & RFlags.If) != 0, image & RFlags.Iopl));
        Assert.Equal((ifAfter, vifAfter), ((m.State->FlagsOther & RFlags.If) != 0, (m.State->FlagsOther & RFlags.Vif) != 0));
    }

    [Theory]
    [InlineData(3, false)]
    [InlineData(0, true)]
    public void With_vme_a_set_bit_goes_to_the_monitor_or_faults(int iopl, bool faults)
    {
        using var m = M.Vm86(iopl, vme: true);
        m.Write(M.Tss + 102, 0x88, 2);
        m.Write(M.Tss + 0x68 + (0x21 / 8), 1 << (0x21 & 7), 1);
        if (faults)
        {
            m.Faults(13, 0, s => SoftwareInterrupts.Int(s, 0x21, 2));
            return;
        }

        Assert.False(SoftwareInterrupts.Int(m.State, 0x21, 2));
        Assert.Equal((0x21, EventType.SoftwareInterrupt), (m.State->Pending.Vector, m.State->Pending.Type));
    }
}
