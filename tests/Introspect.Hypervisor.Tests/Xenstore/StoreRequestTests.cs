using Introspect.Hypervisor.Core.Xenstore;

namespace Introspect.Hypervisor.Tests.Xenstore;

/// <summary>Each request, its answer and its errors, as a guest sees them.</summary>
public sealed class StoreRequestTests
{
    private readonly StoreBench _bench = new();

    [Theory]
    [InlineData((uint)StoreMessage.Read, "domid\0", "5")]
    [InlineData((uint)StoreMessage.Read, "name\0", "guest")]
    [InlineData((uint)StoreMessage.Read, "vm\0", "/vm/00000005-0002-0003-0405-060708090a0b")]
    [InlineData((uint)StoreMessage.Read, "/vm/00000005-0002-0003-0405-060708090a0b/name\0", "guest")]
    [InlineData((uint)StoreMessage.Read, "/vm/00000005-0002-0003-0405-060708090a0b/uuid\0", "00000005-0002-0003-0405-060708090a0b")]
    [InlineData((uint)StoreMessage.Read, "memory/target\0", "65536")]
    [InlineData((uint)StoreMessage.Read, "memory/static-max\0", "65536")]
    [InlineData((uint)StoreMessage.Read, "cpu/1/availability\0", "online")]
    [InlineData((uint)StoreMessage.Read, "console/ring-ref\0", "1044479")]
    [InlineData((uint)StoreMessage.Read, "console/port\0", "2")]
    [InlineData((uint)StoreMessage.Read, "console/type\0", "xenconsoled")]
    [InlineData((uint)StoreMessage.Read, "console/limit\0", "1048576")]
    [InlineData((uint)StoreMessage.Read, "console/output\0", "pty")]
    [InlineData((uint)StoreMessage.Read, "store/ring-ref\0", "1044476")]
    [InlineData((uint)StoreMessage.Read, "store/port\0", "1")]
    [InlineData((uint)StoreMessage.Read, "control/platform-feature-multiprocessor-suspend\0", "1")]
    [InlineData((uint)StoreMessage.Read, "control/platform-feature-xs_reset_watches\0", "1")]
    [InlineData((uint)StoreMessage.Read, "/local/domain/5/control/shutdown\0", "")]
    [InlineData((uint)StoreMessage.Directory, "memory\0", "static-max target")]
    [InlineData((uint)StoreMessage.Directory, "device\0", "suspend")]
    [InlineData((uint)StoreMessage.Directory, "data\0", "")]
    [InlineData((uint)StoreMessage.GetPerms, "control\0", "n0 r5")]
    [InlineData((uint)StoreMessage.GetPerms, "control/shutdown\0", "n5")]
    [InlineData((uint)StoreMessage.GetPerms, "/local/domain/5\0", "n0 r5")]
    [InlineData((uint)StoreMessage.GetPerms, "data\0", "n5")]
    [InlineData((uint)StoreMessage.GetDomainPath, "7\0", "/local/domain/7")]
    [InlineData((uint)StoreMessage.TransactionStart, "\0", "1")]
    [InlineData((uint)StoreMessage.ResetWatches, "\0", "OK")]
    [InlineData((uint)StoreMessage.MakeDirectory, "data\0", "OK")]
    [InlineData((uint)StoreMessage.Remove, "data/nothing\0", "OK")]
    [InlineData((uint)StoreMessage.Write, "data\0", "OK")]
    [InlineData((uint)StoreMessage.Watch, "data\0t\0", "OK")]
    public void What_is_asked_at_first_is_answered(uint type, string payload, string answer) =>
        Assert.Equal(answer, _bench.Guest(5).Ask((StoreMessage)type, payload));

    [Theory]
    [InlineData((uint)StoreMessage.Read, "data/nothing\0", "ENOENT")]
    [InlineData((uint)StoreMessage.Read, "/local/domain/9/name\0", "EACCES")]
    [InlineData((uint)StoreMessage.Read, "/nothing\0", "EACCES")]
    [InlineData((uint)StoreMessage.Read, "", "EINVAL")]
    [InlineData((uint)StoreMessage.Read, "\0", "EINVAL")]
    [InlineData((uint)StoreMessage.Read, "name", "EINVAL")]
    [InlineData((uint)StoreMessage.Read, "name\0name\0", "EINVAL")]
    [InlineData((uint)StoreMessage.Read, "data//a\0", "EINVAL")]
    [InlineData((uint)StoreMessage.Read, "data/\0", "EINVAL")]
    [InlineData((uint)StoreMessage.Read, "da ta\0", "EINVAL")]
    [InlineData((uint)StoreMessage.Read, "d\u00e4ta\0", "EINVAL")]
    [InlineData((uint)StoreMessage.Read, "@releaseDomain\0", "EINVAL")]
    [InlineData((uint)StoreMessage.Directory, "/\0", "EACCES")]
    [InlineData((uint)StoreMessage.Directory, "/local/domain\0", "EACCES")]
    [InlineData((uint)StoreMessage.Directory, "nothing\0", "ENOENT")]
    [InlineData((uint)StoreMessage.GetPerms, "nothing\0", "ENOENT")]
    [InlineData((uint)StoreMessage.DirectoryPart, "data\0", "EINVAL")]
    [InlineData((uint)StoreMessage.DirectoryPart, "data\0x\0", "EINVAL")]
    [InlineData((uint)StoreMessage.DirectoryPart, "nothing\0" + "0\0", "ENOENT")]
    [InlineData((uint)StoreMessage.Write, "data", "EINVAL")]
    [InlineData((uint)StoreMessage.Write, "name\0other", "EACCES")]
    [InlineData((uint)StoreMessage.Write, "new\0value", "EACCES")]
    [InlineData((uint)StoreMessage.Write, "/local/domain/9/x\0value", "EACCES")]
    [InlineData((uint)StoreMessage.MakeDirectory, "new\0", "EACCES")]
    [InlineData((uint)StoreMessage.MakeDirectory, "", "EINVAL")]
    [InlineData((uint)StoreMessage.Remove, "name\0", "EACCES")]
    [InlineData((uint)StoreMessage.Remove, "/\0", "EACCES")]
    [InlineData((uint)StoreMessage.Remove, "data/a/b\0", "ENOENT")]
    [InlineData((uint)StoreMessage.SetPerms, "data\0", "EINVAL")]
    [InlineData((uint)StoreMessage.SetPerms, "data\0x5\0", "EINVAL")]
    [InlineData((uint)StoreMessage.SetPerms, "data\0n5", "EINVAL")]
    [InlineData((uint)StoreMessage.SetPerms, "data\0n\0", "EINVAL")]
    [InlineData((uint)StoreMessage.SetPerms, "data\0n0\0", "EPERM")]
    [InlineData((uint)StoreMessage.SetPerms, "data\0n99\0", "ENOENT")]
    [InlineData((uint)StoreMessage.SetPerms, "name\0n5\0", "EACCES")]
    [InlineData((uint)StoreMessage.SetPerms, "data\0n5\0r0\0r0\0r0\0r0\0r0\0", "ENOSPC")]
    [InlineData((uint)StoreMessage.Watch, "data\0", "EINVAL")]
    [InlineData((uint)StoreMessage.Watch, "da ta\0t\0", "EINVAL")]
    [InlineData((uint)StoreMessage.Watch, "data\0t\0-1\0", "EINVAL")]
    [InlineData((uint)StoreMessage.Watch, "data\0t\0" + "1\0more\0", "EINVAL")]
    [InlineData((uint)StoreMessage.GetPerms, "@releaseDomain\0", "EINVAL")]
    [InlineData((uint)StoreMessage.Unwatch, "data\0t\0", "ENOENT")]
    [InlineData((uint)StoreMessage.Unwatch, "data\0", "EINVAL")]
    [InlineData((uint)StoreMessage.Unwatch, "da ta\0t\0", "ENOENT")]
    [InlineData((uint)StoreMessage.Unwatch, "@releaseDomain\0t\0", "ENOENT")]
    [InlineData((uint)StoreMessage.TransactionEnd, "T\0", "ENOENT")]
    [InlineData((uint)StoreMessage.TransactionEnd, "X\0", "EINVAL")]
    [InlineData((uint)StoreMessage.GetDomainPath, "x\0", "EINVAL")]
    [InlineData((uint)StoreMessage.GetDomainPath, "70000\0", "EINVAL")]
    [InlineData((uint)StoreMessage.IsDomainIntroduced, "5\0", "EACCES")]
    [InlineData((uint)StoreMessage.IsDomainIntroduced, "32752\0", "EACCES")]
    [InlineData((uint)StoreMessage.IsDomainIntroduced, "", "EACCES")]
    [InlineData((uint)StoreMessage.Control, "help\0", "EACCES")]
    [InlineData((uint)StoreMessage.Introduce, "6\0" + "1\0" + "1\0", "EACCES")]
    [InlineData((uint)StoreMessage.Release, "5\0", "EACCES")]
    [InlineData((uint)StoreMessage.Resume, "5\0", "EACCES")]
    [InlineData((uint)StoreMessage.SetTarget, "5\0" + "0\0", "EACCES")]
    [InlineData((uint)StoreMessage.WatchEvent, "data\0t\0", "ENOSYS")]
    [InlineData((uint)StoreMessage.Error, "EIO\0", "ENOSYS")]
    [InlineData(20u, "5\0", "ENOSYS")]
    [InlineData(23u, "", "ENOSYS")]
    [InlineData(0xffffu, "", "ENOSYS")]
    [InlineData(uint.MaxValue, "", "ENOSYS")]
    public void What_cannot_be_done_is_an_error_by_name(uint type, string payload, string error) =>
        Assert.Equal($"!{error}", _bench.Guest(5).Ask((StoreMessage)type, payload));

    [Theory]
    [InlineData((uint)StoreMessage.IsDomainIntroduced, "!EACCES")]
    [InlineData((uint)StoreMessage.Control, "!EACCES")]
    [InlineData((uint)StoreMessage.WatchEvent, "!ENOSYS")]
    [InlineData(23u, "!ENOSYS")]
    [InlineData(24u, "!ENOSYS")]
    [InlineData((uint)StoreMessage.ResetWatches, "!ENOENT")]
    public void What_no_guest_may_ask_is_refused_before_its_transaction_is_looked_for(uint type, string answer) =>
        Assert.Equal(answer, _bench.Guest(5).Ask((StoreMessage)type, "5\0", transaction: 77));

    [Theory]
    [InlineData((uint)StoreMessage.Read, "name\0")]
    [InlineData((uint)StoreMessage.TransactionEnd, "T\0")]
    public void A_transaction_that_is_not_open_is_not_found(uint type, string payload) =>
        Assert.Equal("!ENOENT", _bench.Guest(5).Ask((StoreMessage)type, payload, transaction: 77));

    [Fact]
    public void Values_are_bytes_and_paths_grow_as_they_are_written()
    {
        var guest = _bench.Guest(5);
        Assert.Equal("OK", guest.Ask(StoreMessage.Write, "data/a/b/c\0one\0two\0"));
        Assert.Equal("one\0two\0"u8.ToArray(), guest.AskRaw(2, "data/a/b/c\0"u8.ToArray(), 0, out _));
        Assert.Equal("b", guest.Ask(StoreMessage.Directory, "data/a\0"));
        Assert.Equal("n5", guest.Ask(StoreMessage.GetPerms, "/local/domain/5/data/a/b\0"));
        Assert.Equal("OK", guest.Ask(StoreMessage.MakeDirectory, "data/a/d\0"));
        Assert.Equal("OK", guest.Ask(StoreMessage.MakeDirectory, "data/a/b/c\0"));
        Assert.Equal("one two", guest.Ask(StoreMessage.Read, "data/a/b/c\0"));
        Assert.Equal("b d", guest.Ask(StoreMessage.Directory, "data/a\0"));
        Assert.Equal("OK", guest.Ask(StoreMessage.Remove, "data/a/b\0"));
        Assert.Equal("!ENOENT", guest.Ask(StoreMessage.Read, "data/a/b/c\0"));
        Assert.Equal("d", guest.Ask(StoreMessage.Directory, "data/a\0"));
    }

    [Fact]
    public void A_long_list_comes_in_parts_of_one_generation()
    {
        var guest = _bench.Guest(5);
        var names = Enumerable.Range(0, 300).Select(static n => $"{n:d20}").ToArray();
        foreach (var name in names)
        {
            _bench.Store.Write($"/local/domain/5/data/{name}", "");
        }

        Assert.Equal("!E2BIG", guest.Ask(StoreMessage.Directory, "data\0"));
        var found = new List<string>();
        var generations = new HashSet<string>();
        for (var offset = 0; found.Count == 0 || found[^1].Length != 0;)
        {
            found.RemoveAll(static name => name.Length == 0);
            var answer = System.Text.Encoding.ASCII.GetString(guest.AskRaw(22, System.Text.Encoding.ASCII.GetBytes($"data\0{offset}\0"), 0, out var type));
            Assert.Equal(22u, type);
            var parts = answer.Split('\0')[..^1];
            generations.Add(parts[0]);
            found.AddRange(parts[1..]);
            offset = found.Sum(static name => name.Length == 0 ? 0 : name.Length + 1);
        }

        Assert.Equal([.. names, ""], found);
        Assert.Single(generations);
        var behind = guest.Ask(StoreMessage.DirectoryPart, "data\0" + "99999\0");
        Assert.Equal(generations.Single(), behind);
    }

    [Fact]
    public void Another_name_is_to_be_read_at_once()
    {
        var guest = _bench.Guest(5);
        _bench.Store.Rename(5, "other");
        Assert.Equal("other", guest.Ask(StoreMessage.Read, "name\0"));
        Assert.Equal("other", guest.Ask(StoreMessage.Read, "/vm/00000005-0002-0003-0405-060708090a0b/name\0"));
    }

    [Fact]
    public void Another_uuid_is_where_the_nodes_are_at_once_and_what_others_have_by_the_old_one_stays()
    {
        var (guest, other) = (_bench.Guest(5), _bench.Guest(6));
        Guid Uuid(ushort domain) => new(domain, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11);
        Assert.Equal("OK", guest.Ask(StoreMessage.Watch, "vm\0t\0"));
        guest.TakeEvents();
        _bench.Store.SetUuid(5, Uuid(5));
        Assert.Empty(guest.TakeEvents());
        _bench.Store.SetUuid(5, Uuid(7));
        Assert.Equal(["vm t"], guest.TakeEvents());
        Assert.Equal($"/vm/{Uuid(7):D}", guest.Ask(StoreMessage.Read, "vm\0"));
        Assert.Equal("guest", guest.Ask(StoreMessage.Read, $"/vm/{Uuid(7):D}/name\0"));
        Assert.Equal("!EACCES", guest.Ask(StoreMessage.Read, $"/vm/{Uuid(5):D}/name\0"));
        _bench.Store.SetUuid(5, Uuid(6));
        Assert.Equal([$"{Uuid(6):D}"], _bench.Store.List("/vm"));
        _bench.Store.SetUuid(5, Uuid(5));
        Assert.Equal([$"{Uuid(5):D}", $"{Uuid(6):D}"], _bench.Store.List("/vm")!.Order());
        Assert.Equal($"/vm/{Uuid(6):D}", other.Ask(StoreMessage.Read, "vm\0"));
        _bench.Store.SetUuid(9, Uuid(9));
        Assert.Equal(2, _bench.Store.List("/vm")!.Count);
    }

    [Fact]
    public void A_domain_that_goes_takes_its_nodes_with_it_and_what_others_let_it_do()
    {
        var (goes, stays) = (_bench.Guest(5), _bench.Guest(6));
        Assert.Equal("OK", stays.Ask(StoreMessage.SetPerms, "data\0n6\0b5\0"));
        Assert.Equal("OK", goes.Ask(StoreMessage.Write, "/local/domain/6/data/theirs\0v"));
        Assert.Equal(5, _bench.Store.PermissionsOf("/local/domain/6/data/theirs")![0].Domain);
        _bench.Store.Release(5);
        Assert.Null(_bench.Store.List("/local/domain/5"));
        Assert.Null(_bench.Store.List("/vm/00000005-0002-0003-0405-060708090a0b"));
        Assert.Null(_bench.Store.List("/local/domain/6/data/theirs"));
        Assert.Equal("n6", stays.Ask(StoreMessage.GetPerms, "data\0"));
        Assert.Equal(["6"], _bench.Store.List("/local/domain"));
    }
}
