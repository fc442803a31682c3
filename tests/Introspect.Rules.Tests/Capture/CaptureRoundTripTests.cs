using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Tests.House;
using Introspect.Rules.Capture;
using Introspect.Rules.Tests.Mocks;

namespace Introspect.Rules.Tests.Capture;

public class CaptureRoundTripTests
{
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void What_is_written_is_read(bool compress)
    {
        var records = Captures.Random(new(7), 3000);
        var file = Captures.Write(records, new() { Compress = compress }, Captures.End());

        using var capture = Captures.Open(file);
        Captures.AssertSame(records, Captures.ReadEvents(capture));
        Assert.Equal(Captures.End(), capture.End);
        Assert.Equal((0, file.Length), (capture.CutOffBytes, capture.Position));
        Assert.True(capture.Blocks > 3);
    }

    [Fact]
    public void The_header_is_read_as_it_was_written()
    {
        using var capture = Captures.Open(Captures.Write([]));
        var (expected, actual) = (Captures.Header(), capture.Header);
        Assert.Equal(expected.Domain, actual.Domain);
        Assert.Equal((expected.Recorder, expected.HypervisorName, expected.HypervisorVersion), (actual.Recorder, actual.HypervisorName, actual.HypervisorVersion));
        Assert.Equal((expected.Started, expected.MayDrop, 1, 7u), (actual.Started, actual.MayDrop, actual.FormatVersion, actual.InterfaceVersion));
        Assert.Equal(expected.Windows, actual.Windows);
        Assert.Equal(expected.Watched.Events, actual.Watched.Events);
        Assert.Equal(expected.Watched.Memory, actual.Watched.Memory);
        Assert.Equal(expected.Watched.Breakpoints, actual.Watched.Breakpoints);
        Assert.Equal(expected.Watched.AddressSpaces, actual.Watched.AddressSpaces);
        Assert.True(actual.Watched.Interrupts);
        Assert.Null(capture.End);
    }

    [Fact]
    public void Gaps_console_and_symbols_keep_their_places()
    {
        using var stream = new MemoryStream();
        using (var writer = new CaptureWriter(stream, Captures.Header()))
        {
            var (first, late) = (Captures.Record(3, Requests.Cpuid()), Captures.Record(10, Requests.Cpuid()));
            writer.TryWriteSymbol(Requests.Rip, "switch_to", 0x1f);
            writer.TryWrite(in first);
            writer.TryWriteConsole(Captures.Started.AddSeconds(1), "grüße\tvon hier");
            writer.TryWrite(in late);
            writer.Complete(Captures.End() with { Dropped = 8 });
        }

        using var capture = Captures.Open(stream.ToArray());
        Assert.Equal((CaptureItem.Gap, 2ul), (capture.Read(), capture.Lost));
        Assert.Equal((CaptureItem.Event, 3ul), (capture.Read(), capture.Event.Sequence));
        Assert.Equal(new CapturedSymbol("switch_to", 0x1f), capture.Symbols[Requests.Rip]);
        Assert.Equal((CaptureItem.Console, "grüße\tvon hier", Captures.Started.AddSeconds(1)), (capture.Read(), capture.Line, capture.LineTime));
        Assert.Equal((CaptureItem.Gap, 6ul), (capture.Read(), capture.Lost));
        Assert.Equal((CaptureItem.Event, 10ul), (capture.Read(), capture.Event.Sequence));
        Assert.Equal(CaptureItem.None, capture.Read());
        Assert.Equal(8, capture.End!.Dropped);
    }

    [Fact]
    public void Texts_that_are_too_long_are_cut_off_and_control_characters_do_not_reach_a_terminal()
    {
        using var stream = new MemoryStream();
        using (var writer = new CaptureWriter(stream, Captures.Header()))
        {
            var record = Captures.Record(1, Requests.Cpuid(), Introspect.Rules.Handlers.Verdict.Deny, "evil\u001b[2J");
            writer.TryWrite(in record);
            writer.TryWriteConsole(Captures.Started, new string('€', 100_000));
        }

        using var capture = Captures.Open(stream.ToArray());
        capture.Read();
        Assert.Equal("evil\ufffd[2J", capture.Event.Handler);
        capture.Read();
        Assert.Equal(new string('€', (48 << 10) / 3), capture.Line);
    }

    [Fact]
    public void Events_that_resemble_each_other_take_little_room()
    {
        var records = new List<Introspect.Rules.Pump.EventRecord>();
        for (var i = 1ul; i <= 10_000; i++)
        {
            var request = Requests.ControlRegister(ControlRegisterIndex.Cr3, i << 12, (i + 1) << 12);
            request.Registers.Rip += i * 4;
            records.Add(Captures.Record(i, in request));
        }

        Assert.InRange(Captures.Write(records).Length, 0, 10_000 * 8);
    }

    [Fact]
    public void A_block_is_written_when_it_has_waited_long_enough()
    {
        var clock = new ManualClock();
        using var stream = new MemoryStream();
        using var writer = new CaptureWriter(stream, Captures.Header(), new() { Clock = clock, BlockAge = TimeSpan.FromSeconds(1) });
        var record = Captures.Record(1, Requests.Cpuid());
        writer.TryWrite(in record);
        clock.Advance(TimeSpan.FromMilliseconds(999));
        writer.FlushIfDue();
        Assert.Empty(Captures.ReadEvents(stream.ToArray()));
        clock.Advance(TimeSpan.FromMilliseconds(1));
        writer.FlushIfDue();
        Assert.Single(Captures.ReadEvents(stream.ToArray()));
    }

    [Theory]
    [InlineData(64 << 10)]
    [InlineData(100_001)]
    [InlineData(700_000)]
    public void The_limit_of_the_size_is_kept_and_what_was_taken_is_there(long limit)
    {
        var records = Captures.Random(new(11), 5000);
        using var stream = new MemoryStream();
        var taken = 0;
        using (var writer = new CaptureWriter(stream, Captures.Header(), new() { MaxBytes = limit }))
        {
            while (writer.TryWrite(records[taken]))
            {
                taken++;
            }

            Assert.True(writer.IsFull);
            Assert.False(writer.TryWriteConsole(Captures.Started, "more"));
            writer.Complete(Captures.End());
        }

        Assert.InRange(stream.Length, limit / 2, limit);
        using var capture = Captures.Open(stream.ToArray());
        Captures.AssertSame(records[..taken], Captures.ReadEvents(capture));
        Assert.NotNull(capture.End);
    }

    [Fact]
    public void Writing_an_event_allocates_nothing()
    {
        var records = Captures.Random(new(13), 4000);
        using var writer = new CaptureWriter(Stream.Null, Captures.Header());
        Assert.Equal(0, Allocation.LeastOf(() =>
        {
            foreach (ref readonly var record in System.Runtime.InteropServices.CollectionsMarshal.AsSpan(records))
            {
                writer.TryWrite(in record);
            }
        }));
    }
}
