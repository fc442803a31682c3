using Iced.Intel;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Tests.Monitoring.Lab;
using static Iced.Intel.AssemblerRegisters;

namespace Introspect.Hypervisor.Tests.Monitoring;

/// <summary>INTERRUPT: armed by GET_NEXT_INTERRUPT alone, sent once for the next event that the guest is given.</summary>
public sealed class NextInterruptTests
{
    public static TheoryData<TrapInjection, CpuVendor> Traps => new()
    {
        { new TrapInjection(0x40, 0, 0, TrapInjection.NoErrorCode, 0), CpuVendor.Vmx },
        { new TrapInjection(0x40, 0, 0, TrapInjection.NoErrorCode, 0), CpuVendor.Svm },
        { new TrapInjection(2, 2, 0, TrapInjection.NoErrorCode, 0), CpuVendor.Vmx },
        { new TrapInjection(14, 3, 0, 6, 0xDEAD000), CpuVendor.Vmx },
        { new TrapInjection(3, 6, 2, TrapInjection.NoErrorCode, 0), CpuVendor.Svm },
    };

    [Theory]
    [MemberData(nameof(Traps))]
    public void The_next_event_is_told_before_the_guest_gets_it(TrapInjection trap, CpuVendor vendor)
    {
        using var lab = new EventLab(Twice, vendor);
        lab.Monitor.Enable(new MonitorEvent.Cpuid());
        lab.Run((int _, in VmEvent request, ref VmEvent response) =>
        {
            if (request.Reason == VmEventReason.Cpuid)
            {
                MoveOn(in request, ref response);
                response.Flags |= VmEventFlags.GetNextInterrupt;
                if (lab.Events.Count == 1)
                {
                    lab.Domain.InjectTrap(new VcpuId(0), trap);
                }
            }
            else
            {
                Assert.Equal(0UL, lab.Taken(trap.Vector));
            }
        });
        var e = lab.Events[1];
        Assert.Equal((VmEventReason.Interrupt, VmEventFlags.VcpuPaused), (e.Reason, e.Flags));
        Assert.Equal((trap.Vector, trap.Type, trap.ErrorCode, trap.Cr2), ((byte)e.Interrupt.Vector, (byte)e.Interrupt.Type, e.Interrupt.ErrorCode, e.Interrupt.Cr2));
        Assert.Equal(1UL, lab.Taken(trap.Vector));
    }

    [Fact]
    public void It_is_sent_once_for_each_time_that_it_is_armed()
    {
        using var lab = new EventLab(Twice);
        lab.Monitor.Enable(new MonitorEvent.Cpuid());
        lab.Run((int number, in VmEvent request, ref VmEvent response) =>
        {
            if (request.Reason == VmEventReason.Cpuid)
            {
                MoveOn(in request, ref response);
                response.Flags |= number == 0 ? VmEventFlags.GetNextInterrupt : VmEventFlags.None;
                lab.Domain.InjectTrap(new VcpuId(0), new TrapInjection(0x40, 0, 0, TrapInjection.NoErrorCode, 0));
            }
        });
        Assert.Equal([VmEventReason.Cpuid, VmEventReason.Interrupt, VmEventReason.Cpuid], lab.Events.Select(static e => e.Reason));
        Assert.Equal(2UL, lab.Taken(0x40));
    }

    [Fact]
    public void A_fault_that_the_hypervisor_raises_is_one()
    {
        using var lab = new EventLab(code =>
        {
            code.cpuid();
            code.mov(ecx, 0x1FF0);
            code.rdmsr();
            code.hlt();
        });
        lab.Monitor.Enable(new MonitorEvent.Cpuid());
        lab.Run((int _, in VmEvent request, ref VmEvent response) =>
        {
            if (request.Reason == VmEventReason.Cpuid)
            {
                MoveOn(in request, ref response);
                response.Flags |= VmEventFlags.GetNextInterrupt;
            }
        });
        var e = lab.Events[1];
        Assert.Equal((13u, 3u, 0u), (e.Interrupt.Vector, e.Interrupt.Type, e.Interrupt.ErrorCode));
        Assert.Equal(1UL, lab.Taken(13));
    }

    [Fact]
    public void Nothing_else_arms_it()
    {
        using var lab = new EventLab(Twice);
        Assert.Equal(Errno.EOPNOTSUPP, lab.Operate(MonitorOperation.Enable, MonitorEventKind.Interrupt));
        Assert.Equal(Errno.EOPNOTSUPP, lab.Operate(MonitorOperation.Disable, MonitorEventKind.Interrupt));
        Assert.NotEqual(MonitorCapabilities.None, lab.Monitor.Capabilities & MonitorCapabilities.Interrupt);
        lab.Domain.InjectTrap(new VcpuId(0), new TrapInjection(0x40, 0, 0, TrapInjection.NoErrorCode, 0));
        Assert.Empty(lab.Run());
        Assert.Equal(1UL, lab.Taken(0x40));
    }

    private static void Twice(Assembler code)
    {
        code.cpuid();
        code.cpuid();
        code.hlt();
    }

    private static void MoveOn(in VmEvent request, ref VmEvent response)
    {
        response.Flags |= VmEventFlags.SetRegisters;
        response.Registers.Rip += request.Cpuid.InsnLength;
    }
}
