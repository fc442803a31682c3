using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Hypercalls.Guest;

namespace Introspect.Hypervisor.Tests.GuestHypercalls;

public sealed class SchedulingTests
{
    private const ulong Area = FakeGuest.Base + 0x1000;
    private readonly FakeGuest _guest = new();

    private long Sched(uint command, ulong argument = FakeGuest.Base) => _guest.Call(HypercallNumber.SchedOp, command, argument);

    private long Vcpu(uint command, uint vcpu, ulong argument = FakeGuest.Base) =>
        _guest.Call(HypercallNumber.VcpuOp, command, vcpu, argument);

    private void PutPoll(ulong timeout, params uint[] ports)
    {
        for (var i = 0; i < ports.Length; i++)
        {
            _guest.Put(ports[i], Area + ((ulong)i * 4));
        }

        if (_guest.Is64)
        {
            _guest.Put(new SchedPoll { Ports = Area, NrPorts = (uint)ports.Length, Timeout = timeout });
        }
        else
        {
            _guest.Put(new CompatSchedPoll { Ports = (uint)Area, NrPorts = (uint)ports.Length, Timeout = timeout });
        }
    }

    [Fact]
    public void Yield_block_and_shutdown_reach_the_domain()
    {
        Assert.Equal(0, Sched(SchedOp.Yield, 0));
        Assert.Equal(0, Sched(SchedOp.Block, 0));
        _guest.Put((uint)ShutdownReason.Crash);
        Assert.Equal(0, Sched(SchedOp.ShutdownCode));
        Assert.Equal(0, Sched(SchedOp.Shutdown));
        Assert.Equal(["yield", "block", "code Crash", "shutdown Crash"], _guest.Log);
        Assert.Equal(-(long)Errno.EFAULT, Sched(SchedOp.Shutdown, 8));
        Assert.Equal(-(long)Errno.EFAULT, Sched(SchedOp.ShutdownCode, 8));
        Assert.Equal(-(long)Errno.EPERM, Sched(SchedOp.PinOverride));
        Assert.Equal(-(long)Errno.ENOSYS, Sched(8));
    }

    [Fact]
    public void Other_domains_are_not_shut_down()
    {
        _guest.Put(new SchedRemoteShutdown { DomainId = 9 });
        Assert.Equal(-(long)Errno.ESRCH, Sched(SchedOp.RemoteShutdown));
        _guest.Put(new SchedRemoteShutdown { DomainId = 5 });
        Assert.Equal(-(long)Errno.EPERM, Sched(SchedOp.RemoteShutdown));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void A_poll_blocks_until_its_deadline(bool is64)
    {
        _guest.Is64 = is64;
        _guest.Events.BindIpi(0, out var port);
        PutPoll(0x1_0000_0000, port);
        Assert.Equal(0, Sched(SchedOp.Poll));
        Assert.Equal(["poll"], _guest.Log);
        Assert.Equal(0x1_0000_0000UL, _guest.Timers.NextDeadline);
    }

    [Fact]
    public void A_poll_does_not_block_when_its_time_is_over_or_its_port_pending()
    {
        _guest.Events.BindIpi(1, out var port);
        PutPoll(1, port);
        Assert.Equal(0, Sched(SchedOp.Poll));
        _guest.Events.Send(port);
        PutPoll(0, port);
        Assert.Equal(0, Sched(SchedOp.Poll));
        Assert.Empty(_guest.Log);
        Assert.Equal(ulong.MaxValue, _guest.Timers.NextDeadline);
    }

    [Fact]
    public void A_poll_of_ports_that_are_not_there_is_an_error()
    {
        PutPoll(1, 4096);
        Assert.Equal(-(long)Errno.EINVAL, Sched(SchedOp.Poll));
        _guest.Put(new SchedPoll { Ports = Area, NrPorts = 129 });
        Assert.Equal(-(long)Errno.EINVAL, Sched(SchedOp.Poll));
        _guest.Put(new SchedPoll { Ports = 8, NrPorts = 1 });
        Assert.Equal(-(long)Errno.EFAULT, Sched(SchedOp.Poll));
        Assert.Equal(-(long)Errno.EFAULT, Sched(SchedOp.Poll, 8));
    }

    [Fact]
    public void A_watchdog_is_set()
    {
        _guest.Put(10UL << 32);
        Assert.Equal(1, Sched(SchedOp.Watchdog));
        Assert.Equal(10_000_001_000UL, _guest.Timers.NextDeadline);
    }

    [Fact]
    public void Vcpus_are_brought_up_and_down()
    {
        Assert.Equal(1, Vcpu(VcpuOp.IsUp, 0));
        Assert.Equal(0, Vcpu(VcpuOp.IsUp, 3));
        Assert.Equal(-(long)Errno.ENOENT, Vcpu(VcpuOp.IsUp, 4));
        _guest.Put(new VcpuHvmContext { Mode = 0, X86_32 = new VcpuHvmX86_32 { Eip = 0x100020 } });
        Assert.Equal(0, Vcpu(VcpuOp.Initialise, 3));
        Assert.Equal("init 3 mode 0 eip 100020", _guest.Log[^1]);
        Assert.Equal(0, Vcpu(VcpuOp.Up, 3));
        Assert.Equal(1, Vcpu(VcpuOp.IsUp, 3));
        Assert.Equal(0, Vcpu(VcpuOp.Down, 3));
        Assert.Equal(0, Vcpu(VcpuOp.IsUp, 3));
        Assert.Equal(0, Vcpu(VcpuOp.Down, 0));
        Assert.Equal("shutdown Poweroff", _guest.Log[^1]);
        _guest.Put(2u);
        Assert.Equal(-(long)Errno.EINVAL, Vcpu(VcpuOp.Initialise, 3));
        Assert.Equal(-(long)Errno.EFAULT, Vcpu(VcpuOp.Initialise, 3, 8));
    }

    [Theory]
    [InlineData(true, 48)]
    [InlineData(false, 44)]
    public void Runstate_is_written_in_the_guests_layout(bool is64, int size)
    {
        _guest.Is64 = is64;
        Array.Fill(_guest.Memory, (byte)0xAA);
        Assert.Equal(0, Vcpu(VcpuOp.GetRunstateInfo, 1));
        Assert.Equal(0, _guest.Get<int>());
        Assert.Equal(11UL, _guest.Get<ulong>(FakeGuest.Base + (is64 ? 8u : 4u)));
        Assert.Equal(56UL, _guest.Get<ulong>(FakeGuest.Base + (ulong)size - 8));
        Assert.Equal(0xAA, _guest.Memory[size]);
        Assert.Equal(-(long)Errno.EFAULT, Vcpu(VcpuOp.GetRunstateInfo, 1, 8));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Areas_are_registered_and_written_at_once(bool is64)
    {
        _guest.Is64 = is64;
        _guest.Put(Area);
        Assert.Equal(0, Vcpu(VcpuOp.RegisterRunstateMemoryArea, 0));
        Assert.Equal($"runstate 0 11000 {(is64 ? 64 : 32)}", _guest.Log[0]);
        Assert.Equal(11UL, _guest.Get<ulong>(Area + (is64 ? 8u : 4u)));
        Assert.Equal(0, Vcpu(VcpuOp.RegisterVcpuTimeMemoryArea, 0));
        Assert.Equal(["time 0 11000", "refresh 0"], _guest.Log[1..]);
        _guest.Put(1UL << 32);
        Assert.Equal(is64 ? 0 : -(long)Errno.EFAULT, Vcpu(VcpuOp.RegisterVcpuTimeMemoryArea, 0));
    }

    // vcpu | offset | layout 64 | expected
    [Theory]
    [InlineData(0u, 0x40u, true, Errno.None)]
    [InlineData(2u, 0xFC0u, true, Errno.None)]
    [InlineData(0u, 0xFC8u, true, Errno.ENXIO)]
    [InlineData(0u, 0x44u, true, Errno.ENXIO)]
    [InlineData(0u, 0x44u, false, Errno.None)]
    [InlineData(0u, 0x42u, false, Errno.ENXIO)]
    [InlineData(1u, 0x40u, true, Errno.EINVAL)] // another one that is up
    public void A_vcpu_info_is_moved(uint vcpu, uint offset, bool is64, Errno expected)
    {
        _guest.Up.Add(1);
        _guest.Shared.Latch(is64);
        _guest.Put(new RegisterVcpuInfo { Mfn = 3, Offset = offset });
        Assert.Equal(-(long)expected, Vcpu(VcpuOp.RegisterVcpuInfo, vcpu));
        if (expected == Errno.None)
        {
            Assert.Equal([$"vcpu_info {vcpu} 3 {offset}", $"refresh {vcpu}"], _guest.Log);
            Assert.Equal([vcpu], _guest.Pages.Upcalls);
        }
        else
        {
            Assert.Empty(_guest.Log);
        }
    }

    [Fact]
    public void Timers_are_set_and_stopped()
    {
        _guest.Put(5_000UL);
        Assert.Equal(0, Vcpu(VcpuOp.SetSingleshotTimer, 0));
        Assert.Equal(5_000UL, _guest.Timers.NextDeadline);
        Assert.Equal(-(long)Errno.EINVAL, Vcpu(VcpuOp.SetSingleshotTimer, 1));
        Assert.Equal(0, Vcpu(VcpuOp.StopSingleshotTimer, 0));
        Assert.Equal(ulong.MaxValue, _guest.Timers.NextDeadline);
        _guest.Put(-5L);
        Assert.Equal(0, Vcpu(VcpuOp.SetSingleshotTimer, 0));
        Assert.Equal(1000UL, _guest.Timers.NextDeadline);
        Assert.Equal(0, Vcpu(VcpuOp.StopSingleshotTimer, 0));

        _guest.Put(999_999UL);
        Assert.Equal(-(long)Errno.EINVAL, Vcpu(VcpuOp.SetPeriodicTimer, 1));
        _guest.Put(1_000_000UL);
        Assert.Equal(0, Vcpu(VcpuOp.SetPeriodicTimer, 1));
        Assert.Equal(1_001_000UL, _guest.Timers.NextDeadline);
        Assert.Equal(0, Vcpu(VcpuOp.StopPeriodicTimer, 1));
        Assert.Equal(ulong.MaxValue, _guest.Timers.NextDeadline);
    }

    [Theory]
    [InlineData(true, 0x1_0000_0005UL, 0UL)]
    [InlineData(false, 5UL, 1UL)]
    public void The_old_timer_call_takes_one_number_or_two_halves(bool is64, ulong first, ulong second)
    {
        _guest.Is64 = is64;
        Assert.Equal(0, _guest.Call(HypercallNumber.SetTimerOp, first, second));
        Assert.Equal(0x1_0000_0005UL, _guest.Timers.NextDeadline);
        Assert.Equal(0, _guest.Call(HypercallNumber.SetTimerOp));
        Assert.Equal(ulong.MaxValue, _guest.Timers.NextDeadline);
    }

    [Fact]
    public void An_NMI_takes_no_argument()
    {
        Assert.Equal(0, Vcpu(VcpuOp.SendNmi, 1, 0));
        Assert.Equal(["nmi 1"], _guest.Log);
        Assert.Equal(-(long)Errno.EINVAL, Vcpu(VcpuOp.SendNmi, 1));
        Assert.Equal(-(long)Errno.EINVAL, Vcpu(VcpuOp.GetPhysid, 1));
        Assert.Equal(-(long)Errno.ENOSYS, Vcpu(99, 1));
    }
}
