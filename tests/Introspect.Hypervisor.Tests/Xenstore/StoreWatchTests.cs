using Introspect.Hypervisor.Core.Xenstore;

namespace Introspect.Hypervisor.Tests.Xenstore;

/// <summary>Who is told of what.</summary>
public sealed class StoreWatchTests
{
    private readonly StoreBench _bench = new();
    private readonly StoreGuest _guest;

    public StoreWatchTests() => _guest = _bench.Guest(5);

    [Theory]
    [InlineData("control/shutdown", "control/shutdown")]
    [InlineData("/local/domain/5/control", "/local/domain/5/control/shutdown")]
    [InlineData("/", "/local/domain/5/control/shutdown")]
    [InlineData("/local/domain/5/control/shutdown", "/local/domain/5/control/shutdown")]
    public void It_fires_at_once_and_for_each_change_there_or_below(string path, string told)
    {
        Assert.Equal("OK", _guest.Ask(StoreMessage.Watch, $"{path}\0token\0"));
        Assert.Equal([$"{path} token"], _guest.TakeEvents());
        var signals = _guest.Signals;
        _bench.Store.Write("/local/domain/5/control/shutdown", "poweroff");
        Assert.True(_guest.Signals > signals);
        Assert.Equal([$"{told} token"], _guest.TakeEvents());
        _guest.Ask(StoreMessage.Unwatch, $"{path}\0token\0");
        _bench.Store.Write("/local/domain/5/control/shutdown", "reboot");
        Assert.Empty(_guest.TakeEvents());
    }

    [Fact]
    public void What_is_beside_it_or_above_it_is_not_told()
    {
        _guest.Ask(StoreMessage.Watch, "data/a\0t\0");
        _guest.TakeEvents();
        _guest.Ask(StoreMessage.Write, "data/ab\0v");
        _guest.Ask(StoreMessage.Write, "data\0v");
        Assert.Empty(_guest.TakeEvents());
    }

    [Fact]
    public void What_goes_with_a_node_above_is_told_by_its_own_name()
    {
        _guest.Ask(StoreMessage.Write, "data/a/b\0v");
        _guest.Ask(StoreMessage.Watch, "data/a/b\0below\0");
        _guest.Ask(StoreMessage.Watch, "data\0above\0");
        _guest.TakeEvents();
        _guest.Ask(StoreMessage.Remove, "data/a\0");
        Assert.Equal(["data/a above", "data/a/b below"], _guest.TakeEvents().Order());
    }

    [Fact]
    public void A_depth_keeps_what_is_far_below_away()
    {
        _guest.Ask(StoreMessage.Watch, "data\0zero\0" + "0\0");
        _guest.Ask(StoreMessage.Watch, "data\0one\0" + "1\0");
        _guest.TakeEvents();
        _guest.Ask(StoreMessage.Write, "data/a/b\0v");
        Assert.Empty(_guest.TakeEvents());
        _guest.Ask(StoreMessage.Write, "data/a\0v");
        Assert.Equal(["data/a one"], _guest.TakeEvents());
        _guest.Ask(StoreMessage.Write, "data\0v");
        Assert.Equal(["data one", "data zero"], _guest.TakeEvents().Order());
    }

    [Fact]
    public void The_same_one_twice_is_refused_and_so_is_one_too_many()
    {
        Assert.Equal("OK", _guest.Ask(StoreMessage.Watch, "data\0t\0"));
        Assert.Equal("!EEXIST", _guest.Ask(StoreMessage.Watch, "data\0t\0"));
        Assert.Equal("!EEXIST", _guest.Ask(StoreMessage.Watch, "/local/domain/5/data\0t\0"));
        for (var n = 1; n < 128; n++)
        {
            Assert.Equal("OK", _guest.Ask(StoreMessage.Watch, $"data\0t{n}\0"));
        }

        Assert.Equal("!ENOSPC", _guest.Ask(StoreMessage.Watch, "data\0more\0"));
        Assert.Equal(128, _guest.TakeEvents().Length);
        Assert.Equal("OK", _guest.Ask(StoreMessage.ResetWatches, "\0"));
        _guest.Ask(StoreMessage.Write, "data\0v");
        Assert.Empty(_guest.TakeEvents());
        Assert.Equal("OK", _guest.Ask(StoreMessage.Watch, "data\0more\0"));
    }

    [Theory]
    [InlineData("@introduceDomain")]
    [InlineData("@releaseDomain")]
    [InlineData("@other")]
    [InlineData("@")]
    [InlineData("@n\u00e4me of//none/")]
    public void A_special_name_can_be_watched_and_tells_a_guest_nothing_but_itself(string name)
    {
        Assert.Equal("OK", _guest.Ask(StoreMessage.Watch, $"{name}\0token\0"));
        Assert.Equal([$"{name} token"], _guest.TakeEvents());
        Assert.Equal("!EEXIST", _guest.Ask(StoreMessage.Watch, $"{name}\0token\0"));
        _bench.Guest(6);
        _bench.Store.Rename(5, "other");
        _bench.Store.Release(6);
        Assert.Empty(_guest.TakeEvents());
        Assert.False(_bench.Store.IsWatchedBy(5, "/local/domain/5/control/shutdown"));
        Assert.Equal("OK", _guest.Ask(StoreMessage.Unwatch, $"{name}\0token\0"));
        Assert.Equal("!ENOENT", _guest.Ask(StoreMessage.Unwatch, $"{name}\0token\0"));
    }

    [Fact]
    public void The_answer_comes_before_the_first_event_and_both_are_as_the_protocol_has_them()
    {
        _guest.Send([.. StoreGuest.Header(4, 9, 0, 17), .. "@releaseDomain\0t\0"u8]);
        byte[] expected =
        [
            .. StoreGuest.Header(4, 9, 0, 3), .. "OK\0"u8,
            .. StoreGuest.Header(15, 0, 0, 17), .. "@releaseDomain\0t\0"u8,
        ];
        Assert.Equal(expected, _guest.Page.Slice(1024, (int)_guest[StoreGuest.ResponseProducer]).ToArray());
    }

    [Theory]
    [InlineData(2048, "OK")]
    [InlineData(2049, "!EINVAL")]
    public void A_special_name_is_no_longer_than_a_relative_path(int length, string answer)
    {
        var name = "@" + new string('x', length - 1);
        Assert.Equal(answer, _guest.Ask(StoreMessage.Watch, $"{name}\0t\0"));
        Assert.Equal(answer == "OK" ? [$"{name} t"] : [], _guest.TakeEvents());
        Assert.Equal(answer == "OK" ? "OK" : "!ENOENT", _guest.Ask(StoreMessage.Unwatch, $"{name}\0t\0"));
    }

    [Theory]
    [InlineData("@releaseDomain", 2)]
    [InlineData("data", 1)]
    public void Of_events_that_wait_only_special_ones_are_told_twice(string name, int times)
    {
        byte[] path = System.Text.Encoding.ASCII.GetBytes($"{name}\0t\0");
        byte[] watch = [.. StoreGuest.Header(4, 9, 0, (uint)path.Length), .. path];
        byte[] unwatch = [.. StoreGuest.Header(5, 9, 0, (uint)path.Length), .. path];

        // Answers that fill the ring, so that what comes behind them waits.
        byte[] read = [.. StoreGuest.Header(2, 9, 0, 10), .. "data/long\0"u8];
        Assert.Equal("OK", _guest.Ask(StoreMessage.Write, $"data/long\0{new string('v', 1900)}"));
        _guest.Send([.. read, .. watch, .. unwatch, .. watch]);
        Assert.Equal(4, _guest.Receive().Count);
        Assert.Equal(Enumerable.Repeat($"{name} t", times), _guest.TakeEvents());
    }

    [Fact]
    public void Domain_0_is_told_in_this_process_as_long_as_it_wants()
    {
        var told = new List<string>();
        using (_bench.Store.Watch("/local/domain/5/control/shutdown", told.Add))
        {
            _bench.Store.Write("/local/domain/5/control/shutdown", "poweroff");
            _guest.Ask(StoreMessage.Write, "control/shutdown\0");
            _guest.Ask(StoreMessage.Write, "control/sysrq\0x");
        }

        _guest.Ask(StoreMessage.Write, "control/shutdown\0x");
        Assert.Equal(["/local/domain/5/control/shutdown", "/local/domain/5/control/shutdown"], told);
    }

    [Fact]
    public void Who_listens_is_known()
    {
        Assert.False(_bench.Store.IsWatchedBy(5, "/local/domain/5/control/shutdown"));
        _guest.Ask(StoreMessage.Watch, "control/shutdown\0t\0");
        Assert.True(_bench.Store.IsWatchedBy(5, "/local/domain/5/control/shutdown"));
        Assert.False(_bench.Store.IsWatchedBy(6, "/local/domain/5/control/shutdown"));
    }
}
