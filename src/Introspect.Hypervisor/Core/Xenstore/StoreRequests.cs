using System.Buffers.Text;
using System.Diagnostics;
using System.Globalization;
using System.Text;

namespace Introspect.Hypervisor.Core.Xenstore;

/// <summary>What guests ask: each request is answered by a message of its type, or by an error's name.</summary>
internal static class StoreRequests
{
    private static ReadOnlySpan<byte> Done => "OK\0"u8;

    /// <summary>Answers a request.</summary>
    public static void Answer(XenStore store, StoreConnection asker, StoreHeader header, ReadOnlySpan<byte> payload)
    {
        byte[] answer = [];
        StoreView view = store.Tree;
        var error = Refuse(header.Type);
        if (error == Errno.None && header.Type is not (StoreMessage.Watch or StoreMessage.Unwatch))
        {
            error = FindView(store, asker, header, ref view);
        }

        if (error == Errno.None)
        {
            error = Do(store, asker, view, header.Type, payload, ref answer);
            error = view.HasFailed && header.Type != StoreMessage.TransactionEnd ? Errno.ENOSPC : error;
        }

        if (error == Errno.None && answer.Length > StoreWire.MostPayload)
        {
            error = Errno.E2BIG;
        }

        asker.Output.Add(error == Errno.None
            ? header.With(answer)
            : (header with { Type = StoreMessage.Error }).With(Encoding.ASCII.GetBytes($"{StoreWire.NameOf(error)}\0")));

        // The first event comes behind the answer.
        if (error == Errno.None && header.Type == StoreMessage.Watch)
        {
            var watch = asker.Watches[^1];
            asker.Output.AddEvent(watch.Tell(watch.Path), watch.Token);
        }
    }

    // What no guest may ask for is told before its transaction is looked for.
    private static Errno Refuse(StoreMessage type) => type switch
    {
        StoreMessage.Control or StoreMessage.Introduce or StoreMessage.IsDomainIntroduced or StoreMessage.Release or StoreMessage.Resume
            or StoreMessage.SetTarget => Errno.EACCES, // a toolstack's alone
        StoreMessage.WatchEvent or StoreMessage.Error => Errno.ENOSYS, // the store's own
        _ => Enum.IsDefined(type) ? Errno.None : Errno.ENOSYS,
    };

    private static Errno FindView(XenStore store, StoreConnection asker, StoreHeader header, ref StoreView view)
    {
        if (header.TransactionId == 0)
        {
            return Errno.None;
        }

        view = (StoreView?)asker.Transactions.Find(open => open.Id == header.TransactionId) ?? store.Tree;
        return view == store.Tree ? Errno.ENOENT : Errno.None;
    }

    private static Errno Do(XenStore store, StoreConnection asker, StoreView view, StoreMessage type, ReadOnlySpan<byte> payload, ref byte[] answer)
    {
        answer = Done.ToArray();
        switch (type)
        {
            case StoreMessage.Directory:
                return OnNode(asker, view, payload, StoreRights.Read, static node => Join(node.Children), ref answer);
            case StoreMessage.Read:
                return OnNode(asker, view, payload, StoreRights.Read, static node => node.Value, ref answer);
            case StoreMessage.GetPerms:
                return OnNode(asker, view, payload, StoreRights.Read, static node => StorePermission.ToBytes(node.Permissions), ref answer);
            case StoreMessage.DirectoryPart:
                return DirectoryPart(asker, view, payload, ref answer);
            case StoreMessage.Write:
                return Write(asker, view, payload);
            case StoreMessage.MakeDirectory:
                return TryPath(asker, payload, out var made) ? StoreOperations.MakeDirectory(view, asker.Caller, made) : Errno.EINVAL;
            case StoreMessage.Remove:
                return TryPath(asker, payload, out var removed) ? StoreOperations.Remove(view, asker.Caller, removed) : Errno.EINVAL;
            case StoreMessage.SetPerms:
                return SetPermissions(store, asker, view, payload);
            case StoreMessage.Watch:
                return Watch(asker, payload);
            case StoreMessage.Unwatch:
                return Unwatch(asker, payload);
            case StoreMessage.ResetWatches:
                asker.Watches.Clear();
                asker.Transactions.Clear();
                return Errno.None;
            case StoreMessage.TransactionStart:
                return StartTransaction(store, asker, view, ref answer);
            case StoreMessage.TransactionEnd:
                return EndTransaction(asker, view, payload);
            case StoreMessage.GetDomainPath:
                return DomainPath(payload, ref answer);
            default:
                throw new UnreachableException($"request {type} was not refused");
        }
    }

    private static Errno OnNode(
        StoreConnection asker, StoreView view, ReadOnlySpan<byte> payload, StoreRights wanted, Func<StoreNode, byte[]> tell, ref byte[] answer)
    {
        if (!TryPath(asker, payload, out var path))
        {
            return Errno.EINVAL;
        }

        var error = StoreOperations.Find(view, asker.Caller, path, wanted, out var node);
        if (error == Errno.None)
        {
            answer = tell(node!);
        }

        return error;
    }

    private static Errno DomainPath(ReadOnlySpan<byte> payload, ref byte[] answer)
    {
        if (!TryOne(payload, out var text) || !TryNumber(text, ushort.MaxValue, out var domain))
        {
            return Errno.EINVAL;
        }

        answer = Encoding.ASCII.GetBytes($"{StorePath.Of((ushort)domain)}\0");
        return Errno.None;
    }

    // For lists that do not fit one message: the node's generation, and names from an offset on; an empty one behind the last.
    private static Errno DirectoryPart(StoreConnection asker, StoreView view, ReadOnlySpan<byte> payload, ref byte[] answer)
    {
        var rest = payload;
        if (!TryNext(ref rest, out var name) || !TryNext(ref rest, out var number) || !rest.IsEmpty
            || !StorePath.TryResolve(name, asker.Home, out var path) || !TryNumber(number, int.MaxValue, out var offset))
        {
            return Errno.EINVAL;
        }

        var error = StoreOperations.Find(view, asker.Caller, path, StoreRights.Read, out var node);
        if (error != Errno.None)
        {
            return error;
        }

        var generation = Encoding.ASCII.GetBytes(string.Create(CultureInfo.InvariantCulture, $"{node!.Generation}\0"));
        var names = Join(node.Children).AsSpan();
        names = names[(int)Math.Min(offset, (uint)names.Length)..];
        var most = StoreWire.MostPayload - generation.Length - 1;
        if (names.Length > most)
        {
            answer = [.. generation, .. names[..(names[..most].LastIndexOf((byte)0) + 1)]];
            return Errno.None;
        }

        answer = [.. generation, .. names, 0];
        return Errno.None;
    }

    private static Errno Write(StoreConnection asker, StoreView view, ReadOnlySpan<byte> payload)
    {
        var value = payload;
        return TryNext(ref value, out var name) && StorePath.TryResolve(name, asker.Home, out var path)
            ? StoreOperations.Write(view, asker.Caller, path, value)
            : Errno.EINVAL;
    }

    private static Errno SetPermissions(XenStore store, StoreConnection asker, StoreView view, ReadOnlySpan<byte> payload)
    {
        var rest = payload;
        if (!TryNext(ref rest, out var name) || rest.IsEmpty || rest[^1] != 0)
        {
            return Errno.EINVAL;
        }

        if (rest.Count((byte)0) > StoreQuota.Permissions)
        {
            return Errno.ENOSPC;
        }

        var permissions = new List<StorePermission>();
        while (TryNext(ref rest, out var text))
        {
            if (!StorePermission.TryParse(text, out var entry))
            {
                return Errno.EINVAL;
            }

            // Who is not there gets nothing: another domain may have that number later.
            if (store.IsIntroduced(entry.Domain))
            {
                permissions.Add(entry);
            }
            else if (permissions.Count == 0)
            {
                return Errno.ENOENT;
            }
        }

        return StorePath.TryResolve(name, asker.Home, out var path)
            ? StoreOperations.SetPermissions(view, asker.Caller, path, [.. permissions])
            : Errno.EINVAL;
    }

    private static Errno Watch(StoreConnection asker, ReadOnlySpan<byte> payload)
    {
        var rest = payload;
        var depth = uint.MaxValue;
        if (!TryNext(ref rest, out var name) || !TryNext(ref rest, out var token)
            || (!rest.IsEmpty && (!TryNext(ref rest, out var levels) || !rest.IsEmpty || !TryNumber(levels, int.MaxValue, out depth))))
        {
            return Errno.EINVAL;
        }

        if (!StorePath.TryResolveWatched(name, asker.Home, out var path))
        {
            return Errno.EINVAL;
        }

        var isRelative = name[0] is not ((byte)'/' or (byte)'@');
        var watch = new StoreWatch(path, Encoding.Latin1.GetString(token), isRelative ? asker.Home.Length + 1 : 0, (int)depth);
        if (asker.Watches.Exists(other => other.Path == watch.Path && other.Token == watch.Token))
        {
            return Errno.EEXIST;
        }

        if (asker.Watches.Count >= StoreQuota.Watches)
        {
            return Errno.ENOSPC;
        }

        asker.Watches.Add(watch);
        return Errno.None;
    }

    private static Errno Unwatch(StoreConnection asker, ReadOnlySpan<byte> payload)
    {
        var rest = payload;
        if (!TryNext(ref rest, out var name) || !TryNext(ref rest, out var text) || !rest.IsEmpty)
        {
            return Errno.EINVAL;
        }

        if (!StorePath.TryResolveWatched(name, asker.Home, out var path))
        {
            return Errno.ENOENT; // what cannot be watched is not
        }

        var token = Encoding.Latin1.GetString(text);
        return asker.Watches.RemoveAll(watch => watch.Path == path && watch.Token == token) == 0 ? Errno.ENOENT : Errno.None;
    }

    private static Errno StartTransaction(XenStore store, StoreConnection asker, StoreView view, ref byte[] answer)
    {
        if (view is StoreTransaction)
        {
            return Errno.EBUSY; // none in another one
        }

        if (asker.Transactions.Count >= StoreQuota.Transactions)
        {
            return Errno.ENOSPC;
        }

        var id = asker.NextTransaction;
        while (id == 0 || asker.Transactions.Exists(open => open.Id == id))
        {
            id++;
        }

        asker.NextTransaction = id + 1;
        asker.Transactions.Add(new StoreTransaction(store.Tree, id));
        answer = Encoding.ASCII.GetBytes(string.Create(CultureInfo.InvariantCulture, $"{id}\0"));
        return Errno.None;
    }

    private static Errno EndTransaction(StoreConnection asker, StoreView view, ReadOnlySpan<byte> payload)
    {
        if (!TryOne(payload, out var text) || text.Length != 1 || text[0] is not ((byte)'T' or (byte)'F'))
        {
            return Errno.EINVAL;
        }

        if (view is not StoreTransaction transaction)
        {
            return Errno.ENOENT;
        }

        asker.Transactions.Remove(transaction);
        return text[0] == (byte)'T' ? transaction.Commit(asker.Caller) : Errno.None;
    }

    private static bool TryPath(StoreConnection asker, ReadOnlySpan<byte> payload, out string path)
    {
        path = "";
        return TryOne(payload, out var name) && StorePath.TryResolve(name, asker.Home, out path);
    }

    // The whole payload is one text, ended by a NUL.
    private static bool TryOne(ReadOnlySpan<byte> payload, out ReadOnlySpan<byte> text)
    {
        var rest = payload;
        return TryNext(ref rest, out text) && rest.IsEmpty;
    }

    private static bool TryNext(scoped ref ReadOnlySpan<byte> payload, out ReadOnlySpan<byte> text)
    {
        var end = payload.IndexOf((byte)0);
        text = end < 0 ? default : payload[..end];
        payload = end < 0 ? payload : payload[(end + 1)..];
        return end >= 0;
    }

    private static bool TryNumber(ReadOnlySpan<byte> text, uint most, out uint number) =>
        Utf8Parser.TryParse(text, out number, out var read) && read == text.Length && number <= most;

    private static byte[] Join(string[] names)
    {
        var text = new StringBuilder();
        foreach (var name in names)
        {
            text.Append(name).Append('\0');
        }

        return Encoding.ASCII.GetBytes(text.ToString());
    }
}
