using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Domains;
using Introspect.Hypervisor.Core.Execution;
using Introspect.Hypervisor.Core.Memory;
using Introspect.Hypervisor.Core.Platform;

namespace Introspect.Hypervisor.Tests.Forks;

/// <summary>What beside memory a fork begins with and is taken back to: each room's state, and the pages shared with the hypervisor.</summary>
public sealed class ForkStateTests : IDisposable
{
    private const ulong SharedInfoFrame = 0x30, InfoFrame = 0x31, GrantFrame = 0x32;

    private readonly ForkLab _lab = new(static code => code.hlt(), vcpus: 2);
    private readonly List<IDomain> _forks = [];

    private Domain Parent => _lab.Inside(_lab.Parent);

    private DomainPlatform Platform => (DomainPlatform)Parent.Platform;

    [Fact]
    public void Event_channels_are_those_of_the_parent_and_the_monitors_port_is_the_forks()
    {
        Assert.Equal(0, Platform.Events.BindVirq(Virq.Timer, 1, out var timer));
        Assert.Equal(0, Platform.Events.BindIpi(1, out var ipi));
        Assert.Equal(0, Platform.Events.AllocateUnbound(7, out var unbound));
        using var parents = _lab.Parent.EnableMonitor();
        var (fork, child, platform) = Fork();
        Assert.Equal((PortState.Virq, PortState.Ipi, PortState.Unbound), (StateOf(platform, timer), StateOf(platform, ipi), StateOf(platform, unbound)));

        // The parent's ring is not the fork's: its port is free, and the fork's own survives resets.
        var port = Parent.MonitorRing!.Port.Port;
        Assert.Equal(PortState.Closed, StateOf(platform, port));
        using (fork.EnableMonitor())
        {
            var own = child.MonitorRing!.Port.Port;
            Assert.Equal(0, platform.Events.BindIpi(0, out var late));
            Assert.Equal(0, platform.Events.Close(ipi, byGuest: true));
            fork.ResetFork(state: true, memory: false);
            Assert.Equal((PortState.Closed, PortState.Ipi), (StateOf(platform, late), StateOf(platform, ipi)));
            var question = new EvtchnStatus { Port = own };
            Assert.Equal(-(int)Errno.EACCES, platform.Events.Query(ref question));
        }

        // An interrupt of the fork's reaches the fork.
        platform.Events.RaiseVirq(1, Virq.Timer);
        Assert.True(platform.Events.IsPending(timer));
        Assert.False(Platform.Events.IsPending(timer));
        Assert.Equal(-(int)Errno.EEXIST, platform.Events.BindVirq(Virq.Timer, 1, out _));
        fork.ResetFork(state: true, memory: false);
        Assert.False(platform.Events.IsPending(timer));
    }

    [Fact]
    public void The_console_of_a_fork_is_read_from_its_own_ring()
    {
        var (_, child, platform) = Fork();
        var port = (uint)child.GetParam(HvmParam.ConsoleEvtchn);
        Assert.Equal(Parent.GetParam(HvmParam.ConsoleEvtchn), port);
        var ring = Page(child, child.GetParam(HvmParam.ConsolePfn));
        const int OutProducer = 2048 + 1024 + 12;
        ring[1024] = (byte)'x';
        BitConverter.TryWriteBytes(ring[OutProducer..], 1);
        Assert.Equal(0, platform.Events.Send(port));
        ulong position = 0;
        var text = new byte[4];
        Assert.Equal(1, platform.ReadConsole(ref position, text));
        Assert.Equal((byte)'x', text[0]);
        position = 0;
        Assert.Equal(0, Platform.ReadConsole(ref position, text));
    }

    [Fact]
    public void Timers_and_watchdogs_go_on_and_come_back()
    {
        const ulong Far = 1UL << 60;
        Platform.Timers.SetSingleshot(0, Far);
        Platform.Timers.SetPeriodic(1, Far, 5);
        Assert.Equal(1, Platform.Timers.SetWatchdog(0, 1000, Far));
        var (fork, _, platform) = Fork();
        Assert.Equal(Far, platform.Timers.NextDeadline);
        platform.Timers.SetSingleshot(0, Far - 1);
        Assert.Equal((Far - 1, Far), (platform.Timers.NextDeadline, Platform.Timers.NextDeadline));
        fork.ResetFork(state: true, memory: false);
        Assert.Equal(Far, platform.Timers.NextDeadline);
        platform.Timers.SetSingleshot(0, 0);
        Assert.Equal(Far + 5, platform.Timers.NextDeadline);
        Assert.Equal(2, platform.Timers.SetWatchdog(0, 1, Far));
        Assert.Equal(-(int)Errno.ENOSPC, platform.Timers.SetWatchdog(0, 1, Far));
    }

    [Fact]
    public void Shared_info_is_mapped_where_the_parents_is_with_what_stands_in_it()
    {
        Assert.Equal(Errno.None, Parent.MapSharedInfo(SharedInfoFrame));
        Page(Parent, SharedInfoFrame)[100] = 42;
        var (fork, child, _) = Fork();
        Assert.Equal(SharedInfoFrame, child.SharedInfoGfn);
        Assert.NotEqual(Parent.SharedInfoAddress, child.SharedInfoAddress);
        Assert.Equal(42, Page(child, SharedInfoFrame)[100]);
        Page(child, SharedInfoFrame)[100] = 43;
        Assert.Equal(42, Page(Parent, SharedInfoFrame)[100]);
        Assert.Equal(Errno.None, child.MapSharedInfo(SharedInfoFrame + 0x10));
        fork.ResetFork(state: true, memory: true);
        Assert.Equal(SharedInfoFrame, child.SharedInfoGfn);
        Assert.Equal(42, Page(child, SharedInfoFrame)[100]);
        Assert.False(child.Physmap[SharedInfoFrame + 0x10].IsPresent);
    }

    [Fact]
    public void Vcpu_info_is_in_a_page_of_the_forks_own_and_survives_a_memory_reset()
    {
        const uint Offset = 128;
        Assert.True(Platform.TryRegisterVcpuInfo(1, InfoFrame, Offset, []));
        Platform.RegisteredVcpuInfo(1)[40] = 7;
        var (fork, child, platform) = Fork();
        Assert.Equal(7, platform.RegisteredVcpuInfo(1)[40]);
        platform.RegisteredVcpuInfo(1)[40] = 8;
        Assert.Equal((7, 8), (Platform.RegisteredVcpuInfo(1)[40], Page(child, InfoFrame)[(int)Offset + 40]));

        // The hypervisor goes on writing to it, so it must not be dropped.
        fork.ResetFork(state: false, memory: true);
        Assert.Equal(8, Page(child, InfoFrame)[(int)Offset + 40]);
        fork.ResetFork(state: true, memory: true);
        Assert.Equal(7, platform.RegisteredVcpuInfo(1)[40]);

        // What the fork registered itself is gone with the run.
        Assert.True(platform.TryRegisterVcpuInfo(0, InfoFrame + 0x20, 0, []));
        fork.ResetFork(state: true, memory: true);
        Assert.False(platform.HasRegisteredVcpuInfo(0));
        Assert.True(platform.HasRegisteredVcpuInfo(1));
    }

    [Fact]
    public void Grant_frames_are_copied_and_those_of_the_run_go()
    {
        Assert.Equal(0, Platform.Grants.Map(0, GrantFrame));
        Page(Parent, GrantFrame)[8] = 9;
        var (fork, child, platform) = Fork();
        Assert.Equal((1u, GrantFrame), (platform.Grants.Count, platform.Grants.GfnOf(0)));
        Assert.Equal(9, Page(child, GrantFrame)[8]);
        Page(child, GrantFrame)[8] = 10;
        Assert.Equal(0, platform.Grants.Map(1, GrantFrame + 1));
        Assert.Equal(0, platform.Grants.Map(0, GrantFrame + 2));
        fork.ResetFork(state: true, memory: true);
        Assert.Equal((1u, GrantFrame), (platform.Grants.Count, platform.Grants.GfnOf(0)));
        Assert.Equal((9, 9), (Page(child, GrantFrame)[8], Page(Parent, GrantFrame)[8]));
        Assert.NotEqual(Parent.Physmap[GrantFrame].MachineAddress, child.Physmap[GrantFrame].MachineAddress);
        Assert.False(child.Physmap[GrantFrame + 2].Type == P2mType.RamRw && child.Physmap[GrantFrame + 2].MachineAddress == child.Physmap[GrantFrame].MachineAddress);
    }

    [Fact]
    public void A_vcpu_is_copied_to_its_last_bit()
    {
        var runner = (VcpuRunner)Parent.Vcpus[0].Runner;
        ref var state = ref runner.State;
        state.Cr8 = 5;
        state.Pat = 0x0606060606060606;
        state.Shadow = Core.Cpu.CpuShadow.Sti | Core.Cpu.CpuShadow.Nmi;
        state.Pending = new Core.Cpu.PendingEvent { Valid = true, Vector = 14, Type = Core.Cpu.EventType.HardwareException, HasErrorCode = true, ErrorCode = 6, Payload = 0x1234, InsnLength = 3 };
        state.Mxcsr = 0x1FA0;
        state.Fip = 0x1234_5678_9ABC;
        state.TscOffset = 77;
        runner.UpcallVector = 0x55;
        Parent.Vcpus[0].SetFlag(VcpuPauseFlags.Blocked);
        runner.Save(out var expected);
        var (fork, child, _) = Fork();
        var copy = (VcpuRunner)child.Vcpus[0].Runner;
        AssertSame(in expected, copy);
        Assert.Equal(VcpuPauseFlags.Blocked, child.Vcpus[0].Flags);

        // The other one never ran.
        Assert.Equal(VcpuPauseFlags.Down, child.Vcpus[1].Flags & VcpuPauseFlags.Down);
        Assert.False(child.Vcpus[1].IsInitialised);

        copy.State.Cr8 = 0;
        copy.State.Pending = default;
        copy.State.Shadow = Core.Cpu.CpuShadow.None;
        copy.UpcallVector = 0;
        child.Vcpus[0].ClearFlag(VcpuPauseFlags.Blocked);
        child.Vcpus[1].IsInitialised = true;
        child.Vcpus[1].ClearFlag(VcpuPauseFlags.Down);
        fork.ResetFork(state: true, memory: false);
        AssertSame(in expected, copy);
        Assert.Equal(VcpuPauseFlags.Blocked, child.Vcpus[0].Flags);
        Assert.Equal((VcpuPauseFlags.Down, false), (child.Vcpus[1].Flags, child.Vcpus[1].IsInitialised));
    }

    [Fact]
    public void What_a_monitor_asked_for_stays_the_monitors()
    {
        var (fork, child, _) = Fork();
        using var monitor = fork.EnableMonitor();
        monitor.Enable(new MonitorEvent.Cpuid());
        monitor.SetDefaultAccess(MemoryAccess.Rx);
        fork.InjectTrap(new(0), TrapInjection.Breakpoint(1));
        fork.ResetFork(state: true, memory: true);
        Assert.True(child.Monitor.Cpuid);
        Assert.NotNull(child.MonitorRing);
        Assert.Equal(MemoryAccess.Rx, child.Physmap.DefaultAccess);
        Assert.Equal(Errno.EBUSY, Assert.Throws<HypervisorException>(() => fork.InjectTrap(new(0), TrapInjection.Breakpoint(1))).Error);
    }

    [Fact]
    public void A_state_reset_leaves_memory_and_a_memory_reset_leaves_state()
    {
        var (fork, child, _) = Fork();
        ForkLab.Write(fork, 0x40000, 1);
        child.SetParam(HvmParam.Vm86Tss, 5);
        Parent.SetParam(HvmParam.Vm86Tss, 4);
        fork.ResetFork(state: false, memory: true);
        Assert.Equal((0UL, 5UL), (ForkLab.Read(fork, 0x40000), child.GetParam(HvmParam.Vm86Tss)));
        ForkLab.Write(fork, 0x40000, 1);
        fork.ResetFork(state: true, memory: false);
        Assert.Equal((1UL, 4UL), (ForkLab.Read(fork, 0x40000), child.GetParam(HvmParam.Vm86Tss)));
    }

    [Fact]
    public void The_clock_goes_on_from_the_parents_and_back_to_it()
    {
        Platform.Clock.SkipTo(1_000_000);
        var (fork, _, platform) = Fork();
        Assert.Equal((1_000_000UL, Platform.Clock.WallClockBase), (platform.Clock.Cycles, platform.Clock.WallClockBase));
        platform.Clock.SkipTo(5_000_000);
        Assert.Equal((5_000_000UL, 1_000_000UL), (platform.Clock.Cycles, Platform.Clock.Cycles));
        fork.ResetFork(state: true, memory: false);
        Assert.Equal(1_000_000UL, platform.Clock.Cycles);
    }

    public void Dispose()
    {
        foreach (var fork in _forks)
        {
            fork.Destroy();
            fork.Dispose();
        }

        _lab.Dispose();
    }

    private (IDomain Fork, Domain Child, DomainPlatform Platform) Fork()
    {
        var fork = _lab.Parent.Fork();
        _forks.Add(fork);
        var child = _lab.Inside(fork);
        return (fork, child, (DomainPlatform)child.Platform);
    }

    private static void AssertSame(in VcpuSaved expected, VcpuRunner runner)
    {
        runner.Save(out var actual);
        var first = Bytes(in expected).CommonPrefixLength(Bytes(in actual));
        Assert.True(first == Bytes(in expected).Length, $"byte {first} differs");
    }

    private static ReadOnlySpan<byte> Bytes(in VcpuSaved saved) =>
        System.Runtime.InteropServices.MemoryMarshal.AsBytes(new ReadOnlySpan<VcpuSaved>(in saved));

    private Span<byte> Page(Domain domain, ulong gfn) =>
        _lab.Machine.Memory.RestOfPage(domain.Pages.Find(gfn, write: true).MachineAddress);

    private static PortState StateOf(DomainPlatform platform, uint port)
    {
        var question = new EvtchnStatus { Port = port };
        Assert.Equal(0, platform.Events.Query(ref question));
        return (PortState)question.Status;
    }
}
