using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Tests.Building;

namespace Introspect.Hypervisor.Tests.Smp;

/// <summary>
/// Many vCPUs on a ring of 8 slots: nothing is dropped, nothing comes twice, each vCPU's events keep their order, and
/// all come to their end, however the monitor takes its time.
/// </summary>
public sealed class RingStressTests
{
    private const uint ActLeaf = 0x40000001;

    public enum Pace
    {
        /// <summary>One event at a time, with others let run in between.</summary>
        Slow,

        /// <summary>As many as come, answered all at once when no more come.</summary>
        Bursts,

        /// <summary>Answered in the reverse of their order.</summary>
        Backwards,
    }

    [TheoryWithTools(CGuestBuilder.Compiler)]
    [InlineData(128, 6, false, Pace.Bursts)]
    [InlineData(128, 6, true, Pace.Slow)]
    [InlineData(128, 4, false, Pace.Backwards)]
    [InlineData(16, 40, false, Pace.Slow)]
    [InlineData(4, 200, false, Pace.Bursts)]
    [InlineData(9, 40, true, Pace.Backwards)]
    public void Every_event_of_every_vcpu_is_seen_once_and_in_order(uint vcpus, long rounds, bool sync, Pace pace)
    {
        using var guest = SmpGuest.Create("requests", vcpus, rounds);
        var requests = new long[vcpus];
        var cpuids = new long[vcpus];
        var mistakes = new List<string>();
        using (var monitor = guest.Domain.EnableMonitor())
        {
            monitor.Enable(new MonitorEvent.GuestRequest(Sync: sync));
            monitor.Enable(new MonitorEvent.Cpuid());
            guest.Start();
            var batch = new List<VmEvent>();
            while (!guest.HasEnded || monitor.UnconsumedRequests > 0)
            {
                monitor.Wait(TimeSpan.FromMilliseconds(20), CancellationToken.None);
                while (monitor.TryTake(out var request))
                {
                    Note(in request);
                    batch.Add(request);
                    if (pace == Pace.Slow)
                    {
                        Thread.Yield();
                        Answer(monitor, batch);
                    }
                }

                if (pace == Pace.Backwards)
                {
                    batch.Reverse();
                }

                Answer(monitor, batch);
            }
        }

        Assert.Equal("requests: ok\n", guest.Console());
        Assert.Empty(mistakes);
        Assert.All(requests, n => Assert.Equal(rounds, n));
        for (var vcpu = 0; vcpu < vcpus; vcpu++)
        {
            Assert.Equal((rounds + 1 - (vcpu % 2)) / 2, cpuids[vcpu]);
        }

        Assert.All(guest.Inside.Vcpus, static vcpu => Assert.Equal(0, vcpu.VmEventPauseCount));

        void Note(in VmEvent request)
        {
            if (request.Reason == VmEventReason.Cpuid && request.Cpuid.Leaf != ActLeaf)
            {
                return; // the guest looks for the hypervisor
            }

            // Whose it is and which one, in the guest's own words.
            var (vcpu, n) = (request.Registers.R12, (long)request.Registers.R13);
            var expected = request.Reason == VmEventReason.Cpuid
                ? (cpuids[vcpu]++ * 2) + (long)(vcpu % 2)
                : requests[vcpu]++;
            if (vcpu != request.VcpuId || n != expected)
            {
                mistakes.Add($"{request.Reason} of vCPU {request.VcpuId} says {vcpu}:{n}, expected {expected}");
            }
        }
    }

    private static void Answer(IMonitor monitor, List<VmEvent> batch)
    {
        foreach (var request in batch)
        {
            var response = request;
            if (request.Reason == VmEventReason.Cpuid)
            {
                response.Flags |= VmEventFlags.SetRegisters;
                response.Registers.Rip += request.Cpuid.InsnLength;
            }

            monitor.Respond(in response);
        }

        if (batch.Count != 0)
        {
            batch.Clear();
            monitor.Notify();
        }
    }
}
