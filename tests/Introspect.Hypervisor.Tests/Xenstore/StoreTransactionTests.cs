using Introspect.Hypervisor.Core.Xenstore;

namespace Introspect.Hypervisor.Tests.Xenstore;

/// <summary>Changes that come all at once or not at all.</summary>
public sealed class StoreTransactionTests
{
    private readonly StoreBench _bench = new();
    private readonly StoreGuest _guest;

    public StoreTransactionTests() => _guest = _bench.Guest(5);

    private uint Start() => uint.Parse(_guest.Ask(StoreMessage.TransactionStart, "\0"), System.Globalization.CultureInfo.InvariantCulture);

    [Fact]
    public void What_is_written_is_there_for_others_at_the_end()
    {
        var id = Start();
        Assert.Equal("OK", _guest.Ask(StoreMessage.Write, "data/a\0one", id));
        Assert.Equal("OK", _guest.Ask(StoreMessage.MakeDirectory, "data/b/c\0", id));
        Assert.Equal("one", _guest.Ask(StoreMessage.Read, "data/a\0", id));
        Assert.Equal("a b", _guest.Ask(StoreMessage.Directory, "data\0", id));
        Assert.Equal("!ENOENT", _guest.Ask(StoreMessage.Read, "data/a\0"));
        Assert.Equal("OK", _guest.Ask(StoreMessage.TransactionEnd, "T\0", id));
        Assert.Equal("one", _guest.Ask(StoreMessage.Read, "data/a\0"));
        Assert.Equal("c", _guest.Ask(StoreMessage.Directory, "data/b\0"));
        Assert.Equal("!ENOENT", _guest.Ask(StoreMessage.Read, "data/a\0", id));
    }

    [Fact]
    public void What_is_given_up_never_was()
    {
        var id = Start();
        _guest.Ask(StoreMessage.Write, "data/a\0one", id);
        Assert.Equal("OK", _guest.Ask(StoreMessage.TransactionEnd, "F\0", id));
        Assert.Equal("!ENOENT", _guest.Ask(StoreMessage.Read, "data/a\0"));
    }

    [Theory]
    [InlineData("control/shutdown", "!EAGAIN")]
    [InlineData("data", "OK")]
    [InlineData("control/sysrq", "OK")]
    public void A_change_meanwhile_to_what_was_looked_at_is_told(string changed, string end)
    {
        // As Linux acknowledges that it is to shut down.
        var id = Start();
        Assert.Equal("", _guest.Ask(StoreMessage.Read, "control/shutdown\0", id));
        _bench.Store.Write($"/local/domain/5/{changed}", "poweroff");
        Assert.Equal("OK", _guest.Ask(StoreMessage.Write, "control/shutdown\0", id));
        Assert.Equal(end, _guest.Ask(StoreMessage.TransactionEnd, "T\0", id));
        Assert.Equal(end == "OK" ? "" : "poweroff", _guest.Ask(StoreMessage.Read, "control/shutdown\0"));
    }

    [Fact]
    public void A_node_that_comes_or_goes_meanwhile_is_a_change()
    {
        var (first, second) = (Start(), Start());
        _guest.Ask(StoreMessage.Read, "data/new\0", first);
        _guest.Ask(StoreMessage.Read, "error\0", second);
        _guest.Ask(StoreMessage.Write, "data/new\0v");
        _guest.Ask(StoreMessage.Remove, "error\0");
        Assert.Equal("!EAGAIN", _guest.Ask(StoreMessage.TransactionEnd, "T\0", first));
        Assert.Equal("!EAGAIN", _guest.Ask(StoreMessage.TransactionEnd, "T\0", second));
    }

    [Fact]
    public void Watches_tell_of_it_once_it_is_done()
    {
        Assert.Equal("OK", _guest.Ask(StoreMessage.Watch, "data\0t\0"));
        _guest.TakeEvents();
        _guest.Ask(StoreMessage.Write, "data/gone\0v");
        _guest.TakeEvents();
        var id = Start();
        _guest.Ask(StoreMessage.Write, "data/a\0" + "1", id);
        _guest.Ask(StoreMessage.Write, "data/a\0" + "2", id);
        _guest.Ask(StoreMessage.Remove, "data/gone\0", id);
        Assert.Empty(_guest.TakeEvents());
        _guest.Ask(StoreMessage.TransactionEnd, "T\0", id);
        Assert.Equal(["data/a t", "data/gone t"], _guest.TakeEvents().Order());
    }

    [Fact]
    public void There_are_ten_at_a_time_and_none_in_another()
    {
        var ids = Enumerable.Range(0, 10).Select(_ => Start()).ToArray();
        Assert.Equal(10, ids.Distinct().Count());
        Assert.Equal("!ENOSPC", _guest.Ask(StoreMessage.TransactionStart, "\0"));
        Assert.Equal("!EBUSY", _guest.Ask(StoreMessage.TransactionStart, "\0", ids[0]));
        Assert.Equal("OK", _guest.Ask(StoreMessage.ResetWatches, "\0"));
        Assert.Equal("!ENOENT", _guest.Ask(StoreMessage.TransactionEnd, "T\0", ids[0]));
        Assert.DoesNotContain(Start(), ids);
    }

    [Fact]
    public void One_that_looks_at_too_much_comes_to_nothing()
    {
        var id = Start();
        Assert.Equal("OK", _guest.Ask(StoreMessage.Write, "data/a\0v", id));
        var answers = Enumerable.Range(0, 1100).Select(n => _guest.Ask(StoreMessage.Read, $"data/x{n}\0", id)).ToArray();
        Assert.Equal("!ENOENT", answers[0]);
        Assert.Equal("!ENOSPC", answers[^1]);
        Assert.Equal("!ENOMEM", _guest.Ask(StoreMessage.TransactionEnd, "T\0", id));
        Assert.Equal("!ENOENT", _guest.Ask(StoreMessage.Read, "data/a\0"));
    }

    [Fact]
    public void What_two_of_them_make_together_keeps_to_the_quota()
    {
        var (first, second) = (Start(), Start());
        for (var n = 0; n < 600; n++)
        {
            Assert.Equal("OK", _guest.Ask(StoreMessage.Write, $"data/a/{n / 100}/{n}\0", first));
            Assert.Equal("OK", _guest.Ask(StoreMessage.Write, $"attr/a/{n / 100}/{n}\0", second));
        }

        Assert.Equal("OK", _guest.Ask(StoreMessage.TransactionEnd, "T\0", first));
        Assert.Equal("!ENOSPC", _guest.Ask(StoreMessage.TransactionEnd, "T\0", second));
        Assert.Equal("", _guest.Ask(StoreMessage.Directory, "attr\0"));
    }
}
