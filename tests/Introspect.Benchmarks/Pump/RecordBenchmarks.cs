using Introspect.Benchmarks.Measuring;
using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;
using Introspect.Rules.Capture;
using Introspect.Rules.Pump;

namespace Introspect.Benchmarks.Pump;

/// <summary>What an event costs who writes captures: its differences, its share of a block's compression and checksums.</summary>
internal static class RecordBenchmarks
{
    private const int EventsPerSample = 400_000;
    private const int Vcpus = 4;

    public static IEnumerable<Benchmark> All =>
    [
        new("record", "event", TimeBase.Cpu, effort => Measure(effort, compress: true, Write)),
        new("record-stored", "event", TimeBase.Cpu, effort => Measure(effort, compress: false, Write)),
        new("record-read", "event", TimeBase.Cpu, effort => Measure(effort, compress: true, Read)),
    ];

    /// <summary>Bytes that an event takes in the file.</summary>
    public static double BytesPerEvent(bool compress)
    {
        var events = Events();
        using var file = new MemoryStream();
        using (var writer = new CaptureWriter(file, Header(), new() { Compress = compress }))
        {
            foreach (var record in events)
            {
                writer.TryWrite(in record);
            }
        }

        return file.Length / (double)events.Length;
    }

    private static Sample[] Measure(Effort effort, bool compress, Func<EventRecord[], bool, Sample> once)
    {
        var events = Events();
        once(events[..(events.Length / 8)], compress);
        var part = events[..(events.Length / effort.Divisor)];
        return [.. Enumerable.Range(0, effort.Repetitions).Select(_ => once(part, compress))];
    }

    private static Sample Write(EventRecord[] events, bool compress)
    {
        using var writer = new CaptureWriter(Stream.Null, Header(), new() { Compress = compress });
        Write(writer, events.AsSpan(0, events.Length / 8));
        writer.Flush();
        var watch = StopWatch.StartOnThread();
        Write(writer, events);
        writer.Flush();
        return watch.StopOnThread(events.Length);
    }

    private static void Write(CaptureWriter writer, ReadOnlySpan<EventRecord> events)
    {
        foreach (ref readonly var record in events)
        {
            writer.TryWrite(in record);
        }
    }

    private static Sample Read(EventRecord[] events, bool compress)
    {
        using var file = new MemoryStream();
        using (var writer = new CaptureWriter(file, Header(), new() { Compress = compress }))
        {
            Write(writer, events);
        }

        file.Position = 0;
        var watch = StopWatch.StartOnThread();
        using var capture = CaptureReader.Open(file);
        var read = 0;
        while (capture.Read() == CaptureItem.Event)
        {
            read++;
        }

        var sample = watch.StopOnThread(events.Length);
        return read == events.Length ? sample : throw new InvalidOperationException($"{read} of {events.Length} events were read");
    }

    // A guest at work on several vCPUs: mostly address-space switches, registers that move and some that are full of
    // what nobody can foresee.
    private static EventRecord[] Events()
    {
        var random = new Random(20260304);
        var records = new EventRecord[EventsPerSample];
        var requests = new VmEvent[Vcpus];
        var now = TimeSpan.Zero;
        for (var i = 0; i < records.Length; i++)
        {
            var vcpu = (uint)random.Next(Vcpus);
            ref var request = ref requests[vcpu];
            ref var registers = ref request.Registers;
            request.Version = VmEvent.InterfaceVersion;
            request.VcpuId = vcpu;
            registers.Rax = (ulong)random.NextInt64();
            registers.Rcx = (ulong)random.Next(1 << 16);
            registers.Rdi = 0xffff_8880_0000_0000 + (ulong)random.NextInt64(1L << 30);
            registers.Rsp = 0xffff_c900_0001_0000 + (ulong)(16 * random.Next(256));
            registers.Rip = 0xffff_ffff_8100_0000 + (ulong)(64 * random.Next(400));
            registers.Rflags = 0x202 | (ulong)random.Next(256);
            if (random.Next(5) != 0)
            {
                var to = 0x1_0000_0000 + ((ulong)random.Next(64) << 13);
                request.Reason = VmEventReason.WriteCtrlreg;
                request.Flags = VmEventFlags.None;
                request.WriteCtrlreg = new() { Index = ControlRegisterIndex.Cr3, OldValue = registers.Cr3, NewValue = to };
                registers.Cr3 = to;
            }
            else
            {
                request.Reason = VmEventReason.Cpuid;
                request.Flags = VmEventFlags.VcpuPaused;
                request.Debug = default;
                request.Cpuid = new() { InsnLength = 2, Leaf = (uint)random.Next(16) };
            }

            now += TimeSpan.FromTicks(random.Next(20, 2000));
            records[i] = new()
            {
                Sequence = (ulong)i + 1,
                Elapsed = now,
                Time = DateTime.UnixEpoch + now,
                HandlingTime = TimeSpan.FromTicks(random.Next(5, 40)),
                PausedTime = TimeSpan.FromTicks((request.Flags & VmEventFlags.VcpuPaused) != 0 ? random.Next(20, 90) : 0),
                ResponseFlags = request.Flags,
                Event = request,
            };
        }

        return records;
    }

    private static CaptureHeader Header() => new()
    {
        HypervisorName = "benchmark",
        HypervisorVersion = "1",
        Domain = new(new(1), "guest", Guid.Empty, CpuVendor.Vmx, Vcpus, new(0xffff), 1 << 28, DomainState.Running, 0),
        Started = DateTime.UnixEpoch,
    };
}
