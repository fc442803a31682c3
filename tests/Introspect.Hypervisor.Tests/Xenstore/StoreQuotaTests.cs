using Introspect.Hypervisor.Core.Xenstore;

namespace Introspect.Hypervisor.Tests.Xenstore;

/// <summary>What one guest may have of what all share.</summary>
public sealed class StoreQuotaTests
{
    private readonly StoreBench _bench = new();
    private readonly StoreGuest _guest;

    public StoreQuotaTests() => _guest = _bench.Guest(5);

    [Fact]
    public void A_guest_owns_a_thousand_nodes()
    {
        var written = 0;
        string answer;
        do
        {
            answer = _guest.Ask(StoreMessage.Write, $"data/{written / 100}/{written}\0v");
            written += answer == "OK" ? 1 : 0;
        }
        while (answer == "OK" && written < 2000);

        Assert.Equal("!ENOSPC", answer);
        Assert.InRange(written, 900, 1000);
        Assert.Equal("!ENOSPC", _guest.Ask(StoreMessage.MakeDirectory, "attr/one/two/three\0"));
        Assert.Equal("!ENOENT", _guest.Ask(StoreMessage.Read, "attr/one\0"));
        Assert.Equal("OK", _guest.Ask(StoreMessage.Write, "data/0/0\0another"));
        Assert.Equal("OK", _guest.Ask(StoreMessage.Remove, "data/0\0"));
        Assert.Equal("OK", _guest.Ask(StoreMessage.Write, "attr/one/two/three\0v"));
    }

    [Theory]
    [InlineData(2000, "OK")]
    [InlineData(2040, "!ENOSPC")]
    [InlineData(4000, "!ENOSPC")]
    public void A_node_has_two_kibibytes_with_all_that_is_in_it(int length, string answer)
    {
        Assert.Equal(answer, _guest.Ask(StoreMessage.Write, $"data\0{new string('v', length)}"));
        Assert.Equal(answer, _guest.Ask(StoreMessage.Write, $"data/new\0{new string('v', length)}"));
    }

    [Fact]
    public void The_names_of_children_count()
    {
        var written = Enumerable.Range(0, 30).Count(n => _guest.Ask(StoreMessage.Write, $"data/{new string('n', 100)}{n}\0") == "OK");
        Assert.InRange(written, 15, 20);
    }

    [Theory]
    [InlineData(2047, "!EACCES")]
    [InlineData(2048, "!EINVAL")]
    [InlineData(3072, "!EINVAL")]
    [InlineData(3073, "!EINVAL")]
    [InlineData(4060, "!EINVAL")]
    public void A_path_has_two_kibibytes_below_its_domain(int length, string answer)
    {
        var name = "x" + new string('n', length);
        Assert.Equal(answer == "!EACCES" ? "!ENOENT" : answer, _guest.Ask(StoreMessage.Read, $"{name}\0"));
        Assert.Equal(answer == "!EACCES" ? "!ENOENT" : answer, _guest.Ask(StoreMessage.Read, $"/local/domain/5/{name}\0"));
        Assert.Equal(length == 2047 ? "!EINVAL" : answer, _guest.Ask(StoreMessage.Read, $"/x/{name}\0"));
    }

    [Fact]
    public void Domain_0_has_no_limits_but_messages_have()
    {
        for (var n = 0; n < 1500; n++)
        {
            _bench.Store.Write($"/local/domain/5/data/{n}", new string('v', 10));
        }

        Assert.Equal(1500, _bench.Store.List("/local/domain/5/data")!.Count);
        _bench.Store.Write("/local/domain/5/data", new string('v', 5000));
        Assert.Equal("!E2BIG", _guest.Ask(StoreMessage.Read, "data\0"));
    }
}
