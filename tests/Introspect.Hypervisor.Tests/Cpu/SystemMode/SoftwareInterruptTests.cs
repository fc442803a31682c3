using Introspect.Hypervisor.Core.Cpu;
using Introspect.Hypervisor.Core.Cpu.SystemMode;
using static Introspect.Hypervisor.Tests.Cpu.SystemMode.DescriptorBuilder;
using M = Introspect.Hypervisor.Tests.Cpu.SystemMode.SystemMachine;

namespace Introspect.Hypervisor.Tests.Cpu.SystemMode;

/// <summary>INT n, INT3, INTO and INT1 (SDM vol. 2, INT).</summary>
public sealed unsafe class SoftwareInterruptTests
{
    [Fact]
    public void Each_instruction_has_its_own_kind_of_event()
    {
        using var m = M.Protected(3);
        Assert.Equal((0x80, EventType.SoftwareInterrupt, 2u), Event(m, s => SoftwareInterrupts.Int(s, 0x80, 2)));
        Assert.Equal((3, EventType.SoftwareInterrupt, 2u), Event(m, s => SoftwareInterrupts.Int(s, 3, 2)));
        Assert.Equal((3, EventType.SoftwareException, 1u), Event(m, s => SoftwareInterrupts.Int3(s, 1)));
        Assert.Equal((1, EventType.PrivilegedSoftwareException, 1u), Event(m, s => SoftwareInterrupts.Int1(s, 1)));
        Flags.Write(m.State, RFlags.Of, RFlags.Of);
        Assert.Equal((4, EventType.SoftwareException, 1u), Event(m, s => SoftwareInterrupts.Into(s, 1)));
        Assert.Equal(M.Rip, m.State->Rip);
    }

    [Fact]
    public void Into_does_nothing_without_of_and_is_undefined_in_64_bit_mode()
    {
        using var m = M.Protected(3);
        m.Succeeds(s => SoftwareInterrupts.Into(s, 1));
        using var l = M.Long(3);
        l.Faults(6, null, s => SoftwareInterrupts.Into(s, 1));
    }

    [Fact]
    public void Int1_passes_a_gate_that_int_1_does_not_and_writes_no_dr6()
    {
        using var m = M.Protected(3);
        m.InstallGate(1, Gate(14, 0, M.Code0, 0x100));
        m.InstallGate(13, Gate(14, 0, M.Code0, 0x777));
        m.State->Dr7 = 0x2400;
        Assert.False(SoftwareInterrupts.Int1(m.State, 1));
        Assert.Equal(DeliveryResult.Delivered, EventDelivery.Deliver(m.State));
        Assert.Equal((0x100UL, M.Rip + 1UL), (m.State->Rip, m.Read(m.State->Gpr[4], 4)));
        Assert.Equal((0xFFFF0FF0UL, 0x2400UL), (m.State->Dr6, m.State->Dr7));

        using var other = M.Protected(3);
        other.InstallGate(1, Gate(14, 0, M.Code0, 0x100));
        other.InstallGate(13, Gate(14, 0, M.Code0, 0x777));
        Assert.False(SoftwareInterrupts.Int(other.State, 1, 2));
        Assert.Equal(DeliveryResult.Delivered, EventDelivery.Deliver(other.State));
        Assert.Equal((0x777UL, 10UL), (other.State->Rip, other.Read(other.State->Gpr[4], 4)));
    }

    private static (int Vector, EventType Type, uint Length) Event(SystemMachine m, Instruction instruction)
    {
        Assert.False(instruction(m.State));
        Assert.Equal(StopReason.Fault, m.State->Stop);
        return (m.State->Pending.Vector, m.State->Pending.Type, m.State->Pending.InsnLength);
    }
}
