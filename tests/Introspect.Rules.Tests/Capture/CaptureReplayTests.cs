using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;
using Introspect.Rules.Capture;
using Introspect.Rules.Handlers;
using Introspect.Rules.Pump;
using Introspect.Rules.Tests.Mocks;
using Introspect.Rules.Tests.Pump;

namespace Introspect.Rules.Tests.Capture;

/// <summary>Handlers on a capture: the pump's chain, the recording's time.</summary>
public class CaptureReplayTests
{
    [Fact]
    public void Handlers_judge_a_capture_as_they_judged_the_domain()
    {
        HandlerRegistration[] Handlers() =>
        [
            new(PumpRig.Handler("even", (ref readonly VmEvent request, ref HandlerContext _) => request.Registers.Rax % 2 == 0 ? Verdict.Deny : Verdict.Pass), 5),
            new(PumpRig.Handler("registers", (ref readonly VmEvent request, ref HandlerContext context) =>
            {
                context.Registers.Rax = request.Registers.Rcx;
                return request.Registers.Rax % 3 == 0 ? Verdict.Allow.WithRegisters() : Verdict.Pass;
            }), 7),
            new(new LogHandler(), 9),
        ];
        using var rig = new PumpRig(new PumpOptions(), Handlers()).Start();
        for (var i = 0ul; i < 60; i++)
        {
            var request = i % 4 == 0 ? PumpRig.Cr4Write() : Requests.Cpuid();
            request.Registers.Rax = i;
            rig.Exchange(request);
        }

        var live = rig.DrainRecords();
        var sink = Replay(live.ConvertAll(record => record with { Verdict = Verdict.Pass, Handler = null }), Handlers());
        Assert.Equal(live.ConvertAll(record => (record.Sequence, record.Verdict, record.Handler)), sink.Events.ConvertAll(record => (record.Sequence, record.Verdict, record.Handler)));
        Assert.Equal(live.Count(record => !record.Verdict.IsPass), sink.Result!.Changed);
        Assert.Equal(60, sink.Result.Statistics.TotalEvents);
    }

    [Fact]
    public void Without_handlers_it_is_what_was_recorded()
    {
        var records = Captures.Random(new(41), 500);
        var sink = Replay(records);
        Captures.AssertSame(records, sink.Events);
        Assert.Equal(((long)records.Count, 0L), (sink.Result!.Events, sink.Result.Changed));
        Assert.Equal(sink.Result.Lost, sink.Gaps);
    }

    [Fact]
    public void Two_replays_are_the_same_whatever_the_handlers_take_and_throw()
    {
        // A tenth of a second apart: the breaker's window and its cool-down come and go.
        var records = new List<EventRecord>();
        for (var i = 1ul; i <= 800; i++)
        {
            var request = Requests.Make(i % 2 == 0 ? VmEventReason.GuestRequest : VmEventReason.Cpuid);
            request.Registers.Rcx = i / 2;
            records.Add(Captures.Record(i, in request) with { Elapsed = TimeSpan.FromMilliseconds(100 * (double)i) });
        }

        // One throws until the breaker opens, which a pump's clock would close at another event every time.
        HandlerRegistration[] Handlers() =>
        [
            new(new TestHandler("thrower", subscription => subscription.GuestRequest(), (ref readonly VmEvent request, ref HandlerContext _) =>
                request.Registers.Rcx % 2 == 0 ? throw new InvalidOperationException("no") : Verdict.Allow), 1, FailPolicy.Closed),
            new(new TestHandler("slow", subscription => subscription.Cpuid(), (ref readonly VmEvent _, ref HandlerContext context) =>
            {
                Thread.SpinWait(10_000);
                return context.Sequence % 3 == 0 ? Verdict.Deny : Verdict.Pass;
            }), 2, Budget: TimeSpan.FromTicks(1)),
        ];
        var (first, second) = (Replay(records, Handlers()), Replay(records, Handlers()));
        Assert.Equal(first.Events.ConvertAll(r => (r.Verdict, r.Handler)), second.Events.ConvertAll(r => (r.Verdict, r.Handler)));
        Assert.Contains(first.Events, r => r.Handler == "thrower");
        Assert.Contains(first.Events, r => r.Handler == "slow");
        Assert.Equal(0, first.Result!.Statistics.HandlerOverruns);
        Assert.True(first.Result.Statistics.BreakerTrips > 1);
    }

    [Fact]
    public void Handlers_see_the_time_the_number_and_the_domain_of_the_recording()
    {
        var seen = new List<(DateTime, ulong, string, int)>();
        var handler = new TestHandler("look", subscription => subscription.Cpuid(), (ref readonly VmEvent _, ref HandlerContext context) =>
        {
            var info = context.Domain.GetInfo();
            seen.Add((context.Time, context.Sequence, info.Name, info.VcpuCount));
            context.Domain.Pause();
            context.Domain.Unpause();
            var domain = context.Domain;
            Assert.Equal(Errno.ENODATA, Assert.Throws<HypervisorException>(() => domain.ReadVcpu(new(0))).Error);
            Assert.Equal(Errno.EOPNOTSUPP, Assert.Throws<HypervisorException>(() => domain.EnableMonitor()).Error);
            return Verdict.Pass;
        });
        Replay([Captures.Record(4, Requests.Cpuid())], new HandlerRegistration(handler));
        Assert.Equal([(Captures.Started.AddMicroseconds(403), 4ul, "guest", 4)], seen);
    }

    [Fact]
    public void Filters_leave_out_what_they_say()
    {
        var records = new List<EventRecord>();
        for (var i = 1ul; i <= 10; i++)
        {
            records.Add(Captures.Record(i, Requests.Cpuid(vcpu: (uint)(i % 2))));
        }

        Assert.Equal([3ul, 5], Sequences(new() { From = TimeSpan.FromMicroseconds(300), Until = TimeSpan.FromMicroseconds(600), Vcpu = 1 }));
        Assert.Equal([2ul, 4, 6, 8, 10], Sequences(new() { Vcpu = 0 }));
        Assert.Equal([1ul, 2], Sequences(new() { Until = TimeSpan.FromMicroseconds(200) }));
        Assert.Empty(Sequences(new() { Vcpu = 3 }));

        IEnumerable<ulong> Sequences(ReplayOptions options) => Replay(records, [], options).Events.Select(record => record.Sequence);
    }

    [Fact]
    public void What_a_handler_wants_and_was_not_recorded_is_told()
    {
        var handler = new TestHandler(
            "wants",
            subscription => subscription.ControlRegister(ControlRegisterIndex.Cr4, 0x100020).ControlRegister(ControlRegisterIndex.Cr0).Msr(0xc0000082, onChangeOnly: true).Msr(0x174).Cpuid()
                .Memory(new(0x107), 2, MemAccessFlags.Write).Memory(new(0x108), 2, MemAccessFlags.Write).Breakpoint(new(0x101234)).Interrupt().InAddressSpaces(0x10a000),
            Verdict.Pass);
        var missing = Replay([], new HandlerRegistration(handler)).Result!.NotRecorded["wants"];
        Assert.Equal(["changes of the bits 0x20 of CR4", "writes of CR0", "writes of MSR 0x174", "write accesses to pages 0x108+0x2"], missing);
        var other = new TestHandler("other", subscription => subscription.Cpuid(), Verdict.Pass);
        Assert.Equal(["events of other address spaces than 0x10a000"], Replay([], new HandlerRegistration(other)).Result!.NotRecorded["other"]);
    }

    [Fact]
    public void In_real_time_events_come_as_far_apart_as_they_were()
    {
        var clock = new JumpingClock();
        List<EventRecord> records = [Captures.Record(50_000, Requests.Cpuid()), Captures.Record(60_000, Requests.Cpuid()), Captures.Record(60_001, Requests.Cpuid())];
        var sink = Replay(records, [], new() { InRealTime = true, Clock = clock });
        Assert.Equal(3, sink.Events.Count);

        // The tenth of a millisecond at the end is not worth a wait.
        Assert.Equal([TimeSpan.FromSeconds(1)], clock.Waits);
    }

    [Fact]
    public void A_replay_can_be_ended_and_damage_ends_it()
    {
        var records = Captures.Random(new(47), 100);
        using var cancelled = new CancellationTokenSource();
        cancelled.Cancel();
        using var capture = Captures.Open(Captures.Write(records));
        Assert.Throws<OperationCanceledException>(() => CaptureReplay.Run(capture, [], new Sink(), cancellationToken: cancelled.Token));

        var file = Captures.Write(records, eventsInBlock: 50);
        file[^1] ^= 1;
        using var damaged = Captures.Open(file);
        var sink = new Sink();
        Assert.Throws<CaptureException>(() => CaptureReplay.Run(damaged, [], sink));
        Captures.AssertSame(records[..50], sink.Events);
    }

    private static Sink Replay(List<EventRecord> records, params HandlerRegistration[] handlers) => Replay(records, handlers, null);

    private static Sink Replay(List<EventRecord> records, HandlerRegistration[] handlers, ReplayOptions? options)
    {
        using var capture = Captures.Open(Captures.Write(records, end: Captures.End()));
        var sink = new Sink();
        sink.Result = CaptureReplay.Run(capture, handlers, sink, options);
        return sink;
    }

    private sealed class Sink : ICaptureSink
    {
        public List<EventRecord> Events { get; } = [];

        public ulong Gaps { get; private set; }

        public ReplayResult? Result { get; set; }

        public void Event(in EventRecord record, in CapturedAnswer answered) => Events.Add(record);

        public void Lost(ulong events) => Gaps += events;
    }

    // A clock on which every wait is over at once.
    private sealed class JumpingClock : TimeProvider
    {
        private long _ticks;

        public List<TimeSpan> Waits { get; } = [];

        public override long TimestampFrequency => TimeSpan.TicksPerSecond;

        public override long GetTimestamp() => _ticks;

        public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period)
        {
            Waits.Add(dueTime);
            _ticks += dueTime.Ticks;
            return System.CreateTimer(callback, state, TimeSpan.Zero, period);
        }
    }
}
