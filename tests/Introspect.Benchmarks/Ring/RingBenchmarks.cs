using Iced.Intel;
using Introspect.Benchmarks.Measuring;
using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;
using static Iced.Intel.AssemblerRegisters;

namespace Introspect.Benchmarks.Ring;

/// <summary>
/// A real guest on the core that does nothing but cause events, and a monitor that does nothing but answer them:
/// exit, request, wake-up, response, resume. The CPUID and CR0 loops differ in what the answer asks for: CPUID's sets
/// registers. In async ones the guest runs on, as far as the ring has room.
/// </summary>
internal static class RingBenchmarks
{
    private const int EventsPerSample = 20_000;
    private const ulong CpuidLength = 2;

    // A write that changes nothing is not reported; this bit changes nothing else.
    private const int TaskSwitched = 8;

    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);

    public static IEnumerable<Benchmark> All =>
    [
        .. Both("ring-cpuid", CpuidLoop, new MonitorEvent.Cpuid()),
        .. Both("ring-cr0-sync", Cr0Loop, new MonitorEvent.ControlRegister(ControlRegisterIndex.Cr0)),
        .. Both("ring-cr0-async", Cr0Loop, new MonitorEvent.ControlRegister(ControlRegisterIndex.Cr0, Sync: false)),
        .. Several("ring-cr0-sync", new MonitorEvent.ControlRegister(ControlRegisterIndex.Cr0)),
        .. Several("ring-cr0-async", new MonitorEvent.ControlRegister(ControlRegisterIndex.Cr0, Sync: false)),
    ];

    private static IEnumerable<Benchmark> Several(string name, MonitorEvent monitored) =>
        from vcpus in (uint[])[4, 16]
        select new Benchmark($"{name}-{vcpus}", "event", TimeBase.Wall, effort => Measure(Cr0Loop, monitored, overSocket: false, effort, vcpus));

    private static Benchmark[] Both(string name, Action<Assembler> guest, MonitorEvent monitored) =>
    [
        new(name, "event", TimeBase.Wall, effort => Measure(guest, monitored, overSocket: false, effort)),
        new($"{name}-socket", "event", TimeBase.Wall, effort => Measure(guest, monitored, overSocket: true, effort)),
    ];

    private static Sample[] Measure(Action<Assembler> write, MonitorEvent monitored, bool overSocket, Effort effort, uint vcpus = 1)
    {
        using var guest = new RingGuest(write, overSocket, vcpus);
        using var monitor = guest.Domain.EnableMonitor();
        monitor.Enable(monitored);
        guest.Start();
        var count = EventsPerSample / effort.Divisor;

        // Each vCPU's thread allocates what it waits on when it first has to, which takes its turns to come to.
        Answer(monitor, 2 * count * (int)vcpus);
        var samples = new Sample[effort.Repetitions];
        for (var n = 0; n < samples.Length; n++)
        {
            var watch = StopWatch.Start();
            Answer(monitor, count);
            samples[n] = watch.Stop(count);
        }

        return samples;
    }

    private static void Answer(IMonitor monitor, int count)
    {
        for (var answered = 0; answered < count;)
        {
            if (!monitor.Wait(Patience, CancellationToken.None))
            {
                throw new TimeoutException("the guest causes no more events");
            }

            var before = answered;
            while (monitor.TryTake(out var request))
            {
                var response = request;
                if (request.Reason == VmEventReason.Cpuid)
                {
                    response.Flags |= VmEventFlags.SetRegisters;
                    response.Registers.Rip += CpuidLength;
                }

                monitor.Respond(in response);
                answered++;
            }

            if (answered > before)
            {
                monitor.Notify();
            }
        }
    }

    private static void CpuidLoop(Assembler c)
    {
        var again = c.CreateLabel();
        c.Label(ref again);
        c.mov(eax, 1);
        c.cpuid();
        c.jmp(again);
    }

    private static void Cr0Loop(Assembler c)
    {
        var again = c.CreateLabel();
        c.mov(eax, cr0);
        c.Label(ref again);
        c.xor(eax, TaskSwitched);
        c.mov(cr0, eax);
        c.jmp(again);
    }
}
