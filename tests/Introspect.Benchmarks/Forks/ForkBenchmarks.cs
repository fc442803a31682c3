using Iced.Intel;
using Introspect.Benchmarks.Measuring;
using Introspect.Benchmarks.Ring;
using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;
using static Iced.Intel.AssemblerRegisters;

namespace Introspect.Benchmarks.Forks;

/// <summary>
/// A fork that writes to a number of pages and asks to be taken back, over and over, as a fuzzer runs it: copies of the
/// pages, one event, and a response that resets state and memory. And the making and ending of a fork that does nothing.
/// </summary>
internal static class ForkBenchmarks
{
    private const int ResetsPerSample = 2_000;
    private const int ForksPerSample = 200;
    private const int FirstDirty = 0x40_0000;

    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);

    public static IEnumerable<Benchmark> All =>
    [
        new("fork-reset-1", "reset", TimeBase.Wall, static effort => MeasureResets(1, effort)),
        new("fork-reset-16", "reset", TimeBase.Wall, static effort => MeasureResets(16, effort)),
        new("fork-reset-256", "reset", TimeBase.Wall, static effort => MeasureResets(256, effort)),
        new("fork-create", "fork", TimeBase.Wall, MeasureForks),
    ];

    private static Sample[] MeasureResets(int pages, Effort effort)
    {
        using var guest = new RingGuest(code => DirtyPages(code, pages), overSocket: false);
        using var parentMonitor = StopAtRequest(guest);
        using var fork = guest.Domain.Fork();
        var samples = new Sample[effort.Repetitions];
        using (var monitor = fork.EnableMonitor())
        {
            monitor.Enable(new MonitorEvent.GuestRequest());
            fork.Unpause();
            var count = ResetsPerSample / effort.Divisor;
            Reset(monitor, count);
            for (var n = 0; n < samples.Length; n++)
            {
                var watch = StopWatch.Start();
                Reset(monitor, count);
                samples[n] = watch.Stop(count);
            }
        }

        fork.Destroy();
        return samples;
    }

    private static Sample[] MeasureForks(Effort effort)
    {
        using var guest = new RingGuest(static code => DirtyPages(code, 1), overSocket: false);
        using var parentMonitor = StopAtRequest(guest);
        var samples = new Sample[effort.Repetitions];
        var count = ForksPerSample / effort.Divisor;
        Create(guest, count);
        for (var n = 0; n < samples.Length; n++)
        {
            var watch = StopWatch.Start();
            Create(guest, count);
            samples[n] = watch.Stop(count);
        }

        return samples;
    }

    private static void Create(RingGuest guest, int count)
    {
        for (var n = 0; n < count; n++)
        {
            using var fork = guest.Domain.Fork();
            fork.Destroy();
        }
    }

    private static IMonitor StopAtRequest(RingGuest guest)
    {
        var monitor = guest.Domain.EnableMonitor();
        monitor.Enable(new MonitorEvent.GuestRequest());
        guest.Start();
        Take(monitor);
        return monitor;
    }

    private static void Reset(IMonitor monitor, int count)
    {
        for (var n = 0; n < count; n++)
        {
            var response = Take(monitor);
            response.Flags |= VmEventFlags.ResetForkState | VmEventFlags.ResetForkMemory;
            monitor.Respond(in response);
            monitor.Notify();
        }
    }

    private static VmEvent Take(IMonitor monitor)
    {
        VmEvent request;
        while (!monitor.TryTake(out request))
        {
            if (!monitor.Wait(Patience, CancellationToken.None) && monitor.UnconsumedRequests == 0)
            {
                throw new TimeoutException("the guest asks for nothing more");
            }
        }

        return request;
    }

    // After the first request, so that every fork begins by writing.
    private static void DirtyPages(Assembler c, int pages)
    {
        var again = c.CreateLabel();
        var next = c.CreateLabel();
        c.Label(ref again);
        c.mov(eax, (int)HypercallNumber.HvmOp);
        c.mov(ebx, (int)HvmOp.GuestRequestVmEvent);
        c.xor(ecx, ecx);
        c.vmcall();
        c.mov(edi, FirstDirty);
        c.mov(ecx, pages);
        c.Label(ref next);
        c.inc(__dword_ptr[edi]);
        c.add(edi, 4096);
        c.dec(ecx);
        c.jnz(next);
        c.jmp(again);
    }
}
