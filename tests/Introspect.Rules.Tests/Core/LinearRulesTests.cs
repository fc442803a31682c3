using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;
using Introspect.Rules.Files;
using Introspect.Rules.Handlers;
using Introspect.Rules.Language;
using Introspect.Rules.Pump;
using Introspect.Rules.Running;
using Introspect.Rules.Tests.Capture;
using Introspect.Rules.Tests.Files;
using Introspect.Rules.Tests.Mocks;
using static Iced.Intel.AssemblerRegisters;

namespace Introspect.Rules.Tests.Core;

/// <summary>Rules on linear addresses: the guest's own page tables tell which frames are watched.</summary>
public sealed class LinearRulesTests
{
    private const ulong Linear = ActingGuest.EmptyFrame << 12;
    private const ulong PageTable = 0x4000;
    private const ulong Present = 0x63;

    private static readonly string Rules = $"rules: [ {{ rule: written, on: {{ mem_access: {{ linear: 0x{Linear:x}+0x1000, access: w, page_table_walks: false, refresh: 5s }} }}, output: '{{gfn}}' }} ]";

    [Fact]
    public void A_page_is_watched_where_the_guest_has_it()
    {
        using var guest = new ActingGuest(Write);
        Move(guest.Domain, ActingGuest.OtherFrame);
        Assert.Equal(["0x21"], Run(guest, new ManualClock(), static () => { }));
    }

    [Fact]
    public void A_page_that_comes_elsewhere_is_watched_there_when_its_time_has_come()
    {
        using var guest = new ActingGuest(Write);
        var clock = new FiringClock();
        Assert.Equal(["0x21"], Run(guest, clock, () =>
        {
            Move(guest.Domain, ActingGuest.OtherFrame);
            Assert.True(SpinWait.SpinUntil(() => clock.Timers > 0, TimeSpan.FromSeconds(30)));
            clock.Advance(TimeSpan.FromSeconds(5));
        }, changes: 1));
    }

    [Fact]
    public void Until_then_it_is_missed_there()
    {
        using var guest = new ActingGuest(Write);
        Assert.Empty(Run(guest, new ManualClock(), () => Move(guest.Domain, ActingGuest.OtherFrame)));
    }

    [Fact]
    public void A_page_that_goes_stays_where_it_was_found_and_one_that_is_missing_is_found_later()
    {
        using var guest = new ActingGuest(Write);
        var pages = new LinearPages(NumberSet.Of([new(Linear, Linear + 0x1fff)]), []);
        Map(guest.Domain, 1, 0);
        Assert.True(pages.Refresh(guest.Domain));
        Assert.Equal((1L, "0x20"), (pages.Missing, string.Join(' ', pages.Frames.Ranges)));
        Assert.False(pages.Refresh(guest.Domain));
        Map(guest.Domain, 0, 0);
        Map(guest.Domain, 1, (0x23UL << 12) | Present);
        Assert.True(pages.Refresh(guest.Domain));
        Assert.Equal((0L, "0x20 0x23"), (pages.Missing, string.Join(' ', pages.Frames.Ranges)));
    }

    [Fact]
    public async Task Pages_that_are_never_found_are_counted_and_told_once_at_the_second_look()
    {
        using var guest = new ActingGuest(Write);
        Map(guest.Domain, 1, 0);
        var clock = new FiringClock();
        var told = new System.Collections.Concurrent.ConcurrentQueue<string>();
        var rules = new DomainRules(RuleTexts.Load(Rules.Replace("+0x1000", "+0x2000", StringComparison.Ordinal)), guest.Domain, new AlertChannel(), clock: clock);
        using var pump = new EventPump(guest.Domain, [new(rules.Handler)], new PumpOptions { RecordPolicy = RecordPolicy.None });
        pump.Start();
        var guard = new FloodGuard(pump, rules, told.Enqueue);
        Assert.Equal((1L, 0), (rules.Statistics[0].MissingPages, told.Count));
        for (var look = 0; look < 2; look++)
        {
            Look();
        }

        // The next look is waited for when the last one is over.
        Assert.True(SpinWait.SpinUntil(() => clock.Timers > 0, TimeSpan.FromSeconds(30)));
        Assert.StartsWith("rule written: 1 of the 2 pages of its linear addresses are nowhere", Assert.Single(told), StringComparison.Ordinal);
        Map(guest.Domain, 1, (0x23UL << 12) | Present);
        Look();
        Assert.True(SpinWait.SpinUntil(() => rules.Statistics[0].MissingPages == 0, TimeSpan.FromSeconds(30)));
        await guard.DisposeAsync();
        pump.Stop();

        void Look()
        {
            Assert.True(SpinWait.SpinUntil(() => clock.Timers > 0, TimeSpan.FromSeconds(30)), "it is not looked again");
            clock.Advance(TimeSpan.FromSeconds(5));
        }
    }

    [Fact]
    public void Page_tables_of_named_processes_are_looked_in_though_they_do_not_run()
    {
        using var guest = new ActingGuest(Write);
        var pages = new LinearPages(NumberSet.Of([new(Linear, Linear)]), [ActingGuest.SecondRoot]);
        guest.Domain.Memory.WritePhysical(new(ActingGuest.SecondRoot), new byte[8]);
        Assert.False(pages.Refresh(guest.Domain));
        Assert.Equal(1, pages.Missing);
    }

    [Theory]
    [InlineData("0x1000..0x1fff", "0x1000..0x1fff")]
    [InlineData("0x1000+0x20", "0x1000..0x101f")]
    [InlineData("&start", "0x5000")]
    [InlineData("&start..&end", "0x5000..0x9000")]
    [InlineData("&start+0x800", "0x5000..0x57ff")]
    [InlineData("sym(start)", "0x5000..0x5fff")]
    [InlineData("sym(twice)", "0x1000..0x10ff 0x3000..0x30ff")]
    public void A_range_is_what_is_written(string text, string expected)
    {
        var diagnostics = new DiagnosticBag();
        Assert.Equal(expected, string.Join(' ', new LinearRange(text, default).Resolve(new Few(), diagnostics).Ranges));
        Assert.Empty(diagnostics.All);
    }

    [Theory]
    [InlineData("'&end..&start'", "ends before it begins")]
    [InlineData("'&twice'", "the guest has 2 symbols 'twice'; write sym(twice)")]
    [InlineData("sym(strat)", "the guest has no symbol 'strat'")]
    [InlineData("here", "is no range of linear addresses")]
    [InlineData("sym()", "is no range of linear addresses")]
    [InlineData("0x1000+&start", "is no range of linear addresses")]
    [InlineData("0..0xffffffffffff", "and each is looked up by itself")]
    [InlineData("sym(start), refresh: 10ms", "at most once a second")]
    public void What_is_none_is_told(string text, string why)
    {
        var diagnostics = new DiagnosticBag();
        var file = Path.GetTempFileName();
        try
        {
            File.WriteAllText(file, $"rules: [ {{ rule: a, on: {{ mem_access: {{ linear: {text} }} }} }} ]");
            RuleFileLoader.Load([file], diagnostics, new Few());
        }
        finally
        {
            File.Delete(file);
        }

        Assert.Contains(diagnostics.All, mistake => mistake.Message.Contains(why, StringComparison.Ordinal));
    }

    [Fact]
    public void In_a_capture_events_tell_by_their_own_linear_address()
    {
        var set = RuleTexts.Load(Rules);
        List<EventRecord> records = [Access(1, Linear + 8), Access(2, Linear + 0x1000), Access(3, Linear + 0xfff)];
        using var capture = Captures.Open(Captures.Write(records, end: Captures.End()));
        var rules = Introspect.Rules.Capture.CaptureReplay.Run(capture, Array.Empty<IEventHandler>(), new Nothing(), new() { Rules = set }).Rules!;
        Assert.Equal(2, Assert.Single(rules).Matches);

        static EventRecord Access(ulong number, ulong address)
        {
            var request = Requests.MemAccess(0x77, MemAccessFlags.Write | MemAccessFlags.GlaValid | MemAccessFlags.FaultWithGla);
            request.MemAccess.Gla = address;
            return Captures.Record(number, in request);
        }
    }

    private static void Write(Iced.Intel.Assembler code)
    {
        code.mov(rbx, (long)Linear);
        code.mov(__byte_ptr[rbx + 8], 0x90);
    }

    private static void Move(IDomain domain, ulong frame) => Map(domain, 0, (frame << 12) | Present);

    // The entry of a page behind the one that the rule is about.
    private static void Map(IDomain domain, ulong page, ulong entry) =>
        domain.Memory.WritePhysical(new(PageTable + ((ActingGuest.EmptyFrame + page) * 8)), BitConverter.GetBytes(entry));

    private static List<string> Run(ActingGuest guest, TimeProvider clock, Action before, int changes = 0)
    {
        var channel = new AlertChannel();
        var rules = new DomainRules(RuleTexts.Load(Rules), guest.Domain, channel, clock: clock);
        using (var pump = new EventPump(guest.Domain, [new(rules.Handler)], new PumpOptions { RecordPolicy = RecordPolicy.None }))
        {
            pump.Start();
            var guard = new FloodGuard(pump, rules, Assert.Fail);
            before();
            Assert.True(SpinWait.SpinUntil(() => guard.Changes == changes, TimeSpan.FromSeconds(30)), "the pages were not looked up again");
            guest.Run();
            guard.DisposeAsync().AsTask().GetAwaiter().GetResult();
            pump.Stop();
        }

        var messages = new List<string>();
        while (channel.Reader.TryRead(out var alert))
        {
            messages.Add(alert.Message);
        }

        return messages;
    }

    private sealed class Nothing : Introspect.Rules.Capture.ICaptureSink
    {
        public void Event(in EventRecord record, in Introspect.Rules.Capture.CapturedAnswer answered)
        {
        }
    }

    private sealed class Few : ISymbolResolver
    {
        public IEnumerable<string> Names => ["start", "end", "twice"];

        public IReadOnlyList<NumberRange> RangesOf(string name) => name switch
        {
            "start" => [new(0x5000, 0x5fff)],
            "end" => [new(0x9000, 0x9fff)],
            "twice" => [new(0x1000, 0x10ff), new(0x3000, 0x30ff)],
            _ => [],
        };

        public bool TryFind(ulong address, [System.Diagnostics.CodeAnalysis.NotNullWhen(true)] out string? name, out ulong offset)
        {
            (name, offset) = (null, 0);
            return false;
        }
    }
}
