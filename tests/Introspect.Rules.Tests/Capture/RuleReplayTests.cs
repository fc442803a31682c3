using Introspect.Hypervisor.Abi;
using Introspect.Rules.Capture;
using Introspect.Rules.Handlers;
using Introspect.Rules.Language;
using Introspect.Rules.Pump;
using Introspect.Rules.Running;
using Introspect.Rules.Tests.Files;
using Introspect.Rules.Tests.Mocks;
using Introspect.Rules.Tests.Running;

namespace Introspect.Rules.Tests.Capture;

/// <summary>Rules on a capture.</summary>
public class RuleReplayTests
{
    private const string Leaves = """
        rules:
          - rule: high_leaf
            on: cpuid
            when: leaf >= 10
            do: { set: { rax: 0 } }
            output: "leaf {leaf} at {rip}"
            rate: off
        """;

    [Fact]
    public void Rules_decide_and_tell_as_they_did_on_the_domain()
    {
        using var rig = new RuleRig(Leaves).Start();
        VmEvent[] requests = [.. Enumerable.Range(1, 20).Select(leaf => Requests.Cpuid((uint)leaf))];
        VmEvent[] answers = [.. requests.Select(rig.Exchange)];
        var live = rig.Alerts().ConvertAll(alert => alert.Message);

        // As it was recorded by somebody who only looked.
        var sink = Replay([.. requests.Select((request, i) => Captures.Record((ulong)i + 1, in request))], new() { Rules = RuleTexts.Load(Leaves) });
        Assert.Equal(11, live.Count);
        Assert.Equal(live, sink.Alerts.ConvertAll(alert => alert.Message));
        Assert.Equal(
            requests.Zip(answers).Where(pair => pair.Second.Registers.Rax != pair.First.Registers.Rax).Select(pair => pair.First.Cpuid.Leaf),
            sink.Events.ConvertAll(record => record.Event.Cpuid.Leaf));
        Assert.All(sink.Events, record => Assert.Equal("high_leaf", record.Handler));
        Assert.Equal(sink.Events.ConvertAll(record => record.Time), sink.Alerts.ConvertAll(alert => alert.Time));
        Assert.Equal(9, sink.Unrecorded);
        var rule = Assert.Single(sink.Result!.Rules!);
        Assert.Equal(("high_leaf", 11L, 11L), (rule.Rule, rule.Matches, rule.Alerts));
        Assert.Equal((20L, 11L), (sink.Result.Events, sink.Result.Changed));
    }

    [Fact]
    public void An_alert_comes_behind_its_event_and_rules_behind_handlers()
    {
        var handler = new TestHandler("first", subscription => subscription.Cpuid(), Verdict.Allow);
        var sink = Replay([Captures.Record(1, Requests.Cpuid(12)), Captures.Record(2, Requests.Cpuid(13))], new() { Rules = RuleTexts.Load(Leaves) }, handler);
        Assert.Equal(["event 1", "alert high_leaf", "event 2", "alert high_leaf"], sink.Order);
        Assert.All(sink.Events, record => Assert.Equal("first", record.Handler));
        Assert.All(sink.Alerts, alert => Assert.Equal(AlertOutcome.Overruled, alert.Outcome));
    }

    [Fact]
    public void Time_is_the_recordings_for_rates_delays_and_cool_downs()
    {
        const string Rules = """
            rules:
              - rule: flooded
                on: cpuid
                rate: { alerts: off, events: 10/s, cool_down: 5s }
              - rule: later
                on: cpuid
                after: 30s
                rate: off
            """;
        var records = new List<EventRecord>();
        for (var i = 0ul; i < 40; i++)
        {
            // Twenty at once, and one each two seconds then.
            var elapsed = TimeSpan.FromSeconds(i < 20 ? 1 : (double)(i - 19) * 2);
            records.Add(Captures.Record(i + 1, Requests.Cpuid()) with { Elapsed = elapsed, Time = Captures.Started + elapsed });
        }

        var sink = Replay(records, new() { Rules = RuleTexts.Load(Rules) });
        var rules = sink.Result!.Rules!;
        Assert.Equal((1L, 11 + 18L), (rules[0].Throttles, rules[0].Matches));
        Assert.Equal(6, rules[1].Matches);
        var (throttled, resumed) = (sink.Alerts.Single(alert => alert.Kind == AlertKind.Throttled), sink.Alerts.Single(alert => alert.Kind == AlertKind.Resumed));
        Assert.Equal((Captures.Started.AddSeconds(1), Captures.Started.AddSeconds(6)), (throttled.Time, resumed.Time));

        // It is in force again for the event of that very moment.
        Assert.Equal(sink.Order.IndexOf("resumed flooded") + 1, sink.Order.IndexOf("event 23"));
    }

    [Fact]
    public void A_rule_that_is_throttled_to_the_end_is_resumed_when_its_time_comes_and_not_later()
    {
        const string Rules = "rules: [ { rule: flooded, on: cpuid, rate: { events: 1/s, cool_down: COOL } } ]";
        List<EventRecord> records = [Captures.Record(1, Requests.Cpuid()), Captures.Record(2, Requests.Cpuid())];
        Assert.Contains("resumed flooded", Replay(records, new() { Rules = RuleTexts.Load(Rules.Replace("COOL", "8s", StringComparison.Ordinal)) }).Order);
        var sink = Replay(records, new() { Rules = RuleTexts.Load(Rules.Replace("COOL", "10s", StringComparison.Ordinal)) });
        Assert.DoesNotContain("resumed flooded", sink.Order);
        Assert.True(Assert.Single(sink.Result!.Rules!).IsThrottled);
    }

    [Fact]
    public void Memory_that_is_not_in_the_capture_is_unknown()
    {
        const string Rules = """
            rules:
              - { rule: open, on: mov_to_msr, when: "msr == LSTAR and (u64[rsp] == 0 or u64[rsp] != 0)" }
              - { rule: closed, on: mov_to_msr, when: "msr == LSTAR and u64[rsp] == 0", do: deny, fail: closed }
            """;
        var sink = Replay([Captures.Record(1, Requests.Msr(0xc0000082, 1, 2))], new() { Rules = RuleTexts.Load(Rules) });
        Assert.Equal([0L, 1L], sink.Result!.Rules!.Select(rule => rule.Matches));
        Assert.Equal((Decision.Deny, "closed"), (Assert.Single(sink.Events).Verdict.Decision, sink.Events[0].Handler));
    }

    [Fact]
    public void Symbols_are_those_that_are_given_and_some_may_be_unknown()
    {
        const string Rules = """
            rules:
              - { rule: known, on: cpuid, when: "rip in sym(known)", output: "{rip:symbol}" }
              - { rule: unknown, on: cpuid, when: "rip == &unknown" }
            """;
        List<EventRecord> records = [Captures.Record(1, Requests.Cpuid())];
        var sink = Replay(records, new() { Rules = RuleTexts.Load(Rules), Symbols = new Few(isComplete: false) });
        Assert.Equal([1L, 0L], sink.Result!.Rules!.Select(rule => rule.Matches));
        Assert.Equal("known+0x2", Assert.Single(sink.Alerts).Message);
        Assert.Contains(sink.Result.RuleWarnings, warning => warning.Message.Contains("'unknown' is none of the symbols that are known here", StringComparison.Ordinal));
        var error = Assert.Throws<ArgumentException>(() => Replay(records, new() { Rules = RuleTexts.Load(Rules), Symbols = new Few(isComplete: true) }));
        Assert.Contains("the guest has no symbol 'unknown'", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void What_rules_want_and_was_not_recorded_is_told()
    {
        var set = RuleTexts.Load("rules: [ { rule: a, on: write_ctrlreg, when: register == CR4 and changed(CR4.PAE) } ]");
        Assert.Equal(["changes of the bits 0x20 of CR4", "events of other address spaces than 0x10a000"], Replay([], new() { Rules = set }).Result!.NotRecorded[RuleSetHandler.HandlerName]);
    }

    [Fact]
    public void Times_beyond_any_date_are_no_trouble()
    {
        const string Rules = "rules: [ { rule: flooded, on: cpuid, rate: { events: 1/s, cool_down: 10s } } ]";
        var records = new List<EventRecord>();
        for (var i = 1ul; i <= 4; i++)
        {
            records.Add(Captures.Record(i, Requests.Cpuid()) with { Elapsed = TimeSpan.FromTicks(i < 3 ? long.MaxValue - 9 : long.MaxValue) });
        }

        Assert.Equal(4, Replay(records, new() { Rules = RuleTexts.Load(Rules) }).Result!.Events);
    }

    private static Sink Replay(List<EventRecord> records, ReplayOptions options, params IEventHandler[] handlers)
    {
        using var capture = Captures.Open(Captures.Write(records, end: Captures.End()));
        var sink = new Sink();
        sink.Result = CaptureReplay.Run(capture, handlers, sink, options);
        return sink;
    }

    private sealed class Sink : ICaptureSink
    {
        public List<EventRecord> Events { get; } = [];

        public List<AlertRecord> Alerts { get; } = [];

        public List<string> Order { get; } = [];

        public int Unrecorded { get; private set; }

        public ReplayResult? Result { get; set; }

        public void Event(in EventRecord record, in CapturedAnswer answered)
        {
            Events.Add(record);
            Order.Add($"event {record.Sequence}");
        }

        void ICaptureSink.Unrecorded(in EventRecord record) => Unrecorded++;

        public void Alert(AlertRecord alert)
        {
            Alerts.Add(alert);
            Order.Add($"{(alert.Kind == AlertKind.Match ? "alert" : alert.Kind.ToString().ToLowerInvariant())} {alert.Rule}");
        }
    }

    private sealed class Few(bool isComplete) : ISymbolResolver
    {
        public IEnumerable<string> Names => ["known"];

        public bool IsComplete => isComplete;

        public IReadOnlyList<NumberRange> RangesOf(string name) => name == "known" ? [new(Requests.Rip - 2, Requests.Rip + 2)] : [];

        public bool TryFind(ulong address, [System.Diagnostics.CodeAnalysis.NotNullWhen(true)] out string? name, out ulong offset)
        {
            (name, offset) = ("known", address - (Requests.Rip - 2));
            return true;
        }
    }
}
