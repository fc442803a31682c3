using Introspect.Hypervisor.Core.Xenstore;

namespace Introspect.Hypervisor.Tests.Xenstore;

/// <summary>A guest that is saved in the middle of what it asks, and restored under another number.</summary>
public sealed class StoreStateTests
{
    [Fact]
    public void It_goes_on_where_it_was()
    {
        var before = new StoreBench();
        var guest = before.Guest(5);
        Assert.Equal("OK", guest.Ask(StoreMessage.Write, "data/a\0one"));
        Assert.Equal("OK", guest.Ask(StoreMessage.SetPerms, "data/a\0r5\0b0\0"));
        Assert.Equal("OK", guest.Ask(StoreMessage.Watch, "control/shutdown\0relative\0"));
        Assert.Equal("OK", guest.Ask(StoreMessage.Watch, "/local/domain/5/data\0absolute\0"));
        Assert.Equal("1", guest.Ask(StoreMessage.TransactionStart, "\0"));
        Assert.Equal("one", guest.Ask(StoreMessage.Read, "data/a\0", transaction: 1));
        Assert.Equal("OK", guest.Ask(StoreMessage.Watch, "@n\u00e4me\0special\0"));
        guest.TakeEvents();

        // Unread answers, more than the ring holds, and half a request.
        Assert.Equal("OK", guest.Ask(StoreMessage.Write, $"data/long\0{new string('v', 1900)}"));
        guest.TakeEvents();
        byte[] read = [.. StoreGuest.Header(2, 77, 0, 10), .. "data/long\0"u8];
        guest.Send([.. read, .. read, .. read[..20]]);
        guest.IsStill = true;
        var saved = before.Store.Save(5)!;

        var after = new StoreBench();
        after.Guest(5, "taken");
        Assert.True(StoreState.TryParse(saved, out var state));
        var restored = Restore(after.Store, 9, state, guest);
        restored.Send(read.AsSpan(20));
        var answers = restored.Receive();
        Assert.Equal(3, answers.Count);
        Assert.All(answers, static answer => Assert.Equal((2u, 77u, 1900), (answer.Header[0], answer.Header[1], answer.Content.Length)));

        Assert.Equal("one", restored.Ask(StoreMessage.Read, "data/a\0"));
        Assert.Equal("r9 b0", restored.Ask(StoreMessage.GetPerms, "data/a\0"));
        Assert.Equal("9", restored.Ask(StoreMessage.Read, "domid\0"));
        Assert.Equal("restored", restored.Ask(StoreMessage.Read, "name\0"));
        Assert.Equal("n0 r9", restored.Ask(StoreMessage.GetPerms, "/local/domain/9\0"));
        Assert.Empty(restored.TakeEvents());
        after.Store.Write("/local/domain/9/control/shutdown", "poweroff");
        after.Store.Write("/local/domain/9/data/a", "v");
        Assert.Equal(["control/shutdown relative", "/local/domain/9/data/a absolute"], restored.TakeEvents());
        Assert.Equal("!EEXIST", restored.Ask(StoreMessage.Watch, "/local/domain/9/data\0absolute\0"));
        Assert.Equal("!EEXIST", restored.Ask(StoreMessage.Watch, "@n\u00e4me\0special\0"));

        // The transaction is there, and ends as one does that others came before.
        Assert.Equal("v", restored.Ask(StoreMessage.Read, "data/a\0", transaction: 1));
        Assert.Equal("2", restored.Ask(StoreMessage.TransactionStart, "\0"));
        Assert.Equal("!EAGAIN", restored.Ask(StoreMessage.TransactionEnd, "T\0", transaction: 1));
        Assert.Equal("!ENOENT", restored.Ask(StoreMessage.TransactionEnd, "T\0", transaction: 1));
    }

    [Fact]
    public void It_is_saved_again_as_the_same()
    {
        var before = new StoreBench();
        before.Guest(5).Ask(StoreMessage.Write, "data/a/b\0one");
        var saved = before.Store.Save(5)!;
        var after = new StoreBench();
        Assert.True(StoreState.TryParse(saved, out var state));
        _ = new StoreGuest(after.Store, 5, "guest", state);
        Assert.Equal(saved, after.Store.Save(5));
    }

    [Fact]
    public void What_other_guests_made_below_its_nodes_is_not_saved_with_it()
    {
        var before = new StoreBench();
        var (guest, other) = (before.Guest(5), before.Guest(6));
        Assert.Equal("OK", guest.Ask(StoreMessage.SetPerms, "data\0n5\0b6\0"));
        var length = before.Store.Save(5)!.Length;
        for (var n = 0; n < 50; n++)
        {
            Assert.Equal("OK", other.Ask(StoreMessage.Write, $"/local/domain/5/data/{n}\0v"));
        }

        Assert.Equal(length, before.Store.Save(5)!.Length);
    }

    private static StoreGuest Restore(XenStore store, ushort domain, StoreState state, StoreGuest before)
    {
        // The page comes with the domain's memory.
        var page = before.Page.ToArray();
        var restored = new StoreGuest(store, domain, "restored", state, page);
        return restored;
    }
}
