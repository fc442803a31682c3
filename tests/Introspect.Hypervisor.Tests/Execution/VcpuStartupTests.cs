using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Cpu;
using Introspect.Hypervisor.Core.Domains;
using Introspect.Hypervisor.Core.State;

namespace Introspect.Hypervisor.Tests.Execution;

public sealed class VcpuStartupTests
{
    [Fact]
    public void A_SIPI_starts_a_vCPU_in_real_mode_at_its_page_once()
    {
        using var domain = new ApicDomain(2);
        var (vcpu, runner) = (domain.Domain.Vcpus[1], domain.At(1));
        Assert.Equal(VcpuPauseFlags.Down, vcpu.Flags);
        domain.Runner.Tsc = 1_000_000_000_000;
        runner.RequestStartup(0x9A);
        runner.RequestStartup(0x55); // the second one comes too late
        Assert.Equal(VcpuPauseFlags.None, vcpu.Flags);
        runner.Settle();

        ref var state = ref runner.State;
        Assert.True(vcpu.IsInitialised);
        Assert.Equal(0UL, state.Rip);
        Assert.Equal(0x9A000UL, runner.Cpu.Segment(SegmentIndex.Cs).Base);
        Assert.Equal(0x9A00, runner.Cpu.Segment(SegmentIndex.Cs).Selector);
        Assert.Equal(0xFFFFu, runner.Cpu.Segment(SegmentIndex.Cs).Limit);
        Assert.Equal(0x10UL, state.Cr0);
        Assert.Equal(2UL, runner.Rflags);
        Assert.Equal(0x40, state.Fcw);
        Assert.Equal(0x1F80u, state.Mxcsr);
        Assert.True((state.Mode & CpuMode.RealOrVm86) != 0);
        Assert.True(runner.Tsc >= 1_000_000_000_000);
        runner.RequestStartup(0x55);
        runner.Settle();
        Assert.Equal(0x9A000UL, runner.Cpu.Segment(SegmentIndex.Cs).Base);
    }

    [Fact]
    public void INIT_takes_a_vCPU_down_until_the_next_SIPI()
    {
        using var domain = new ApicDomain(2);
        var (vcpu, runner) = (domain.Domain.Vcpus[1], domain.At(1));
        runner.RequestInit(); // it is reset already
        runner.Settle();
        Assert.Equal(VcpuPauseFlags.Down, vcpu.Flags);

        runner.RequestStartup(8);
        runner.Settle();
        domain.Enable(1);
        runner.Apic!.Request(0x71);
        runner.Cpu.Gpr(0) = 77;
        runner.State.Xcr0 = 3;
        runner.Cpu.Raise(Vector.InvalidOpcode);
        runner.RequestInit();
        runner.Settle();
        Assert.False(vcpu.IsInitialised);
        Assert.Equal(VcpuPauseFlags.Down, vcpu.Flags);
        Assert.False(runner.Apic.HasRequests);
        Assert.False(runner.Apic.IsEnabled);

        runner.RequestStartup(9);
        Assert.Equal(VcpuPauseFlags.None, vcpu.Flags);
        runner.Settle();
        Assert.Equal(0x9000UL, runner.Cpu.Segment(SegmentIndex.Cs).Base);
        Assert.Equal(0UL, runner.Cpu.Gpr(0));
        Assert.Equal(3UL, runner.State.Xcr0);
        Assert.False(runner.State.Pending.Valid);
    }

    [Fact]
    public void INIT_and_SIPI_that_come_before_the_vCPU_looks_are_done_in_their_order()
    {
        using var domain = new ApicDomain(2);
        var runner = domain.At(1);
        runner.RequestStartup(8);
        runner.Settle();
        runner.RequestInit();
        runner.RequestStartup(9);
        runner.RequestStartup(10);
        runner.Settle();
        Assert.Equal(0x9000UL, runner.Cpu.Segment(SegmentIndex.Cs).Base);
        Assert.Equal(VcpuPauseFlags.None, domain.Domain.Vcpus[1].Flags);

        runner.RequestStartup(11); // initialised: means nothing
        runner.RequestInit();
        runner.RequestStartup(12);
        runner.RequestInit(); // takes the SIPI's start away again
        runner.Settle();
        Assert.Equal(VcpuPauseFlags.Down, domain.Domain.Vcpus[1].Flags);
        Assert.False(domain.Domain.Vcpus[1].IsInitialised);
    }

    [Fact]
    public void The_domain_ends_when_INIT_took_its_last_vCPU()
    {
        using var domain = new ApicDomain(2);
        domain.Apic.WriteMemory(0xFEE0_0300, 4, 0x0008_4500);
        domain.Runner.BeforeEntry();
        Assert.Equal(ShutdownReason.Poweroff, domain.Domain.ShutdownReason);
    }

    [Fact]
    public void A_vCPU_that_halted_for_good_comes_back_for_an_NMI_and_for_INIT()
    {
        using var domain = new ApicDomain(2);
        var (vcpu, runner) = (domain.Domain.Vcpus[1], domain.At(1));
        runner.RequestStartup(8);
        runner.Settle();
        runner.TakeDown();
        Assert.Equal(VcpuPauseFlags.Down, vcpu.Flags);
        domain.Apic.Request(0x71); // an interrupt is none
        Assert.Equal(VcpuPauseFlags.Down, vcpu.Flags);
        runner.RaiseNmi();
        Assert.Equal(VcpuPauseFlags.None, vcpu.Flags);
        runner.TakeDown(); // the NMI is still to come
        Assert.Equal(VcpuPauseFlags.None, vcpu.Flags);
        runner.BeforeEntry();
        runner.TakeDown();
        runner.RequestInit();
        runner.Settle();
        Assert.False(vcpu.IsInitialised);
    }

    [Fact]
    public void VCPUOP_initialise_and_a_SIPI_exclude_each_other()
    {
        using var domain = new ApicDomain(3);
        var context = default(VcpuHvmContext);
        Assert.True(domain.At(1).TryInitialise(context));
        Assert.False(domain.At(1).TryInitialise(context));
        domain.At(1).RequestStartup(8);
        Assert.Equal(VcpuPauseFlags.Down, domain.Domain.Vcpus[1].Flags);
        domain.At(2).RequestStartup(8);
        Assert.False(domain.At(2).TryInitialise(context));
    }

    [Fact]
    public void An_INIT_that_waits_is_done_before_a_save_and_before_a_load()
    {
        using var domain = new ApicDomain(2);
        var runner = domain.At(1);
        runner.RequestStartup(8);
        runner.Settle();
        var up = Save(domain.Domain);
        runner.RequestInit();
        var down = Save(domain.Domain);
        Assert.True(down.Length < up.Length); // no record of a vCPU without a state
        Assert.False(domain.Domain.Vcpus[1].IsInitialised);

        runner.RequestStartup(9);
        Assert.Equal(Errno.None, HvmContext.Load(domain.Domain, up));
        Assert.Equal(0x8000UL, runner.Cpu.Segment(SegmentIndex.Cs).Base);
        runner.BeforeEntry();
        Assert.Equal(0x8000UL, runner.Cpu.Segment(SegmentIndex.Cs).Base);
    }

    [Fact]
    public void Every_vCPU_has_its_APICs_records_up_or_not_and_they_load_elsewhere()
    {
        using var domain = new ApicDomain(2);
        domain.Apic.Request(0x71);
        domain.Apic.Cr8 = 5;
        ((Core.Platform.IMsrCpu)domain.At(1)).OnApicBaseChanged(0, 0xFEE0_0C00);
        var context = Save(domain.Domain);
        Assert.Equal(2, Count(context, HvmSaveCode.Lapic));
        Assert.Equal(2, Count(context, HvmSaveCode.LapicRegs));

        using var other = new ApicDomain(2);
        Assert.Equal(Errno.None, HvmContext.Load(other.Domain, context));
        Assert.Equal(5UL, other.Apic.Cr8);
        Assert.True(other.At(1).Apic!.IsX2);
        other.Enter();
        Assert.Equal("ExternalInterrupt 71", other.TakePending());
    }

    [Fact]
    public void A_copy_of_a_domain_has_its_APICs_timers_and_waiting_NMIs_as_they_stand()
    {
        using var domain = new ApicDomain(2);
        domain.Apic.WriteMemory(0xFEE0_03E0, 4, 0xB);
        domain.Apic.WriteMemory(0xFEE0_0320, 4, 0x2_0050);
        domain.Apic.WriteMemory(0xFEE0_0380, 4, uint.MaxValue);
        domain.Runner.RaiseNmi();
        domain.Apic.Request(0x71);
        domain.Runner.ChooseUpcallVector(0xF3);

        using var copy = new ApicDomain(2);
        copy.Platform.BeforeStateCopy();
        Assert.Equal(ulong.MaxValue, copy.Platform.Timers.NextDeadline);
        Assert.Equal(Errno.None, DomainStateCopy.Copy(domain.Domain, copy.Domain));
        Assert.NotEqual(0UL, copy.Apic.Deadline);
        Assert.Equal(domain.Apic.TimerState, copy.Apic.TimerState);
        Assert.Equal(domain.Apic.Deadline, copy.Platform.Timers.NextDeadline);
        copy.Enter();
        Assert.Equal("Nmi 2", copy.TakePending());
        copy.Runner.State.Shadow = CpuShadow.None;
        copy.Enter();
        Assert.Equal("ExternalInterrupt f3", copy.TakePending());
    }

    [Fact]
    public void No_timer_goes_off_while_a_state_is_copied()
    {
        using var domain = new ApicDomain();
        domain.Apic.WriteMemory(0xFEE0_0320, 4, 0x50);
        domain.Apic.WriteMemory(0xFEE0_0380, 4, uint.MaxValue);
        var timers = new byte[domain.Platform.Timers.StateBytes];
        domain.Platform.Timers.SaveState(timers);
        domain.Platform.BeforeStateCopy();
        domain.Platform.Timers.Expire(ulong.MaxValue);
        Assert.False(domain.Apic.HasRequests);
        domain.Platform.Timers.LoadState(timers);
        domain.Platform.Timers.Expire(ulong.MaxValue);
        Assert.True(domain.Apic.HasRequests);
    }

    [Theory]
    [InlineData(HvmSaveCode.Lapic, 0, 24, Errno.None)]
    [InlineData(HvmSaveCode.Lapic, 0, 16, Errno.None)] // the deadline is filled up with zeros
    [InlineData(HvmSaveCode.Lapic, 0, 8, Errno.EINVAL)] // a divisor of zero
    [InlineData(HvmSaveCode.Lapic, 0, 32, Errno.EINVAL)]
    [InlineData(HvmSaveCode.Lapic, 1, 24, Errno.EINVAL)]
    [InlineData(HvmSaveCode.LapicRegs, 0, 1024, Errno.None)]
    [InlineData(HvmSaveCode.LapicRegs, 0, 1020, Errno.EINVAL)]
    [InlineData(HvmSaveCode.LapicRegs, 0, 1028, Errno.EINVAL)]
    [InlineData(HvmSaveCode.LapicRegs, 1, 1024, Errno.EINVAL)]
    public void Records_of_another_length_or_instance_are_refused(ushort type, ushort instance, int length, Errno expected)
    {
        using var domain = new ApicDomain();
        var hidden = new byte[24];
        domain.Apic.SaveHidden(hidden);
        var record = new byte[length];
        if (type == HvmSaveCode.Lapic)
        {
            hidden.AsSpan(0, Math.Min(length, 24)).CopyTo(record);
        }

        byte[] context =
        [
            .. Save(domain.Domain)[..32],
            .. BitConverter.GetBytes(type), .. BitConverter.GetBytes(instance), .. BitConverter.GetBytes(length), .. record,
            .. new byte[8],
        ];
        Assert.Equal(expected, HvmContext.Load(domain.Domain, context));
    }

    private static byte[] Save(Domain domain)
    {
        var buffer = new byte[HvmContext.MaxSize(domain)];
        return buffer[..HvmContext.Save(domain, buffer)];
    }

    private static int Count(byte[] context, ushort type)
    {
        var count = 0;
        for (var at = 0; at < context.Length; at += 8 + BitConverter.ToInt32(context, at + 4))
        {
            count += BitConverter.ToUInt16(context, at) == type ? 1 : 0;
        }

        return count;
    }
}
