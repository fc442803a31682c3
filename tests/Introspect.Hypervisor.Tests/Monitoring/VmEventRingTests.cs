using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Domains;
using Introspect.Hypervisor.Core.Monitoring;
using Introspect.Hypervisor.Ring;
using Introspect.Hypervisor.Tests.Domains;

namespace Introspect.Hypervisor.Tests.Monitoring;

public sealed class VmEventRingTests : IDisposable
{
    private readonly TestMachine _machine = new();

    [Fact]
    public void A_sync_event_stops_its_vcpu_until_the_response()
    {
        var (domain, ring, monitor) = Enable();
        var sent = 0;
        TestMachine.Runner(domain).DoAndWait(vcpu => sent = Send(vcpu, sync: true));
        Assert.Equal(1, sent);
        Assert.Equal(RingStatus.Taken, monitor.Take(out VmEvent request));
        Assert.Equal(VmEvent.InterfaceVersion, request.Version);
        Assert.Equal(VmEventFlags.VcpuPaused, request.Flags);
        TestMachine.Eventually(() => !domain.Vcpus[0].IsRunning);
        Assert.Equal(1, domain.Vcpus[0].VmEventPauseCount);

        Respond(monitor, request);
        Assert.Equal(Errno.None, ring.Resume());
        Assert.Equal(request.Reason, Assert.Single(TestMachine.Runner(domain).Responses).Reason);
        TestMachine.Eventually(() => domain.Vcpus[0].IsRunning);
    }

    [Fact]
    public void An_async_event_does_not_stop_its_vcpu_and_its_response_changes_nothing()
    {
        var (domain, ring, monitor) = Enable();
        TestMachine.Runner(domain).DoAndWait(static vcpu => Send(vcpu, sync: false));
        Assert.Equal(RingStatus.Taken, monitor.Take(out VmEvent request));
        Assert.Equal(VmEventFlags.None, request.Flags);
        Assert.Equal(7, ring.Available);
        request.Flags = VmEventFlags.VcpuPaused | VmEventFlags.SetRegisters;
        Respond(monitor, request);
        Assert.Equal(Errno.None, ring.Resume());
        Assert.Empty(TestMachine.Runner(domain).Responses);
        Assert.Equal(8, ring.Available);
    }

    [Fact]
    public void A_response_of_another_version_is_dropped_and_its_vcpu_stays()
    {
        var (domain, ring, monitor) = Enable();
        TestMachine.Runner(domain).DoAndWait(static vcpu => Send(vcpu, sync: true));
        monitor.Take(out VmEvent request);
        request.Version = 6;
        Respond(monitor, request);
        Assert.Equal(Errno.None, ring.Resume());
        Assert.Equal(1, domain.Vcpus[0].VmEventPauseCount);
        Assert.Empty(TestMachine.Runner(domain).Responses);
    }

    [Fact]
    public void A_response_for_a_vcpu_that_does_not_exist_is_dropped()
    {
        var (domain, ring, monitor) = Enable();
        TestMachine.Runner(domain).DoAndWait(static vcpu => Send(vcpu, sync: true));
        monitor.Take(out VmEvent request);
        request.VcpuId = 99;
        Respond(monitor, request);
        Assert.Equal(Errno.None, ring.Resume());
        Assert.Equal(1, domain.Vcpus[0].VmEventPauseCount);
    }

    [Fact]
    public void The_producer_of_an_async_burst_is_paused_when_the_ring_is_full_and_goes_on_with_room()
    {
        var (domain, ring, monitor) = Enable();
        var runner = TestMachine.Runner(domain);
        for (var i = 0; i < 7; i++)
        {
            runner.DoAndWait(static vcpu => Send(vcpu, sync: false));
            Assert.Equal(VcpuPauseFlags.None, domain.Vcpus[0].Flags);
        }

        runner.DoAndWait(static vcpu => Send(vcpu, sync: false));
        Assert.Equal(VcpuPauseFlags.RingFull, domain.Vcpus[0].Flags);
        Assert.Equal(0, domain.Vcpus[0].VmEventPauseCount);
        Assert.Equal(0, ring.Available);

        monitor.Take(out VmEvent request);
        Respond(monitor, request);
        ring.Resume();
        Assert.Equal(VcpuPauseFlags.None, domain.Vcpus[0].Flags);
        Assert.Equal(0, domain.Vcpus[0].PauseCount);
        TestMachine.Eventually(() => domain.Vcpus[0].IsRunning);
    }

    [Fact]
    public void With_two_vcpus_a_burst_is_free_for_six_events()
    {
        var (domain, ring, _) = Enable(vcpus: 2);
        for (var i = 0; i < 6; i++)
        {
            TestMachine.Runner(domain).DoAndWait(static vcpu => Send(vcpu, sync: false));
            Assert.Equal(VcpuPauseFlags.None, domain.Vcpus[0].Flags);
        }

        TestMachine.Runner(domain).DoAndWait(static vcpu => Send(vcpu, sync: false));
        Assert.Equal(VcpuPauseFlags.RingFull, domain.Vcpus[0].Flags);
        Assert.Equal(1, ring.Available);
    }

    [Fact]
    public void A_vcpu_without_a_slot_waits_lets_the_domain_be_paused_and_makes_disable_busy()
    {
        var (domain, ring, monitor) = Enable(vcpus: 2);
        TestMachine.Runner(domain, 0).DoAndWait(vcpu =>
        {
            for (var i = 0; i < 8; i++)
            {
                Send(vcpu, sync: false);
            }
        });
        var sent = -1;
        TestMachine.Runner(domain, 1).Do(vcpu => sent = Send(vcpu, sync: true));
        TestMachine.Eventually(() => ring.Waiting == 1);

        domain.Pause();
        Assert.Equal(Errno.EBUSY, ring.Disable());
        domain.Unpause();

        monitor.Take(out VmEvent request);
        Respond(monitor, request);
        ring.Resume();
        TestMachine.Eventually(() => Volatile.Read(ref sent) == 1);
        Assert.Equal(0, ring.Waiting);
        Assert.Equal(1, domain.Vcpus[1].VmEventPauseCount);

        // Those that wait with a request in hand come before those that were paused after their put.
        Assert.Equal(VcpuPauseFlags.RingFull, domain.Vcpus[0].Flags);
    }

    [Fact]
    public void A_claimed_slot_counts_until_it_is_given_back()
    {
        var (domain, ring, _) = Enable();
        TestMachine.Runner(domain).DoAndWait(vcpu => Assert.Equal(Errno.None, ring.ClaimSlot(vcpu)));
        Assert.Equal(7, ring.Available);
        ring.CancelSlot();
        Assert.Equal(8, ring.Available);
    }

    [Fact]
    public void Who_may_not_wait_is_told_that_the_ring_is_full()
    {
        var (domain, ring, _) = Enable();
        var result = Errno.None;
        TestMachine.Runner(domain).DoAndWait(vcpu =>
        {
            for (var i = 0; i < 8; i++)
            {
                ring.ClaimSlot(vcpu);
            }

            result = ring.ClaimSlot(vcpu, mayWait: false);
        });
        Assert.Equal(Errno.EBUSY, result);
    }

    [Fact]
    public void Without_a_ring_nothing_is_sent_and_nothing_waits()
    {
        var domain = _machine.CreateRunning();
        var sent = -1;
        TestMachine.Runner(domain).DoAndWait(vcpu => sent = Send(vcpu, sync: true));
        Assert.Equal(0, sent);
        Assert.Equal(0, domain.Vcpus[0].VmEventPauseCount);
    }

    [Fact]
    public void Disabling_releases_those_the_full_ring_paused_and_not_those_that_wait_for_an_answer()
    {
        var (domain, ring, _) = Enable(vcpus: 2);
        TestMachine.Runner(domain, 1).DoAndWait(static vcpu => Send(vcpu, sync: true));
        TestMachine.Runner(domain, 0).DoAndWait(static vcpu =>
        {
            for (var i = 0; i < 7; i++)
            {
                Send(vcpu, sync: false);
            }
        });
        Assert.Equal(VcpuPauseFlags.RingFull, domain.Vcpus[0].Flags);
        domain.Pause();
        Assert.Equal(Errno.None, ring.Disable());
        domain.Unpause();
        Assert.Equal(VcpuPauseFlags.None, domain.Vcpus[0].Flags);
        Assert.Equal(1, domain.Vcpus[1].VmEventPauseCount);
        Assert.Equal(Errno.ENODEV, ring.Resume());
    }

    [Fact]
    public void Destroying_the_domain_frees_who_waits_for_a_slot()
    {
        var (domain, ring, _) = Enable(vcpus: 2);
        TestMachine.Runner(domain, 0).DoAndWait(vcpu =>
        {
            for (var i = 0; i < 8; i++)
            {
                Send(vcpu, sync: false);
            }
        });
        TestMachine.Runner(domain, 1).Do(static vcpu => Send(vcpu, sync: true));
        TestMachine.Eventually(() => ring.Waiting == 1);
        _machine.Machine.DestroyDomain(domain);
        Assert.Equal(0, _machine.Machine.Memory.ExtentCount);
    }

    [Fact]
    public void The_event_carries_the_registers_of_the_vcpu()
    {
        var (domain, _, monitor) = Enable();
        TestMachine.Runner(domain).DoAndWait(static vcpu =>
        {
            vcpu.Runner.State.Rip = 0x1234;
            vcpu.Runner.State.Cr3 = 0x5000;
            Send(vcpu, sync: true);
        });
        monitor.Take(out VmEvent request);
        Assert.Equal(0x1234UL, request.Registers.Rip);
        Assert.Equal(0x5000UL, request.Registers.Cr3);
        Assert.Equal(2UL, request.Registers.Rflags);

        // A flat 32-bit code segment of PVH's entry: limit in pages, rights in 12 bits.
        Assert.Equal(0xfffffu, request.Registers.Cs.Limit);
        Assert.Equal(0xc9bu, request.Registers.Cs.AccessRights);
    }

    public void Dispose() => _machine.Dispose();

    private (Domain Domain, VmEventRing Ring, MonitorRing Monitor) Enable(uint vcpus = 1)
    {
        var domain = _machine.CreateRunning(vcpus: vcpus);
        Assert.Equal(Errno.None, VmEventRing.Create(domain, out var ring));
        var monitor = new MonitorRing(_machine.Machine.Memory.ToNative(ring!.Page));
        monitor.Initialise();
        domain.MonitorRing = ring;
        return (domain, ring, monitor);
    }

    private static int Send(Vcpu vcpu, bool sync)
    {
        var request = new VmEvent { Reason = VmEventReason.GuestRequest };
        return MonitorTraps.Send(vcpu, sync, ref request);
    }

    private static void Respond(MonitorRing monitor, in VmEvent response)
    {
        monitor.Put(response);
        monitor.Push();
    }
}
