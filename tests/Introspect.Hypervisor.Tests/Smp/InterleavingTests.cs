using System.Runtime.InteropServices;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Execution;
using Introspect.Hypervisor.Core.Platform;
using Introspect.Hypervisor.Tests.Building;
using Introspect.Hypervisor.Tests.EndToEnd;

namespace Introspect.Hypervisor.Tests.Smp;

/// <summary>vCPUs on one thread by turns: a run is the same every time, whatever goes on around it.</summary>
public sealed class InterleavingTests
{
    private const uint Vcpus = 3;

    [TheoryWithTools(CGuestBuilder.Compiler)]
    [InlineData("race", 640)]
    [InlineData("requests", 40)]
    [InlineData("shootdown", 10)]
    public void The_same_guest_leaves_the_same_trace_byte_for_byte(string act, long rounds)
    {
        var first = Trace(act, rounds, turn: 700, Disturbance.None);
        var second = Trace(act, rounds, turn: 700, Disturbance.SlowMonitor);
        var third = Trace(act, rounds, turn: 700, Disturbance.Kicks);

        Assert.NotEmpty(first.Events);
        AssertSame(first, second);
        AssertSame(first, third);
    }

    [FactWithTool(CGuestBuilder.Compiler)]
    public void A_race_is_lost_in_the_same_way_for_the_same_turns_and_in_another_for_others()
    {
        string[] outcomes = [.. new long[] { 97, 251, 700, 5_000 }.Select(static turn => Trace("race", 640, turn, Disturbance.None).Console)];

        Assert.True(outcomes.Distinct().Count() > 1, string.Join("", outcomes));
        Assert.Equal(outcomes, new long[] { 97, 251, 700, 5_000 }.Select(static turn => Trace("race", 640, turn, Disturbance.Kicks).Console));

        // Increments are lost: it is a race.
        Assert.Contains(outcomes, static o => !o.Contains($"counted {640 * Vcpus},", StringComparison.Ordinal));
    }

    [TheoryWithTools(CGuestBuilder.Compiler)]
    [InlineData("spinlock", 4, 200)]
    [InlineData("ticket", 4, 50)]
    [InlineData("misaligned", 4, 50)]
    [InlineData("stack", 4, 200)]
    [InlineData("code", 4, 20)]
    [InlineData("shootdown", 4, 20)]
    [InlineData("marks", 3, 10)]
    public void Acts_of_several_vcpus_come_to_their_end_by_turns_too(string act, uint vcpus, long rounds)
    {
        using var guest = SmpGuest.Create(act, vcpus, rounds, platform: Options(1000));
        guest.Start();
        Assert.True(guest.WaitForEnd(), $"it did not end; console:\n{guest.Console()}");
        Assert.Equal($"{act}: ok\n", guest.Console());
    }

    private enum Disturbance
    {
        None,
        SlowMonitor,
        Kicks,
    }

    private sealed record Recorded(List<byte[]> Events, List<ulong> Times, string Console);

    private static PlatformOptions Options(long turn) => new()
    {
        Interleaved = true,
        World = new RepeatableWorld(1_700_000_000_000_000_000, seed: 7) { TurnInstructions = turn },
    };

    private static void AssertSame(Recorded expected, Recorded actual)
    {
        Assert.Equal(expected.Console, actual.Console);
        Assert.Equal(expected.Events.Count, actual.Events.Count);
        for (var n = 0; n < expected.Events.Count; n++)
        {
            Assert.True(expected.Events[n].AsSpan().SequenceEqual(actual.Events[n]), $"event {n} differs");
            Assert.Equal(expected.Times[n], actual.Times[n]);
        }
    }

    /// <summary>Every event as it stood in the ring, and the vCPU's TSC then.</summary>
    private static Recorded Trace(string act, long rounds, long turn, Disturbance disturbance)
    {
        using var guest = SmpGuest.Create(act, Vcpus, rounds, platform: Options(turn));
        var events = new List<byte[]>();
        var times = new List<ulong>();
        using var ended = new CancellationTokenSource();
        Thread? kicker = null;
        using (var monitor = guest.Domain.EnableMonitor())
        {
            monitor.Enable(new MonitorEvent.GuestRequest(Sync: true));
            monitor.Enable(new MonitorEvent.Cpuid());
            monitor.Enable(new MonitorEvent.Msr(0xC0000101));
            guest.Start();
            if (disturbance == Disturbance.Kicks)
            {
                kicker = new Thread(() => Kick(guest, ended.Token));
                kicker.Start();
            }

            while (!guest.HasEnded || monitor.UnconsumedRequests > 0)
            {
                monitor.Wait(TimeSpan.FromMilliseconds(10), CancellationToken.None);
                while (monitor.TryTake(out var request))
                {
                    events.Add(MemoryMarshal.AsBytes(new ReadOnlySpan<VmEvent>(in request)).ToArray());
                    times.Add(guest.Domain.ReadVcpu(new VcpuId(request.VcpuId)).Tsc);
                    if (disturbance == Disturbance.SlowMonitor)
                    {
                        Thread.Sleep(1);
                    }

                    Answer(monitor, request);
                }
            }
        }

        ended.Cancel();
        kicker?.Join();
        return new(events, times, guest.Console());
    }

    private static void Kick(LabGuest guest, CancellationToken ended)
    {
        while (!ended.IsCancellationRequested)
        {
            foreach (var vcpu in guest.Inside.Vcpus)
            {
                vcpu.Kick();
            }

            guest.Inside.Pause();
            guest.Inside.Unpause();
            Thread.Yield();
        }
    }

    private static void Answer(IMonitor monitor, VmEvent request)
    {
        if (request.Reason == VmEventReason.Cpuid)
        {
            request.Flags |= VmEventFlags.SetRegisters;
            request.Registers.Rip += request.Cpuid.InsnLength;
        }

        monitor.Respond(in request);
        monitor.Notify();
    }
}
