using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core;
using Introspect.Hypervisor.Core.Domains;
using Introspect.Hypervisor.Core.Monitoring;
using Introspect.Hypervisor.Tests.Domains;

namespace Introspect.Hypervisor.Tests.Seam;

/// <summary>
/// What every implementation of the seam on the core keeps, whatever way its calls take. The vCPUs are fakes that
/// send what a test tells them to; all else is the product.
/// </summary>
public abstract partial class SeamContract : IDisposable
{
    private const int Wait = 30;

    private protected TestMachine Lab { get; } = new();

    private protected abstract IHypervisor Hypervisor { get; }

    /// <summary>Domains of two vendors' virtualisation can be side by side, as on no real processor.</summary>
    private protected virtual bool TellsVendorByDomain => true;

    /// <summary>There are vmexit events.</summary>
    private protected virtual bool HasVmExit => true;

    [Fact]
    public void Domains_are_listed_and_opened_by_number_name_and_uuid()
    {
        var one = Lab.Create("one", vcpus: 2);
        var two = Lab.Create("two", vendor: CpuVendor.Svm);
        Assert.Equal([one.Id, two.Id], Hypervisor.ListDomains().Select(static domain => domain.Id));
        using var byNumber = Hypervisor.Open(one.Id);
        using var byName = Hypervisor.Open(DomainRef.Parse("two"));
        using var byUuid = Hypervisor.Open(DomainRef.Parse(one.Handle.ToString("D")));
        Assert.Equal(two.Id, byName.Id);
        Assert.Equal(one.Id, byUuid.Id);
        var info = byNumber.GetInfo();
        Assert.Equal(("one", 2, CpuVendor.Vmx, DomainState.Paused), (info.Name, info.VcpuCount, info.Vendor, info.State));
        Assert.Equal(TellsVendorByDomain ? CpuVendor.Svm : CpuVendor.Vmx, byName.GetInfo().Vendor);
        Assert.Equal(new Gfn(0xfefff), info.MaxGfn);
    }

    [Fact]
    public void A_domain_that_does_not_exist_or_is_gone_is_ESRCH()
    {
        var domain = Lab.Create("one");
        AssertErrno(Errno.ESRCH, () => Hypervisor.Open(new DomainId(99)));
        AssertErrno(Errno.ESRCH, () => Hypervisor.Open(DomainRef.Parse("nobody")));
        using var opened = Hypervisor.Open(domain.Id);
        Lab.Machine.DestroyDomain(domain);
        AssertErrno(Errno.ESRCH, () => opened.GetInfo());
        AssertErrno(Errno.ESRCH, opened.Pause);
        AssertErrno(Errno.ESRCH, () => opened.EnableMonitor());
        AssertErrno(Errno.ESRCH, () => opened.Memory.ReadPhysical(new(0x1000), new byte[1]));
    }

    [Fact]
    public void Pauses_nest()
    {
        var domain = Lab.CreateRunning();
        using var opened = Hypervisor.Open(domain.Id);
        Assert.NotEqual(DomainState.Paused, opened.GetInfo().State);
        opened.Pause();
        opened.Pause();
        Assert.False(domain.Vcpus[0].IsRunning);
        opened.Unpause();
        Assert.Equal(DomainState.Paused, opened.GetInfo().State);
        opened.Unpause();
        Assert.NotEqual(DomainState.Paused, opened.GetInfo().State);
        AssertErrno(Errno.EINVAL, opened.Unpause);
    }

    [Fact]
    public void A_vcpu_is_read_and_written()
    {
        var domain = Lab.Create(vcpus: 2);
        using var opened = Hypervisor.Open(domain.Id);
        var state = opened.ReadVcpu(new(0));
        Assert.Equal((0x100000UL, 0x1000UL, 0x11UL), (state.Rip, state.Rbx, state.Cr0));
        Assert.Equal(0xc09bu, state.Cs.AccessRights);
        Assert.NotEqual(0u, state.Fs.AccessRights & 0x1_0000);
        state.Rax = 0x1234_5678_9abc_def0;
        state.Rip = 0x200000;
        state.Rflags = 0x246;
        state.Gs = new SegmentState(0x18, 0xc093, 0xffff_ffff, 0x7000);
        opened.WriteVcpu(new(0), state);
        var read = opened.ReadVcpu(new(0));
        Assert.Equal((state.Rax, state.Rip, state.Rflags, state.Gs), (read.Rax, read.Rip, read.Rflags, read.Gs));
        AssertErrno(Errno.ENODATA, () => opened.ReadVcpu(new(1)));
        AssertErrno(Errno.ENOENT, () => opened.ReadVcpu(new(2)));
        AssertErrno(Errno.EINVAL, () => opened.WriteVcpu(new(2), state));
        state.Cr0 = 0;
        AssertErrno(Errno.EINVAL, () => opened.WriteVcpu(new(0), state));
    }

    [Fact]
    public void Traps_are_injected_one_at_a_time()
    {
        var domain = Lab.Create();
        using var opened = Hypervisor.Open(domain.Id);
        opened.InjectTrap(new(0), TrapInjection.Breakpoint(1));
        AssertErrno(Errno.EBUSY, () => opened.InjectTrap(new(0), TrapInjection.Breakpoint(1)));
        AssertErrno(Errno.EINVAL, () => opened.InjectTrap(new(7), TrapInjection.Breakpoint(1)));
        var injected = Assert.Single(TestMachine.Runner(domain).Injected);
        Assert.Equal((3, 6, 1, ~0u), (injected.Vector, injected.Type, injected.InsnLength, injected.ErrorCode));
    }

    [Fact]
    public void Guest_memory_is_read_and_written()
    {
        var domain = Lab.Create();
        using var opened = Hypervisor.Open(domain.Id);
        opened.Memory.WritePhysical(new(0x1ffe), [1, 2, 3, 4]);
        var read = new byte[4];
        opened.Memory.ReadPhysical(new(0x1ffe), read);
        Assert.Equal([1, 2, 3, 4], read);
        Assert.Equal(3, Lab.Machine.Memory.RestOfPage(domain.Physmap[2].MachineAddress)[0]);
        AssertErrno(Errno.EFAULT, () => opened.Memory.ReadPhysical(new(TestMachine.MemoryBytes - 1), new byte[2]));
        AssertErrno(Errno.EFAULT, () => opened.Memory.WritePhysical(new(0xfee0_0000), [1]));
    }

    [Fact]
    public void One_monitor_at_a_time()
    {
        var domain = Lab.CreateRunning();
        using var opened = Hypervisor.Open(domain.Id);
        using (opened.EnableMonitor())
        {
            var pages = domain.Ram.TotalPages;
            AssertErrno(Errno.EBUSY, () => opened.EnableMonitor());
            Assert.Equal(pages, domain.Ram.TotalPages);
            Assert.Equal(0, domain.ControllerPauseCount);
        }

        opened.EnableMonitor().Dispose();
    }

    [Fact]
    public void A_monitor_leaves_nothing_behind()
    {
        var domain = Lab.CreateRunning(vcpus: 2);
        using var opened = Hypervisor.Open(domain.Id);
        var ringFrame = domain.GetParam(HvmParam.MonitorRingPfn);
        var monitor = opened.EnableMonitor();
        Assert.False(domain.Physmap[ringFrame].IsPresent);
        monitor.Enable(new MonitorEvent.Cpuid());
        monitor.Enable(new MonitorEvent.ControlRegister(ControlRegisterIndex.Cr3));
        monitor.Enable(new MonitorEvent.Msr(0xc000_0080));
        monitor.SetMemoryAccess(new(3), 2, MemoryAccess.Rx);
        monitor.SetDefaultAccess(MemoryAccess.R);
        foreach (var vcpu in domain.Vcpus)
        {
            Send(domain, (int)vcpu.Id, sync: true);
        }

        monitor.Dispose();
        monitor.Dispose();
        Assert.Null(domain.MonitorRing);
        Assert.False(domain.Monitor.Cpuid);
        Assert.False(domain.Monitor.IsMonitored(ControlRegisterIndex.Cr3));
        Assert.False(domain.Monitor.AnyMsr);
        Assert.Equal(MemoryAccess.Rwx, domain.Physmap[3].Access);
        Assert.Equal(MemoryAccess.Rwx, domain.Physmap.DefaultAccess);
        Assert.Equal(0, domain.ControllerPauseCount);
        Assert.Equal(0, FakePlatform.All[domain].PortsTaken);
        Assert.All(domain.Vcpus, static vcpu => Assert.Equal((0, 0), (vcpu.PauseCount, vcpu.VmEventPauseCount)));
        TestMachine.Eventually(() => domain.Vcpus.All(static vcpu => vcpu.IsRunning));
    }

    [Fact]
    public void A_monitor_that_took_a_request_and_did_not_answer_answers_at_the_end()
    {
        var domain = Lab.CreateRunning();
        using var opened = Hypervisor.Open(domain.Id);
        var monitor = opened.EnableMonitor();
        Send(domain, 0, sync: true);
        Assert.True(monitor.TryTake(out _));
        monitor.Dispose();
        Assert.Equal(0, domain.Vcpus[0].VmEventPauseCount);
        TestMachine.Eventually(() => domain.Vcpus[0].IsRunning);
    }

    [Fact]
    public void A_frame_that_is_added_is_behind_all_others_and_goes_again()
    {
        var domain = Lab.CreateRunning();
        using var opened = Hypervisor.Open(domain.Id);
        var (last, bytes) = (opened.GetInfo().MaxGfn, opened.GetInfo().MemoryBytes);
        var frames = Enumerable.Range(0, 40).Select(_ => opened.AddFrame()).ToList();
        Assert.Equal(Enumerable.Range(1, 40).Select(n => last.Value + (ulong)n), frames.Select(frame => frame.Value));
        opened.Memory.WritePhysical(frames[39].Address, [1, 2, 3]);
        var read = new byte[3];
        opened.Memory.ReadPhysical(frames[39].Address, read);
        Assert.Equal([1, 2, 3], read);

        frames.ForEach(opened.RemoveFrame);
        Assert.Equal(bytes, opened.GetInfo().MemoryBytes);
        AssertErrno(Errno.EINVAL, () => opened.RemoveFrame(frames[0]));
        AssertErrno(Errno.EFAULT, () => opened.Memory.ReadPhysical(frames[39].Address, read));
    }

    [Fact]
    public void A_vcpu_that_is_held_stays_where_it_is_when_the_domain_goes_on()
    {
        var domain = Lab.CreateRunning(vcpus: 2);
        using var opened = Hypervisor.Open(domain.Id);
        AssertErrno(Errno.EBUSY, () => opened.PauseVcpu(new(1)));
        opened.Pause();
        opened.PauseVcpu(new(1));
        opened.PauseVcpu(new(1));
        AssertErrno(Errno.EINVAL, () => opened.PauseVcpu(new(2)));
        AssertErrno(Errno.EINVAL, () => opened.UnpauseVcpu(new(0)));
        opened.Unpause();
        TestMachine.Eventually(() => domain.Vcpus[0].IsRunning);
        Assert.False(domain.Vcpus[1].IsRunnable);
        Assert.False(domain.Vcpus[1].IsRunning);
        AssertErrno(Errno.EBUSY, () => opened.UnpauseVcpu(new(1)));

        opened.Pause();
        opened.UnpauseVcpu(new(1));
        opened.Unpause();
        Assert.False(domain.Vcpus[1].IsRunnable);
        Assert.Equal(0, opened.Recover().UndonePauses);
        TestMachine.Eventually(() => domain.Vcpus.All(static vcpu => vcpu.IsRunning));
    }

    [Fact]
    public void A_response_that_nobody_was_told_of_is_seen_at_the_end()
    {
        var domain = Lab.CreateRunning();
        using var opened = Hypervisor.Open(domain.Id);
        var monitor = opened.EnableMonitor();
        Send(domain, 0, sync: true);
        Assert.True(monitor.TryTake(out var request));
        monitor.Respond(request);
        monitor.Dispose();
        Assert.Equal((0, 0), (domain.Vcpus[0].PauseCount, domain.Vcpus[0].VmEventPauseCount));
    }

    [Fact]
    public void A_monitor_ends_while_a_vcpu_waits_for_a_slot()
    {
        var domain = Lab.CreateRunning(vcpus: 2);
        using var opened = Hypervisor.Open(domain.Id);
        var monitor = opened.EnableMonitor();
        TestMachine.Runner(domain, 0).DoAndWait(static vcpu =>
        {
            for (var i = 0; i < 8; i++)
            {
                Send(vcpu, sync: false);
            }
        });
        TestMachine.Runner(domain, 1).Do(static vcpu => Send(vcpu, sync: true));
        TestMachine.Eventually(() => domain.MonitorRing!.Waiting == 1);
        monitor.Dispose();
        Assert.Null(domain.MonitorRing);
        Assert.All(domain.Vcpus, static vcpu => Assert.Equal((0, 0), (vcpu.PauseCount, vcpu.VmEventPauseCount)));
        TestMachine.Eventually(() => domain.Vcpus.All(static vcpu => vcpu.IsRunning));
    }

    [Fact]
    public void A_request_is_taken_answered_and_its_vcpu_goes_on()
    {
        var domain = Lab.CreateRunning();
        using var opened = Hypervisor.Open(domain.Id);
        using var monitor = opened.EnableMonitor();
        Assert.Equal(8, monitor.RingSize);
        for (var round = 0; round < 20; round++)
        {
            Send(domain, 0, sync: true);
            while (monitor.UnconsumedRequests == 0)
            {
                Assert.True(monitor.Wait(TimeSpan.FromSeconds(Wait), CancellationToken.None));
            }

            Assert.True(monitor.TryTake(out var request));
            Assert.Equal(VmEventReason.GuestRequest, request.Reason);
            Assert.False(monitor.TryTake(out _));
            request.Flags |= VmEventFlags.SetRegisters;
            monitor.Respond(request);
            monitor.Notify();
            TestMachine.Eventually(() => domain.Vcpus[0].VmEventPauseCount == 0);
        }

        TestMachine.Eventually(() => TestMachine.Runner(domain).Responses.Count == 20);
        Assert.All(TestMachine.Runner(domain).Responses, static response => Assert.True(response.Flags.HasFlag(VmEventFlags.SetRegisters)));
    }

    [Fact]
    public void Waiting_ends_with_the_time_and_with_the_token()
    {
        var domain = Lab.CreateRunning();
        using var opened = Hypervisor.Open(domain.Id);
        using var monitor = opened.EnableMonitor();

        // Whoever binds an event channel finds it signalled once.
        monitor.Wait(TimeSpan.FromMilliseconds(1), CancellationToken.None);
        Assert.False(monitor.Wait(TimeSpan.FromMilliseconds(1), CancellationToken.None));
        Assert.False(monitor.Wait(TimeSpan.FromSeconds(Wait), new CancellationToken(canceled: true)));
    }

    [Fact]
    public void Enabling_and_disabling_has_Xens_errors()
    {
        var domain = Lab.CreateRunning();
        using var opened = Hypervisor.Open(domain.Id);
        using var monitor = opened.EnableMonitor();
        Assert.Equal((MonitorCapabilities)0x1f7f, monitor.Capabilities);
        foreach (var monitorEvent in AllEvents())
        {
            AssertErrno(Errno.EEXIST, () => monitor.Disable(monitorEvent));
            monitor.Enable(monitorEvent);
            AssertErrno(Errno.EEXIST, () => monitor.Enable(monitorEvent));
            monitor.Disable(monitorEvent);
        }

        AssertErrno(Errno.EINVAL, () => monitor.Enable(new MonitorEvent.ControlRegister((ControlRegisterIndex)9)));
        AssertErrno(Errno.EINVAL, () => monitor.Enable(new MonitorEvent.Msr(0x2000)));
        AssertErrno(Errno.EOPNOTSUPP, () => monitor.Enable(new MonitorEvent.IoInstruction()));
    }

    [Fact]
    public void A_register_is_watched_as_it_was_asked_for()
    {
        var domain = Lab.CreateRunning();
        using var opened = Hypervisor.Open(domain.Id);
        using var monitor = opened.EnableMonitor();
        monitor.Enable(new MonitorEvent.ControlRegister(ControlRegisterIndex.Cr4, Sync: false, OnChangeOnly: true, WatchMask: 1 << 20));
        Assert.True(domain.Monitor.Wants(ControlRegisterIndex.Cr4, 1 << 20, 0));
        Assert.False(domain.Monitor.Wants(ControlRegisterIndex.Cr4, 1 << 21, 0));
        Assert.False(domain.Monitor.Wants(ControlRegisterIndex.Cr4, 1 << 20, 1 << 20));
        Assert.False(domain.Monitor.IsSync(ControlRegisterIndex.Cr4));
        monitor.Enable(new MonitorEvent.ControlRegister(ControlRegisterIndex.Cr3));
        Assert.True(domain.Monitor.IsSync(ControlRegisterIndex.Cr3));
        Assert.False(domain.Monitor.Wants(ControlRegisterIndex.Cr3, 5, 5));
        monitor.Enable(new MonitorEvent.Msr(0x174, OnChangeOnly: true));
        Assert.True(domain.Monitor.IsMsrMonitored(0x174));
        Assert.True(domain.Monitor.IsMsrOnChangeOnly(0x174));
        Assert.False(domain.Monitor.IsMsrMonitored(0x40000174));
        Assert.True(TestMachine.Runner(domain).MonitorChanges >= 3);
    }

    [Fact]
    public void The_svm_personality_lacks_what_real_Xen_lacks_there()
    {
        var domain = Lab.CreateRunning(vendor: CpuVendor.Svm);
        using var opened = Hypervisor.Open(domain.Id);
        using var monitor = opened.EnableMonitor();
        Assert.Equal((MonitorCapabilities)0x1f7b, monitor.Capabilities);
        AssertErrno(Errno.EOPNOTSUPP, () => monitor.Enable(new MonitorEvent.SingleStep()));
        AssertErrno(Errno.EINVAL, () => monitor.SetMemoryAccess(new(1), 1, MemoryAccess.R));
        AssertErrno(Errno.EINVAL, () => monitor.GetMemoryAccess(new(1)));
        if (HasVmExit)
        {
            monitor.Enable(new MonitorEvent.VmExit());
        }
        else
        {
            AssertErrno(Errno.EOPNOTSUPP, () => monitor.Enable(new MonitorEvent.VmExit()));
        }
    }

    [Fact]
    public void Memory_access_is_set_and_read()
    {
        var domain = Lab.CreateRunning();
        using var opened = Hypervisor.Open(domain.Id);
        using var monitor = opened.EnableMonitor();
        Assert.Equal(MemoryAccess.Rwx, monitor.GetMemoryAccess(new(3)));
        monitor.SetMemoryAccess(new(3), 2, MemoryAccess.Rx);
        Assert.Equal(MemoryAccess.Rx, monitor.GetMemoryAccess(new(4)));
        Assert.Equal(MemoryAccess.Rwx, monitor.GetMemoryAccess(new(5)));
        monitor.SetDefaultAccess(MemoryAccess.Rw);
        monitor.SetMemoryAccess(new(3), 1, MemoryAccess.Default);
        Assert.Equal(MemoryAccess.Rw, monitor.GetMemoryAccess(new(3)));
        AssertErrno(Errno.EINVAL, () => monitor.SetMemoryAccess(new(3), 1, (MemoryAccess)12));
        AssertErrno(Errno.EINVAL, () => monitor.SetMemoryAccess(new(0xffffff), 1, MemoryAccess.R));
        AssertErrno(Errno.ESRCH, () => monitor.GetMemoryAccess(new(0x8000)));
    }

    [Fact]
    public void A_dead_monitors_domain_is_recovered()
    {
        var domain = Lab.CreateRunning(vcpus: 2);
        using var opened = Hypervisor.Open(domain.Id);
        LeaveDeadMonitor(domain);
        Assert.Equal(1, domain.Vcpus[0].VmEventPauseCount);
        AssertErrno(Errno.EBUSY, () => opened.EnableMonitor());

        var report = opened.Recover();
        Assert.True(report.WasEnabled);
        Assert.Equal(1, report.UndonePauses);
        Assert.Null(domain.MonitorRing);
        Assert.False(domain.Monitor.Cpuid);
        Assert.Equal(MemoryAccess.Rwx, domain.Physmap[3].Access);
        Assert.Equal(0, domain.ControllerPauseCount);
        Assert.All(domain.Vcpus, static vcpu => Assert.Equal((0, 0), (vcpu.PauseCount, vcpu.VmEventPauseCount)));
        TestMachine.Eventually(() => domain.Vcpus.All(static vcpu => vcpu.IsRunning));

        // A domain in order stays so.
        Assert.False(opened.Recover().WasEnabled);
        Assert.All(domain.Vcpus, static vcpu => Assert.Equal(0, vcpu.PauseCount));
        opened.EnableMonitor().Dispose();
    }

    [Fact]
    public async Task Domains_are_watched()
    {
        var first = Lab.Create("first");
        using var stop = new CancellationTokenSource(TimeSpan.FromSeconds(Wait));
        var seen = new List<(DomainChangeKind Kind, string Name)>();
        await foreach (var change in Hypervisor.WatchAsync(stop.Token))
        {
            seen.Add((change.Kind, change.Domain.Name));
            switch (seen.Count)
            {
                case 1:
                    Lab.Create("second");
                    break;
                case 2:
                    first.Shutdown(ShutdownReason.Poweroff);
                    break;
                case 3:
                    Lab.Machine.DestroyDomain(first);
                    await stop.CancelAsync();
                    break;
            }
        }

        Assert.Equal(
            [(DomainChangeKind.Appeared, "first"), (DomainChangeKind.Appeared, "second"), (DomainChangeKind.Ended, "first")],
            seen);
    }

    public void Dispose()
    {
        Cleanup();
        Lab.Dispose();
        GC.SuppressFinalize(this);
    }

    private protected virtual void Cleanup() => Hypervisor.Dispose();

    private IEnumerable<MonitorEvent> AllEvents() =>
    [
        new MonitorEvent.ControlRegister(ControlRegisterIndex.Cr0),
        new MonitorEvent.ControlRegister(ControlRegisterIndex.Xcr0),
        new MonitorEvent.Msr(0xc000_0081),
        new MonitorEvent.Msr(0x4000_0000),
        new MonitorEvent.SingleStep(),
        new MonitorEvent.SoftwareBreakpoint(),
        new MonitorEvent.GuestRequest(),
        new MonitorEvent.DebugException(),
        new MonitorEvent.Cpuid(),
        new MonitorEvent.DescriptorAccess(),
        new MonitorEvent.EmulUnimplemented(),
        new MonitorEvent.InguestPagefault(),
        .. HasVmExit ? new MonitorEvent[] { new MonitorEvent.VmExit() } : [],
    ];

    // Enabled through a door of its own which nobody closes in order, as a process that was killed leaves it.
    private void LeaveDeadMonitor(Domain domain)
    {
        using var hypervisor = new CoreHypervisor(Lab.Toolstack);
        var opened = hypervisor.Open(domain.Id);
        var monitor = opened.EnableMonitor();
        monitor.Enable(new MonitorEvent.Cpuid());
        monitor.SetMemoryAccess(new(3), 1, MemoryAccess.N);
        Send(domain, 0, sync: true);
        opened.Pause();
    }

    private static void Send(Domain domain, int vcpu, bool sync) => TestMachine.Runner(domain, vcpu).DoAndWait(self => Send(self, sync));

    private static void Send(Vcpu vcpu, bool sync)
    {
        var request = new VmEvent { Reason = VmEventReason.GuestRequest };
        MonitorTraps.Send(vcpu, sync, ref request);
    }

    private static void AssertErrno(Errno expected, Action action) =>
        Assert.Equal(expected, Assert.Throws<HypervisorException>(action).Error);

    private static void AssertErrno(Errno expected, Func<object> action) =>
        Assert.Equal(expected, Assert.Throws<HypervisorException>(() => { _ = action(); }).Error);
}
