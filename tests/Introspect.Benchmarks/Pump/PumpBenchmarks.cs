using Introspect.Benchmarks.Measuring;
using Introspect.Hypervisor.Abi;
using Introspect.Rules.Handlers;
using Introspect.Rules.Pump;

namespace Introspect.Benchmarks.Pump;

/// <summary>What an event costs the pump: taken out of the ring, judged by the two built-in handlers, answered.</summary>
internal static class PumpBenchmarks
{
    private const int EventsPerSample = 200_000;
    private const int WarmUps = 3;

    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(5);

    public static IEnumerable<Benchmark> All =>
    [
        new("pump-rules", "event", TimeBase.Cpu, effort => Measure(effort, RecordPolicy.None)),
        new("pump-null-sink", "event", TimeBase.Wall, effort => Measure(effort, RecordPolicy.DropNewest)),
    ];

    private static Sample[] Measure(Effort effort, RecordPolicy policy)
    {
        var ring = new LoopRing(Requests(), EventsPerSample / effort.Divisor, WarmUps, effort.Repetitions);
        using var domain = new LoopDomain(ring);
        using var pump = new EventPump(
            domain,
            [new(new LogHandler()), new(new ProtectCr4Handler())],
            new PumpOptions { RecordPolicy = policy, HandlerBudget = Patience });
        var sink = policy == RecordPolicy.None ? Task.CompletedTask : Task.Run(() => SwallowAsync(pump));
        pump.Start();
        var samples = ring.Finish(Patience);
        var denied = ring.Denied;
        pump.Stop();
        sink.Wait();
        return denied > 0 ? samples : throw new InvalidOperationException("the rules denied nothing");
    }

    private static async Task SwallowAsync(EventPump pump)
    {
        while (await pump.Records.WaitToReadAsync())
        {
            while (pump.Records.TryRead(out _))
            {
            }
        }
    }

    /// <summary>A mixture as a guest at work sends: mostly address-space switches, and one write that is denied.</summary>
    internal static VmEvent[] Requests()
    {
        const ulong Smep = 1 << 20;
        return
        [
            ControlRegister(ControlRegisterIndex.Cr3, 0x1000, 0x2000, VmEventFlags.None),
            Request(VmEventReason.Cpuid, VmEventFlags.VcpuPaused),
            ControlRegister(ControlRegisterIndex.Cr3, 0x2000, 0x1000, VmEventFlags.None),
            Msr(0xC0000082, 1, 2),
            ControlRegister(ControlRegisterIndex.Cr3, 0x1000, 0x3000, VmEventFlags.None),
            ControlRegister(ControlRegisterIndex.Cr4, Smep | 0x20, 0x20, VmEventFlags.VcpuPaused),
            ControlRegister(ControlRegisterIndex.Cr0, 0x80010033, 0x8001003B, VmEventFlags.None),
        ];
    }

    private static VmEvent ControlRegister(ControlRegisterIndex register, ulong from, ulong to, VmEventFlags flags)
    {
        var request = Request(VmEventReason.WriteCtrlreg, flags);
        request.WriteCtrlreg.Index = register;
        request.WriteCtrlreg.OldValue = from;
        request.WriteCtrlreg.NewValue = to;
        return request;
    }

    private static VmEvent Msr(uint number, ulong from, ulong to)
    {
        var request = Request(VmEventReason.MovToMsr, VmEventFlags.VcpuPaused);
        request.MovToMsr.Msr = number;
        request.MovToMsr.OldValue = from;
        request.MovToMsr.NewValue = to;
        return request;
    }

    private static VmEvent Request(VmEventReason reason, VmEventFlags flags)
    {
        var request = default(VmEvent);
        request.Version = VmEvent.InterfaceVersion;
        request.Flags = flags;
        request.Reason = reason;
        if (reason == VmEventReason.Cpuid)
        {
            request.Cpuid.InsnLength = 2;
            request.Cpuid.Leaf = 1;
        }

        return request;
    }
}
