using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using Introspect.Benchmarks.Measuring;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Linux;
using Introspect.Hypervisor.Ring;

namespace Introspect.Benchmarks.Agent;

/// <summary>
/// The agent's own share of a sync round trip: from the request in the ring to the notification of its response, the
/// product's ring code beside the same loop in C. Both work on the same page and the same eventfd in turns within
/// each sample, and what the hypervisor's side does in between is not timed. A sample is its median turn.
/// </summary>
internal static class AgentBenchmarks
{
    private const int TurnsPerSample = 20_000;
    private const int EventsPerTurn = 8;

    /// <summary>Measures both and prints them with their ratio; false where there is no compiler.</summary>
    public static bool Compare(TextWriter output, Effort effort)
    {
        using var memory = new Page();
        using var native = NativeAgent.Build(memory.Address);
        if (native is null)
        {
            output.WriteLine("agent: skipped, gcc is not installed");
            return false;
        }

        using var descriptor = EventFd.Create();
        using var channel = new EventFdChannel(port: 1, descriptor.Duplicate(), EventFd.Create());
        foreach (var notifies in (bool[])[true, false])
        {
            var ours = new double[effort.Repetitions];
            var theirs = new double[effort.Repetitions];
            var bytes = 0L;
            SharedRing.InitialisePage(memory.Address);
            var rig = new Rig(memory.Address, native, descriptor, channel);
            rig.Run(TurnsPerSample / effort.Divisor, notifies, out _, out _, out _);
            for (var n = 0; n < ours.Length; n++)
            {
                rig.Run(TurnsPerSample / effort.Divisor, notifies, out ours[n], out theirs[n], out var allocated);
                bytes += allocated;
            }

            var ratios = ours.Zip(theirs, static (a, b) => a / b).Order().ToArray();
            Array.Sort(ours);
            Array.Sort(theirs);
            var what = notifies ? "take, decide, put, notify" : "take, decide, put";
            output.WriteLine(string.Create(
                CultureInfo.InvariantCulture,
                $"agent ({what}): {ours[ours.Length / 2]:0.0} ns, in C {theirs[theirs.Length / 2]:0.0} ns, ratio {ratios[ratios.Length / 2]:0.00} ({ratios[0]:0.00}–{ratios[^1]:0.00}), {bytes} bytes allocated"));
        }

        return true;
    }

    private sealed class Rig(nint page, NativeAgent native, EventFd descriptor, EventChannel channel)
    {
        private readonly VmEvent[] _requests =
        [
            new() { Version = VmEvent.InterfaceVersion, Reason = VmEventReason.Cpuid, Flags = VmEventFlags.VcpuPaused, Cpuid = new() { InsnLength = 2 } },
            new() { Version = VmEvent.InterfaceVersion, Reason = VmEventReason.WriteCtrlreg, Flags = VmEventFlags.VcpuPaused },
        ];

        private readonly HypervisorRing _guest = new(page);
        private readonly MonitorRing _monitor = new(page);
        private uint _index;

        /// <summary>Nanoseconds an event of each, taken in turns of eight events.</summary>
        public void Run(int turns, bool notifies, out double ours, out double theirs, out long allocated)
        {
            // Both agents follow the same ring: what one answered is the other's past.
            var number = (int)descriptor.Handle.DangerousGetHandle();
            long[] us = new long[turns], them = new long[turns];
            allocated = 0;
            for (var turn = 0; turn < turns; turn++)
            {
                Fill();
                var before = GC.GetAllocatedBytesForCurrentThread();
                var start = Stopwatch.GetTimestamp();
                Answer(_monitor, notifies ? channel : null);
                us[turn] = Stopwatch.GetTimestamp() - start;
                allocated += GC.GetAllocatedBytesForCurrentThread() - before;
                Drain();
                native.Skip(_index);

                Fill();
                start = Stopwatch.GetTimestamp();
                if (native.Answer(notifies ? number : -1) != EventsPerTurn)
                {
                    throw new InvalidOperationException("the agent in C lost its place in the ring");
                }

                them[turn] = Stopwatch.GetTimestamp() - start;
                Drain();
                _monitor.Adopt();
            }

            // The median turn: one that the operating system interrupted says nothing of either.
            Array.Sort(us);
            Array.Sort(them);
            const double Scale = 1e9 / EventsPerTurn;
            (ours, theirs) = (us[turns / 2] * Scale / Stopwatch.Frequency, them[turns / 2] * Scale / Stopwatch.Frequency);
        }

        private static void Answer(MonitorRing ring, EventChannel? channel)
        {
            while (ring.Take(out VmEvent request) == RingStatus.Taken)
            {
                if (request.Version != VmEvent.InterfaceVersion)
                {
                    throw new InvalidOperationException("a request of another version");
                }

                if (request.Reason == VmEventReason.Cpuid)
                {
                    request.Registers.Rip += request.Cpuid.InsnLength;
                    request.Flags |= VmEventFlags.SetRegisters;
                }

                ring.Put(in request);
                ring.Push();
                channel?.Notify();
            }
        }

        private void Fill()
        {
            for (var n = 0; n < EventsPerTurn; n++)
            {
                _guest.Put(in _requests[n & 1]);
            }

            _guest.Push();
        }

        private void Drain()
        {
            while (_guest.Take(out var response) == RingStatus.Taken)
            {
                _index++;
            }
        }
    }

    private sealed unsafe class Page : IDisposable
    {
        private readonly void* _memory = NativeMemory.AlignedAlloc(SharedRing.PageSize, SharedRing.PageSize);

        public Page() => SharedRing.InitialisePage(Address);

        public nint Address => (nint)_memory;

        public void Dispose() => NativeMemory.AlignedFree(_memory);
    }
}
