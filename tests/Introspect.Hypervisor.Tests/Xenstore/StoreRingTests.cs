using Introspect.Hypervisor.Core.Xenstore;

namespace Introspect.Hypervisor.Tests.Xenstore;

/// <summary>The page that is shared with a guest which keeps to no rule.</summary>
public sealed class StoreRingTests
{
    private readonly StoreBench _bench = new();

    [Fact]
    public void It_says_what_it_has()
    {
        var guest = _bench.Guest(5);
        Assert.Equal(7u, guest[StoreGuest.Features]);
        Assert.Equal((0u, 0u), (guest[StoreGuest.Connection], guest[StoreGuest.Error]));
    }

    [Theory]
    [InlineData(0u)]
    [InlineData(1000u)]
    [InlineData(uint.MaxValue - 5)]
    public void Messages_go_over_the_end_of_the_ring_and_of_its_indices(uint start)
    {
        var guest = new StoreGuest(_bench.Store, 5, "guest", start: start);
        var value = new string('v', 1500);
        for (var n = 0; n < 20; n++)
        {
            Assert.Equal("OK", guest.Ask(StoreMessage.Write, $"data/{n}\0{value}{n}"));
            Assert.Equal($"{value}{n}", guest.Ask(StoreMessage.Read, $"data/{n}\0"));
        }
    }

    [Fact]
    public void A_message_may_come_byte_by_byte_or_with_others()
    {
        var guest = _bench.Guest(5);
        byte[] read = [.. StoreGuest.Header(2, 9, 0, 5), .. "name\0"u8];
        foreach (var part in read)
        {
            Assert.Empty(guest.Receive());
            guest.Send([part]);
        }

        Assert.Equal("guest"u8.ToArray(), Assert.Single(guest.Receive()).Content);
        guest.Send([.. read, .. read, .. read]);
        Assert.Equal(3, guest.Receive().Count);
    }

    [Theory]
    [InlineData(StoreGuest.RequestProducer, 1025u, 2u)]
    [InlineData(StoreGuest.RequestConsumer, 1u, 2u)]
    [InlineData(StoreGuest.RequestConsumer, 0x80000000u, 2u)]
    [InlineData(StoreGuest.ResponseConsumer, 1u, 2u)]
    [InlineData(StoreGuest.ResponseProducer, 5000u, 2u)]
    public void An_index_that_cannot_be_ends_the_connection_until_the_guest_begins_anew(int field, uint value, uint error)
    {
        var guest = _bench.Guest(5);
        guest.Ask(StoreMessage.Watch, "data\0t\0");
        guest.TakeEvents();
        for (var at = StoreGuest.RequestConsumer; at <= StoreGuest.ResponseProducer; at += 4)
        {
            guest[at] = 0;
        }

        guest[field] = value;
        if (field is StoreGuest.ResponseConsumer or StoreGuest.ResponseProducer)
        {
            _bench.Store.Write("/local/domain/5/data", "something to tell");
        }

        guest.Notify();
        Assert.Equal(error, guest[StoreGuest.Error]);
        var page = guest.Page.ToArray();
        guest.Notify();
        _bench.Store.Write("/local/domain/5/data", "more to tell");
        Assert.Equal(page, guest.Page.ToArray());

        guest[StoreGuest.Connection] = 1;
        guest.Notify();
        Assert.Equal((0u, 0u), (guest[StoreGuest.Connection], guest[StoreGuest.Error]));
        Assert.Equal("guest", guest.Ask(StoreMessage.Read, "name\0"));
        guest.Ask(StoreMessage.Write, "data\0v");
        Assert.Empty(guest.TakeEvents());
    }

    [Fact]
    public void A_payload_longer_than_the_protocol_allows_ends_the_connection()
    {
        var guest = _bench.Guest(5);
        guest.Send(StoreGuest.Header(2, 1, 0, 4097));
        Assert.Equal(3u, guest[StoreGuest.Error]);
        guest[StoreGuest.RequestProducer] = guest[StoreGuest.RequestConsumer] = 0;
        guest.Notify();
        Assert.Equal(0u, guest[StoreGuest.ResponseProducer]);
    }

    [Fact]
    public void Beginning_anew_forgets_half_a_message_and_open_transactions()
    {
        var guest = _bench.Guest(5);
        var id = guest.Ask(StoreMessage.TransactionStart, "\0");
        guest.Send(StoreGuest.Header(2, 1, 0, 500));
        guest[StoreGuest.Connection] = 1;
        guest.Notify();
        Assert.Equal(0u, guest[StoreGuest.Connection]);
        Assert.Equal("!ENOENT", guest.Ask(StoreMessage.TransactionEnd, "T\0", uint.Parse(id, System.Globalization.CultureInfo.InvariantCulture)));
    }

    [Fact]
    public void A_guest_that_does_not_read_is_not_read_from_either()
    {
        var guest = _bench.Guest(5);
        Assert.Equal("OK", guest.Ask(StoreMessage.Write, $"data\0{new string('v', 2000)}"));
        byte[] read = [.. StoreGuest.Header(2, 9, 0, 5), .. "data\0"u8];
        var asked = 0;
        while (guest[StoreGuest.RequestProducer] - guest[StoreGuest.RequestConsumer] <= 1024 - (uint)read.Length)
        {
            guest.Send(read);
            asked++;
            Assert.True(asked < 1000, "it reads and reads");
        }

        Assert.InRange(asked, 10, 70);
        Assert.Equal(asked, guest.Receive().Count);
        Assert.Equal("guest", guest.Ask(StoreMessage.Read, "name\0"));
    }

    [Fact]
    public void Events_that_nobody_reads_are_lost_beyond_a_measure_and_the_same_is_told_once()
    {
        var guest = _bench.Guest(5);
        var token = new string('t', 3000);
        guest.Ask(StoreMessage.Watch, $"data\0{token}\0");
        guest.TakeEvents();
        for (var n = 0; n < 1000; n++)
        {
            _bench.Store.Write($"/local/domain/5/data/{n}", "v");
            _bench.Store.Write("/local/domain/5/data/0", "v");
        }

        Assert.InRange(guest.TakeEvents().Length, 100, 200);
        _bench.Store.Write("/local/domain/5/data", "v");
        Assert.Equal([$"data {token}"], guest.TakeEvents());
    }

    [Fact]
    public void A_domain_that_stands_still_has_its_page_to_itself()
    {
        var guest = _bench.Guest(5);
        guest.Ask(StoreMessage.Watch, "data\0t\0");
        guest.TakeEvents();
        guest.IsStill = true;
        var page = guest.Page.ToArray();
        _bench.Store.Write("/local/domain/5/data", "v");
        guest.Notify();
        Assert.Equal(page, guest.Page.ToArray());
        guest.IsStill = false;
        guest.Notify();
        Assert.Equal(["data t"], guest.TakeEvents());
    }
}
