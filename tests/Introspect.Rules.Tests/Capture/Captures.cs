using System.Runtime.InteropServices;
using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;
using Introspect.Rules.Capture;
using Introspect.Rules.Handlers;
using Introspect.Rules.Pump;
using Introspect.Rules.Tests.Mocks;

namespace Introspect.Rules.Tests.Capture;

/// <summary>Captures, and what is in them, for tests.</summary>
internal static class Captures
{
    public static readonly DateTime Started = new(2026, 3, 4, 5, 6, 7, DateTimeKind.Utc);

    public static CaptureHeader Header(int vcpus = 4) => new()
    {
        Recorder = "test 1.0",
        HypervisorName = "mock",
        HypervisorVersion = "4.17",
        Domain = new(new(7), "guest", new("2ce01813-94c9-4d52-ae00-47ef0ccd914a"), CpuVendor.Svm, vcpus, new(0xfefff), 64 << 20, DomainState.Running, 0),
        Started = Started,
        Watched = new()
        {
            Events =
            [
                new MonitorEvent.ControlRegister(ControlRegisterIndex.Cr4, Sync: false, OnChangeOnly: true, WatchMask: 0x300000),
                new MonitorEvent.ControlRegister(ControlRegisterIndex.Xcr0),
                new MonitorEvent.Msr(0xc0000082, true),
                new MonitorEvent.SingleStep(),
                new MonitorEvent.SoftwareBreakpoint(),
                new MonitorEvent.GuestRequest(false, true),
                new MonitorEvent.DebugException(false),
                new MonitorEvent.Cpuid(),
                new MonitorEvent.DescriptorAccess(),
                new MonitorEvent.EmulUnimplemented(),
                new MonitorEvent.InguestPagefault(),
                new MonitorEvent.VmExit(true),
                new MonitorEvent.IoInstruction(false),
            ],
            Memory = [new(new(0x106), 3, MemAccessFlags.Write | MemAccessFlags.Execute)],
            Breakpoints = [new(0x101234)],
            Interrupts = true,
            AddressSpaces = [0x10a000],
        },
        Windows = [new(WindowRegister.Rip, 0, 16), new(WindowRegister.Rsp, 16, 64)],
        MayDrop = true,
    };

    public static EventRecord Record(ulong sequence, in VmEvent request, Verdict verdict = default, string? handler = null) => new()
    {
        Sequence = sequence,
        Elapsed = TimeSpan.FromMicroseconds(100 * (double)sequence),
        Time = Started + TimeSpan.FromMicroseconds((100 * (double)sequence) + 3),
        HandlingTime = TimeSpan.FromTicks(25),
        PausedTime = TimeSpan.FromTicks(70),
        Domain = new(7),
        Verdict = verdict,
        Handler = handler,
        ResponseFlags = request.Flags,
        Event = request,
    };

    /// <summary>Records of every kind, all of whose bytes may be anything.</summary>
    public static List<EventRecord> Random(Random random, int count, int vcpus = 4)
    {
        Verdict[] verdicts = [Verdict.Pass, Verdict.Deny, Verdict.Emulate, Verdict.Allow.WithRegisters(), Verdict.Reinject.WithView(3).WithSinglestepOn(), Verdict.EmulateInstruction];
        string?[] handlers = [null, "trace", "protect-cr4", "wache über allem"];
        var records = new List<EventRecord>();
        var sequence = 0UL;
        var request = Requests.Cpuid();
        for (var i = 0; i < count; i++)
        {
            sequence += random.Next(10) == 0 ? (ulong)random.Next(1, 1000) : 1;
            var bytes = MemoryMarshal.AsBytes(new Span<VmEvent>(ref request));
            for (var change = random.Next(0, 40); change > 0; change--)
            {
                bytes[random.Next(16, bytes.Length)] = (byte)random.Next(256);
            }

            request.Reason = (VmEventReason)random.Next(1, PumpStatistics.ReasonCount);
            request.VcpuId = (uint)random.Next(vcpus);
            var record = Record(sequence, in request, verdicts[random.Next(verdicts.Length)], handlers[random.Next(handlers.Length)]);
            record.Elapsed = (records.Count != 0 ? records[^1].Elapsed : TimeSpan.Zero) + TimeSpan.FromTicks(random.NextInt64(1L << random.Next(40)));
            record.Time = Started + record.Elapsed + TimeSpan.FromTicks(random.Next(-100, 100));
            record.HandlingTime = TimeSpan.FromTicks(random.NextInt64(1L << random.Next(40)));
            record.ResponseFlags = (VmEventFlags)random.Next();
            records.Add(record);
        }

        return records;
    }

    public static byte[] Write(IEnumerable<EventRecord> records, CaptureWriterOptions? options = null, CaptureEnd? end = null, int eventsInBlock = int.MaxValue)
    {
        using var stream = new MemoryStream();
        using (var writer = new CaptureWriter(stream, Header(), options))
        {
            var inBlock = 0;
            foreach (var record in records)
            {
                Assert.True(writer.TryWrite(in record));
                if (++inBlock == eventsInBlock)
                {
                    writer.Flush();
                    inBlock = 0;
                }
            }

            if (end is not null)
            {
                writer.Complete(end);
            }
        }

        return stream.ToArray();
    }

    public static CaptureEnd End() => new(Started.AddSeconds(9), "poweroff", TimeSpan.FromSeconds(9), TimeSpan.FromTicks(12345), 0, 2);

    public static CaptureReader Open(byte[] file) => CaptureReader.Open(new MemoryStream(file));

    public static List<EventRecord> ReadEvents(CaptureReader capture)
    {
        var records = new List<EventRecord>();
        for (CaptureItem item; (item = capture.Read()) != CaptureItem.None;)
        {
            if (item == CaptureItem.Event)
            {
                records.Add(capture.Event);
            }
        }

        return records;
    }

    public static List<EventRecord> ReadEvents(byte[] file)
    {
        using var capture = Open(file);
        return ReadEvents(capture);
    }

    public static void AssertSame(IReadOnlyList<EventRecord> expected, IReadOnlyList<EventRecord> actual)
    {
        Assert.Equal(expected.Count, actual.Count);
        for (var i = 0; i < expected.Count; i++)
        {
            AssertSame(expected[i], actual[i]);
        }
    }

    public static void AssertSame(EventRecord expected, EventRecord actual)
    {
        Assert.Equal(Meta(expected), Meta(actual));
        Assert.True(Bytes(ref expected.Event).SequenceEqual(Bytes(ref actual.Event)));
    }

    public static Span<byte> Bytes(ref VmEvent request) => MemoryMarshal.AsBytes(new Span<VmEvent>(ref request));

    private static (ulong, DateTime, TimeSpan, TimeSpan, TimeSpan, DomainId, Verdict, VmEventFlags, string?) Meta(in EventRecord r) =>
        (r.Sequence, r.Time, r.Elapsed, r.HandlingTime, r.PausedTime, r.Domain, r.Verdict, r.ResponseFlags, r.Handler);
}
