using Introspect.Hypervisor.Core.Cpu;
using Introspect.Hypervisor.Core.Cpu.SystemMode;
using static Introspect.Hypervisor.Tests.Cpu.SystemMode.DescriptorBuilder;
using M = Introspect.Hypervisor.Tests.Cpu.SystemMode.SystemMachine;

namespace Introspect.Hypervisor.Tests.Cpu.SystemMode;

/// <summary>What two exceptions make (SDM vol. 3, table 6-5).</summary>
public sealed unsafe class DoubleFaultTests
{
    private const int Nothing = -1;

    /// <summary>First vector, its type, second vector, what is pending afterwards (-1: triple fault).</summary>
    [Theory]
    [InlineData(3, (int)EventType.SoftwareException, 13, 13)]
    [InlineData(0x20, (int)EventType.ExternalInterrupt, 13, 13)]
    [InlineData(13, (int)EventType.SoftwareInterrupt, 13, 13)]
    [InlineData(1, (int)EventType.HardwareException, 14, 14)]
    [InlineData(6, (int)EventType.HardwareException, 11, 11)]
    [InlineData(0, (int)EventType.HardwareException, 13, 8)]
    [InlineData(10, (int)EventType.HardwareException, 11, 8)]
    [InlineData(11, (int)EventType.HardwareException, 12, 8)]
    [InlineData(12, (int)EventType.HardwareException, 10, 8)]
    [InlineData(13, (int)EventType.HardwareException, 13, 8)]
    [InlineData(21, (int)EventType.HardwareException, 13, 8)]
    [InlineData(13, (int)EventType.HardwareException, 14, 14)]
    [InlineData(14, (int)EventType.HardwareException, 20, 8)]
    [InlineData(14, (int)EventType.HardwareException, 13, 8)]
    [InlineData(14, (int)EventType.HardwareException, 14, 8)]
    [InlineData(13, (int)EventType.HardwareException, 1, 1)]
    [InlineData(14, (int)EventType.HardwareException, 17, 17)]
    [InlineData(8, (int)EventType.HardwareException, 13, Nothing)]
    [InlineData(8, (int)EventType.HardwareException, 14, Nothing)]
    [InlineData(8, (int)EventType.HardwareException, 1, 1)]
    public void Two_exceptions_combine(byte first, int type, byte second, int expected)
    {
        using var m = M.Protected(0);
        m.Raise(second, errorCode: 5);
        var one = new PendingEvent { Valid = true, Vector = first, Type = (EventType)type };
        Assert.Equal(expected != Nothing, DoubleFaults.Combine(m.State, in one));
        if (expected != Nothing)
        {
            Assert.Equal(expected, m.State->Pending.Vector);
            Assert.Equal(expected == 8 ? 0u : 5u, m.State->Pending.ErrorCode);
        }
    }

    [Fact]
    public void A_fault_without_a_gate_becomes_a_double_fault()
    {
        using var m = M.Protected(0);
        m.InstallGate(8, Gate(14, 0, M.Code0, 0x888));
        m.Raise(14, errorCode: 2, payload: 0x1000);
        Assert.Equal(DeliveryResult.Delivered, EventDelivery.Deliver(m.State));
        Assert.Equal(0x888UL, m.State->Rip);
        Assert.Equal(0UL, m.Read(m.State->Gpr[4], 4));
        Assert.Equal(M.Rip, m.Read(m.State->Gpr[4] + 4, 4));
    }

    [Fact]
    public void Without_any_gate_the_cpu_shuts_down()
    {
        using var m = M.Protected(0);
        m.Raise(6);
        Assert.Equal(DeliveryResult.TripleFault, EventDelivery.Deliver(m.State));
        Assert.Equal((ExitKind.TripleFault, StopReason.Exit), (m.State->Exit.Kind, m.State->Stop));
    }

    [Fact]
    public void An_intercepted_page_fault_of_a_delivery_is_handed_back()
    {
        using var m = M.Long(0);
        m.State->Intercepts = Intercepts.PageFault;
        m.InstallGate(0x20, Gate(14, 0, M.Code64, 0x100, parameters: 1));
        m.Write(M.Tss + 36, 0x4000_0000, 8); // not mapped
        m.Raise(0x20, EventType.ExternalInterrupt);
        Assert.Equal(DeliveryResult.Fault, EventDelivery.Deliver(m.State));
        Assert.Equal((14, 0x3FFF_FFF8UL, 2u), (m.State->Pending.Vector, m.State->Pending.Payload, m.State->Pending.ErrorCode));
    }

    [Fact]
    public void A_32_bit_double_fault_may_run_in_a_task_of_its_own()
    {
        using var m = M.Protected(0);
        m.InstallGate(8, Gate(5, 0, M.NewTssSelector, 0));
        TaskSwitchTests.BuildTask(m, M.NewTss);
        m.State->Gpr[4] = 0;
        m.State->Seg(SegmentIndex.Ss)->Limit = 0xFFF; // nothing can be pushed
        m.Raise(13, errorCode: 0);
        Assert.Equal(DeliveryResult.Delivered, EventDelivery.Deliver(m.State));
        Assert.Equal(TaskSwitchTests.NewEip, m.State->Rip);
        Assert.Equal(TaskSwitchTests.NewEsp - 4, m.State->Gpr[4]);
        Assert.Equal(M.TssSelector, m.Read(M.NewTss, 2));
    }
}
