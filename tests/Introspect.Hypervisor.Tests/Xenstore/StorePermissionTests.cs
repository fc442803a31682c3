using Introspect.Hypervisor.Core.Xenstore;

namespace Introspect.Hypervisor.Tests.Xenstore;

/// <summary>What two guests may do with each other's nodes.</summary>
public sealed class StorePermissionTests
{
    private readonly StoreGuest _owner;
    private readonly StoreGuest _other;

    public StorePermissionTests()
    {
        var bench = new StoreBench();
        (_owner, _other) = (bench.Guest(5), bench.Guest(6));
        Assert.Equal("OK", _owner.Ask(StoreMessage.Write, "data/shared\0value"));
    }

    [Theory]
    [InlineData("n5\0", "!EACCES", "!EACCES")]
    [InlineData("n5\0r6\0", "value", "!EACCES")]
    [InlineData("n5\0w6\0", "!EACCES", "OK")]
    [InlineData("n5\0b6\0", "value", "OK")]
    [InlineData("r5\0", "value", "!EACCES")]
    [InlineData("w5\0", "!EACCES", "OK")]
    [InlineData("b5\0", "value", "OK")]
    [InlineData("b5\0n6\0", "!EACCES", "!EACCES")]
    public void An_entry_counts_before_what_all_others_may(string permissions, string read, string written)
    {
        Assert.Equal("OK", _owner.Ask(StoreMessage.SetPerms, $"data/shared\0{permissions}"));
        Assert.Equal(read, _other.Ask(StoreMessage.Read, "/local/domain/5/data/shared\0"));
        Assert.Equal(written, _other.Ask(StoreMessage.Write, "/local/domain/5/data/shared\0new"));
        Assert.Equal("!EACCES", _other.Ask(StoreMessage.SetPerms, "/local/domain/5/data/shared\0n5\0"));
    }

    [Fact]
    public void Whether_a_node_is_there_is_told_only_below_what_one_may_read()
    {
        Assert.Equal("!EACCES", _other.Ask(StoreMessage.Read, "/local/domain/5/data/nothing\0"));
        Assert.Equal("!EACCES", _other.Ask(StoreMessage.Read, "/local/domain/5/data/shared\0"));
        Assert.Equal("OK", _owner.Ask(StoreMessage.SetPerms, "data\0r5\0"));
        Assert.Equal("!ENOENT", _other.Ask(StoreMessage.Read, "/local/domain/5/data/nothing\0"));
        Assert.Equal("!EACCES", _other.Ask(StoreMessage.Read, "/local/domain/5/data/shared\0"));
    }

    [Fact]
    public void What_a_guest_makes_below_anothers_node_is_its_own()
    {
        Assert.Equal("OK", _owner.Ask(StoreMessage.SetPerms, "data\0n5\0b6\0"));
        Assert.Equal("OK", _other.Ask(StoreMessage.Write, "/local/domain/5/data/mine\0v"));
        Assert.Equal("n6 b6", _other.Ask(StoreMessage.GetPerms, "/local/domain/5/data/mine\0"));
        Assert.Equal("!EACCES", _owner.Ask(StoreMessage.Read, "data/mine\0"));
        Assert.Equal("OK", _owner.Ask(StoreMessage.Remove, "data\0"));
        Assert.Equal("!EACCES", _other.Ask(StoreMessage.Read, "/local/domain/5/data/mine\0"));
    }

    [Fact]
    public void Watches_tell_of_what_one_may_read_and_of_its_going()
    {
        foreach (var path in (string[])["/local/domain/5/data/shared", "/local/domain/5/name"])
        {
            Assert.Equal("OK", _other.Ask(StoreMessage.Watch, $"{path}\0t\0"));
        }

        Assert.Equal(2, _other.TakeEvents().Length);
        _owner.Ask(StoreMessage.Write, "data/shared\0secret");
        Assert.Empty(_other.TakeEvents());
        _owner.Ask(StoreMessage.SetPerms, "data/shared\0n5\0r6\0");
        Assert.Equal(["/local/domain/5/data/shared t"], _other.TakeEvents());
        _owner.Ask(StoreMessage.Write, "data/shared\0told");
        Assert.Equal(["/local/domain/5/data/shared t"], _other.TakeEvents());
        _owner.Ask(StoreMessage.Remove, "data/shared\0");
        Assert.Equal(["/local/domain/5/data/shared t"], _other.TakeEvents());
    }
}
