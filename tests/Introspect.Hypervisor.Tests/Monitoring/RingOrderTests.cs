using System.Collections.Concurrent;
using System.Runtime.InteropServices;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Domains;
using Introspect.Hypervisor.Core.Monitoring;
using Introspect.Hypervisor.Ring;
using Introspect.Hypervisor.Tests.Domains;

namespace Introspect.Hypervisor.Tests.Monitoring;

/// <summary>Whose turn it is when the ring is full, and what wrong answers do: as little as on Xen.</summary>
public sealed class RingOrderTests : IDisposable
{
    private readonly TestMachine _machine = new();

    [Fact]
    public void Who_waits_for_a_slot_gets_one_in_the_order_of_coming()
    {
        var (domain, ring, monitor) = Enable(vcpus: 12);
        Fill(domain);
        uint[] order = [10, 8, 11, 9];
        for (var n = 0; n < order.Length; n++)
        {
            TestMachine.Runner(domain, (int)order[n]).Do(static vcpu => Send(vcpu, sync: true));
            TestMachine.Eventually(() => ring.Waiting == n + 1);
        }

        foreach (var next in order)
        {
            // One answer is one slot, and it is the first waiter's before he even runs.
            AnswerOldest(ring, monitor);
            TestMachine.Eventually(() => monitor.UnconsumedRequests == 8);
            Assert.Equal(1, domain.Vcpus[(int)next].VmEventPauseCount);
        }

        Assert.Equal(0, ring.Waiting);
        var seen = new List<uint>();
        while (monitor.Take(out VmEvent request) == RingStatus.Taken)
        {
            seen.Add(request.VcpuId);
        }

        Assert.Equal([4, 5, 6, 7, .. order], seen);
    }

    [Fact]
    public void Nobody_overtakes_a_vcpu_that_waits()
    {
        var (domain, ring, monitor) = Enable(vcpus: 12);
        Fill(domain);
        TestMachine.Runner(domain, 8).Do(static vcpu => Send(vcpu, sync: true));
        TestMachine.Eventually(() => ring.Waiting == 1);

        // The domain is paused, so the slot that comes free is given to a vCPU which cannot use it yet.
        domain.PauseNoSync();
        AnswerOldest(ring, monitor);
        Assert.Equal(0, ring.Waiting);
        Assert.Equal(0, ring.Available);
        Assert.Equal(Errno.EBUSY, ring.ClaimSlot(domain.Vcpus[9], mayWait: false));

        domain.Unpause();
        TestMachine.Eventually(() => domain.Vcpus[8].VmEventPauseCount == 1);
        Assert.Equal(0, ring.Available);
    }

    [Fact]
    public void Those_whom_the_full_ring_paused_go_on_in_turn_and_high_numbers_do_not_starve()
    {
        var (domain, ring, monitor) = Enable(vcpus: 16);
        for (var n = 0; n < 8; n++)
        {
            TestMachine.Runner(domain, n).DoAndWait(static vcpu => Send(vcpu, sync: false));
        }

        // Each request makes room for who was paused before it, as long as there is any.
        Assert.Equal([6, 7], Blocked(domain));
        AnswerOldest(ring, monitor);
        Assert.Equal([7], Blocked(domain));

        // vCPU 0 is quick to take the slot; the next one is not his but the neighbour's of the last who got one.
        TestMachine.Runner(domain, 0).DoAndWait(static vcpu => Send(vcpu, sync: false));
        Assert.Equal([0, 7], Blocked(domain));
        AnswerOldest(ring, monitor);
        Assert.Equal([0], Blocked(domain));
    }

    [Theory]
    [InlineData(~0u)]
    [InlineData(1u << 31)]
    [InlineData(1234567u)]
    public void A_producer_index_that_cannot_be_moves_nobody(uint index)
    {
        var (domain, ring, monitor) = Enable();
        TestMachine.Runner(domain).DoAndWait(static vcpu => Send(vcpu, sync: true));
        Raw(ring, 8) = index;
        Assert.Equal(Errno.None, ring.Resume());
        Assert.Equal(1, domain.Vcpus[0].VmEventPauseCount);
        Assert.Empty(TestMachine.Runner(domain).Responses);
        Assert.Equal(7, ring.Available);

        // The right index goes on where nothing happened.
        Raw(ring, 8) = 0;
        AnswerOldest(ring, monitor);
        Assert.Equal(0, domain.Vcpus[0].VmEventPauseCount);
    }

    [Fact]
    public void More_responses_than_requests_let_go_once_and_leave_the_ring_usable()
    {
        var (domain, ring, monitor) = Enable();
        TestMachine.Runner(domain).DoAndWait(static vcpu => Send(vcpu, sync: true));
        monitor.Take(out VmEvent request);
        for (var n = 0; n < 5; n++)
        {
            monitor.PutUnasked(MemoryMarshal.AsBytes(new ReadOnlySpan<VmEvent>(in request)));
        }

        monitor.Push();
        Assert.Equal(Errno.None, ring.Resume());
        Assert.Equal(0, domain.Vcpus[0].VmEventPauseCount);
        Assert.Equal(0, domain.Vcpus[0].PauseCount);
        Assert.Single(TestMachine.Runner(domain).Responses);
        Assert.Equal(8, ring.Available);
        TestMachine.Runner(domain).DoAndWait(static vcpu => Send(vcpu, sync: true));
        Assert.Equal(1, domain.Vcpus[0].VmEventPauseCount);
    }

    [Fact]
    public void A_response_for_a_vcpu_that_waits_for_nothing_changes_nothing_of_it()
    {
        var (domain, ring, monitor) = Enable(vcpus: 2);
        domain.Vcpus[1].PauseNoSync();
        TestMachine.Runner(domain).DoAndWait(static vcpu => Send(vcpu, sync: true));
        monitor.Take(out VmEvent request);
        request.VcpuId = 1;
        request.Flags |= VmEventFlags.SetRegisters | VmEventFlags.ToggleSinglestep;
        monitor.Put(in request);
        monitor.Push();
        Assert.Equal(Errno.None, ring.Resume());
        Assert.Empty(TestMachine.Runner(domain, 1).Responses);
        Assert.Equal(1, domain.Vcpus[1].PauseCount);
        Assert.Equal(1, domain.Vcpus[0].VmEventPauseCount);
    }

    [Theory]
    [InlineData(1u << 16)]
    [InlineData(0xFFFF0000)]
    public void Unknown_flags_are_passed_over(uint unknown)
    {
        var (domain, ring, monitor) = Enable();
        TestMachine.Runner(domain).DoAndWait(static vcpu => Send(vcpu, sync: true));
        monitor.Take(out VmEvent request);
        request.Flags |= (VmEventFlags)unknown;
        monitor.Put(in request);
        monitor.Push();
        Assert.Equal(Errno.None, ring.Resume());
        Assert.Equal(0, domain.Vcpus[0].VmEventPauseCount);
        Assert.Single(TestMachine.Runner(domain).Responses);
    }

    [Fact]
    public void Without_the_paused_flag_the_vcpu_stays()
    {
        var (domain, ring, monitor) = Enable();
        TestMachine.Runner(domain).DoAndWait(static vcpu => Send(vcpu, sync: true));
        monitor.Take(out VmEvent request);
        request.Flags = VmEventFlags.None;
        monitor.Put(in request);
        monitor.Push();
        Assert.Equal(Errno.None, ring.Resume());
        Assert.Equal(1, domain.Vcpus[0].VmEventPauseCount);
    }

    public void Dispose() => _machine.Dispose();

    private static unsafe ref uint Raw(VmEventRing ring, int offset) => ref *(uint*)(Pages[ring] + offset);

    private static readonly ConcurrentDictionary<VmEventRing, nint> Pages = new();

    private static int[] Blocked(Domain domain) =>
        [.. domain.Vcpus.Where(static v => (v.Flags & VcpuPauseFlags.RingFull) != 0).Select(static v => (int)v.Id)];

    private static void Fill(Domain domain)
    {
        for (var n = 0; n < 8; n++)
        {
            TestMachine.Runner(domain, n).DoAndWait(static vcpu => Send(vcpu, sync: true));
        }
    }

    private static void AnswerOldest(VmEventRing ring, MonitorRing monitor)
    {
        Assert.Equal(RingStatus.Taken, monitor.Take(out VmEvent request));
        monitor.Put(in request);
        monitor.Push();
        Assert.Equal(Errno.None, ring.Resume());
    }

    private static int Send(Vcpu vcpu, bool sync)
    {
        var request = new VmEvent { Version = VmEvent.InterfaceVersion, Reason = VmEventReason.GuestRequest };
        return MonitorTraps.Send(vcpu, sync, ref request);
    }

    private (Domain Domain, VmEventRing Ring, MonitorRing Monitor) Enable(uint vcpus = 1)
    {
        var domain = _machine.CreateRunning(vcpus: vcpus);
        Assert.Equal(Errno.None, VmEventRing.Create(domain, out var ring));
        domain.MonitorRing = ring;
        var page = domain.Machine.Memory.ToNative(ring!.Page);
        Pages[ring] = page;
        var monitor = new MonitorRing(page);
        monitor.Initialise();
        return (domain, ring, monitor);
    }
}
