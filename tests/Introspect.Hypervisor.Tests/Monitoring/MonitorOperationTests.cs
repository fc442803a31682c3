using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core;
using Introspect.Hypervisor.Core.Monitoring;
using Introspect.Hypervisor.Tests.Monitoring.Lab;

namespace Introspect.Hypervisor.Tests.Monitoring;

/// <summary>What can be asked for at all, and what cannot.</summary>
public sealed class MonitorOperationTests
{
    [Theory]
    [InlineData(CpuVendor.Vmx, false, 0x1f7fu)]
    [InlineData(CpuVendor.Svm, false, 0x1f7bu)]
    [InlineData(CpuVendor.Vmx, true, 0x3f7fu)]
    [InlineData(CpuVendor.Svm, true, 0x3f7bu)]
    public void Capabilities_are_xens_and_those_of_the_options(CpuVendor vendor, bool ports, uint expected)
    {
        using var lab = new EventLab(static code => code.hlt(), vendor, new MonitoringOptions { IoInstructions = ports });
        Assert.Equal(expected, (uint)lab.Monitor.Capabilities);
    }

    [Fact]
    public void Every_capability_can_be_enabled_but_the_one_that_a_response_arms()
    {
        using var lab = new EventLab(static code => code.hlt(), options: new MonitoringOptions { IoInstructions = true });
        for (var kind = MonitorEventKind.WriteCtrlreg; kind <= (MonitorEventKind)32; kind++)
        {
            var offered = ((ulong)lab.Monitor.Capabilities & (1UL << (int)kind)) != 0;
            var expected = kind == (MonitorEventKind)32 ? Errno.EINVAL
                : offered && kind != MonitorEventKind.Interrupt ? Errno.None
                : Errno.EOPNOTSUPP;
            Assert.Equal(expected, lab.Operate(MonitorOperation.Enable, kind));
            Assert.Equal(expected, lab.Operate(MonitorOperation.Disable, kind));
        }
    }

    [Fact]
    public void Privileged_calls_are_arms()
    {
        using var lab = new EventLab(static code => code.hlt());
        Assert.Equal(Errno.EOPNOTSUPP, lab.Operate(MonitorOperation.Enable, MonitorEventKind.PrivilegedCall));
        Assert.Equal(Errno.EOPNOTSUPP, lab.Operate((MonitorOperation)5, default));
    }

    [Theory]
    [InlineData(1u)]
    [InlineData(3u)]
    internal void There_are_no_rings_for_sharing_and_paging(uint mode)
    {
        using var lab = new EventLab(static code => code.hlt());
        var domctl = ToolstackCalls.Domctl(DomctlCommand.VmEventOp, lab.Domain.Id.Value);
        domctl.VmEventOp.Mode = (VmEventMode)mode;
        Assert.Equal(Errno.ENOSYS, new ToolstackCalls(lab.Toolstack).TryCall(ref domctl, default));
    }

    [Fact]
    public void There_is_no_processor_trace()
    {
        using var lab = new EventLab(static code => code.hlt());
        var domctl = ToolstackCalls.Domctl(DomctlCommand.VmtraceOp, lab.Domain.Id.Value);
        Assert.Equal(Errno.EOPNOTSUPP, new ToolstackCalls(lab.Toolstack).TryCall(ref domctl, default));
    }

    [Fact]
    public void Control_registers_may_be_asked_for_again_and_end_with_the_ring()
    {
        using var lab = new EventLab(static code => code.hlt());
        Assert.Equal(Errno.None, lab.Operate(MonitorOperation.ControlRegisters, default));
        Assert.Equal(Errno.None, lab.Operate(MonitorOperation.ControlRegisters, default));
        Assert.True(lab.Inside.Monitor.ControlRegisterValues);
        lab.Monitor.Dispose();
        Assert.False(lab.Inside.Monitor.ControlRegisterValues);
    }

    [Fact]
    public void The_count_of_a_domains_pauses_is_told()
    {
        using var lab = new EventLab(static code => code.hlt());
        Assert.Equal(1, lab.Domain.GetInfo().PauseCount);
        lab.Domain.Pause();
        lab.Domain.Pause();
        Assert.Equal(3, lab.Domain.GetInfo().PauseCount);
        lab.Domain.Unpause();
        Assert.Equal(2, lab.Domain.GetInfo().PauseCount);
    }
}
