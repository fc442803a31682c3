using System.Text;

namespace Introspect.Hypervisor.Core.Xenstore;

/// <summary>
/// The machine's store (xenstored): nodes, the guests that are connected, and what the toolstack asks of it. One lock, under which
/// no vCPU is waited for and no other lock is taken but those of event channels.
/// </summary>
internal sealed class XenStore
{
    private readonly Lock _lock = new();
    private readonly SortedDictionary<ushort, StoreConnection> _connections = [];
    private readonly List<Watcher> _watchers = [];

    /// <summary>Makes a store.</summary>
    public XenStore() => Tree = new StoreTree(Fire);

    /// <summary>The nodes; under the lock.</summary>
    public StoreTree Tree { get; }

    /// <summary>A domain is connected; under the lock.</summary>
    public bool IsIntroduced(ushort domain) => domain == StoreCaller.Toolstack.Domain || _connections.ContainsKey(domain);

    /// <summary>Connects a guest (<c>XS_INTRODUCE</c>) and gives it its nodes.</summary>
    /// <param name="identity">Who it is.</param>
    /// <param name="link">Its end.</param>
    /// <param name="saved">What it was before it was saved; null: it is new.</param>
    public void Introduce(StoreDomain identity, IStoreLink link, StoreState? saved = null)
    {
        lock (_lock)
        {
            Disconnect(identity.Id);
            var connection = new StoreConnection(this, identity.Id, link);
            saved?.Apply(this, connection);
            identity.Write(Tree, isRestored: saved is not null);
            _connections.Add(identity.Id, connection);
            connection.Begin();
            connection.Serve();
            DeliverAll();
        }
    }

    /// <summary>Forgets a domain: its connection, its nodes, and what others let it do.</summary>
    public void Release(ushort domain)
    {
        lock (_lock)
        {
            if (!Disconnect(domain))
            {
                return;
            }

            StoreDomain.Remove(Tree, domain);
            foreach (var path in Tree.Paths())
            {
                if (Tree.Find(path) is not { } node)
                {
                    continue; // gone with one above
                }

                if (node.Owner == domain)
                {
                    StoreOperations.RemoveTree(Tree, path);
                }
                else if (Array.Exists(node.Permissions, entry => entry.Domain == domain))
                {
                    Tree.Put(path, node with { Permissions = Array.FindAll(node.Permissions, entry => entry.Domain != domain) });
                }
            }

            DeliverAll();
        }
    }

    /// <summary>A domain is called otherwise.</summary>
    public void Rename(ushort domain, string name)
    {
        lock (_lock)
        {
            StoreDomain.Rename(Tree, domain, name);
            DeliverAll();
        }
    }

    /// <summary>A domain has another UUID.</summary>
    public void SetUuid(ushort domain, Guid uuid)
    {
        lock (_lock)
        {
            StoreDomain.SetUuid(Tree, domain, uuid);
            DeliverAll();
        }
    }

    /// <summary>A domain has a console from now on.</summary>
    public void SetConsole(ushort domain, ulong gfn, uint port)
    {
        lock (_lock)
        {
            StoreDomain.WriteConsole(Tree, domain, gfn, port);
            DeliverAll();
        }
    }

    /// <summary>The guest signalled, or its page can be looked at again.</summary>
    public void Serve(ushort domain)
    {
        lock (_lock)
        {
            if (_connections.TryGetValue(domain, out var connection))
            {
                connection.Serve();
                DeliverAll();
            }
        }
    }

    /// <summary>Returns when nobody writes to a ring who looked before whether it may.</summary>
    public void Settle()
    {
        lock (_lock)
        {
        }
    }

    /// <summary>What a domain is to the store, for its saved file; null: it is not connected.</summary>
    public byte[]? Save(ushort domain)
    {
        lock (_lock)
        {
            return _connections.TryGetValue(domain, out var connection) ? StoreState.Of(Tree, connection).ToBytes() : null;
        }
    }

    /// <summary>The toolstack reads a node, as text; null: there is none.</summary>
    public string? Read(string path)
    {
        lock (_lock)
        {
            return Tree.Find(path) is { } node ? Encoding.UTF8.GetString(node.Value) : null;
        }
    }

    /// <summary>The toolstack writes a node, if it is there: where a domain has gone, nothing is left behind.</summary>
    public void Replace(string path, string value)
    {
        lock (_lock)
        {
            if (Tree.Find(path) is not null)
            {
                StoreOperations.Write(Tree, StoreCaller.Toolstack, path, Encoding.UTF8.GetBytes(value));
                DeliverAll();
            }
        }
    }

    /// <summary>The toolstack wants to know of changes at a path and below.</summary>
    /// <param name="path">Where.</param>
    /// <param name="changed">Told of the path that changed, on whichever thread did it, which is not to be kept waiting; it takes no lock.</param>
    /// <returns>Ends it.</returns>
    public IDisposable Watch(string path, Action<string> changed)
    {
        var watcher = new Watcher(this, path, changed);
        lock (_lock)
        {
            _watchers.Add(watcher);
        }

        return watcher;
    }

    /// <summary>A guest is told of changes at a path.</summary>
    public bool IsWatchedBy(ushort domain, string path)
    {
        lock (_lock)
        {
            return _connections.TryGetValue(domain, out var connection) && connection.Watches.Exists(watch => watch.Covers(path, isExact: false));
        }
    }

    private bool Disconnect(ushort domain)
    {
        if (!_connections.Remove(domain, out var connection))
        {
            return false;
        }

        connection.Forget();
        return true;
    }

    // A watcher is told who may read what changed, or might before, or may read what is above it.
    private void Fire(string path, StorePermission[]? before, bool isExact)
    {
        var now = Tree.Find(path)?.Permissions;
        var above = Tree.Find(StorePath.ParentOf(path))?.Permissions;
        foreach (var connection in _connections.Values)
        {
            if (!MayRead(connection.Caller, before) && !MayRead(connection.Caller, now) && !MayRead(connection.Caller, above))
            {
                continue;
            }

            foreach (var watch in connection.Watches)
            {
                if (watch.Covers(path, isExact))
                {
                    connection.Output.AddEvent(watch.Tell(path), watch.Token);
                }
            }
        }

        foreach (var watcher in _watchers)
        {
            if (StorePath.IsAtOrBelow(path, watcher.Path))
            {
                watcher.Changed(path);
            }
        }
    }

    private static bool MayRead(StoreCaller caller, StorePermission[]? permissions) =>
        permissions is not null && (StorePermission.Of(caller, permissions) & StoreRights.Read) != 0;

    private void DeliverAll()
    {
        foreach (var connection in _connections.Values)
        {
            connection.Deliver();
        }
    }

    /// <summary>A watch of the toolstack's.</summary>
    private sealed class Watcher(XenStore store, string path, Action<string> changed) : IDisposable
    {
        public string Path => path;

        public void Changed(string changedPath) => changed(changedPath);

        public void Dispose()
        {
            lock (store._lock)
            {
                store._watchers.Remove(this);
            }
        }
    }
}
