namespace Introspect.Hypervisor.Core.Xenstore;

/// <summary>
/// Changes that come all at once or not at all. What it looks at is remembered as it was at the first look; where any of
/// that is another by its end, nothing is changed and its owner tries again.
/// </summary>
internal sealed class StoreTransaction(StoreTree tree, uint id) : StoreView
{
    private readonly Dictionary<string, Looked> _looked = new(StringComparer.Ordinal);
    private readonly Dictionary<ushort, int> _owned = [];
    private bool _hasFailed;

    /// <summary>By what number requests name it.</summary>
    public uint Id { get; } = id;

    /// <summary>It was open when its domain was saved: what it saw is not known any more.</summary>
    public bool IsLost { get; init; }

    /// <inheritdoc/>
    public override bool HasFailed => _hasFailed;

    /// <inheritdoc/>
    public override StoreNode? Find(string path) => Look(path) is { } looked ? looked.Now : tree.Find(path);

    /// <inheritdoc/>
    public override void Put(string path, StoreNode node) => Change(path, node);

    /// <inheritdoc/>
    public override void Remove(string path) => Change(path, null);

    /// <inheritdoc/>
    public override int CountOf(ushort domain) => tree.CountOf(domain) + _owned.GetValueOrDefault(domain);

    /// <inheritdoc/>
    public override void NoteChange(string path, StorePermission[]? before, bool isExact)
    {
        if (Look(path) is { } looked)
        {
            looked.IsExact = isExact && (looked.IsExact || !looked.IsTold);
            looked.IsTold = true;
        }
    }

    /// <summary>Makes the changes.</summary>
    /// <returns>ENOMEM: it looked at too much; EAGAIN: something changed meanwhile; ENOSPC: its domain would own too much.</returns>
    public Errno Commit(StoreCaller caller)
    {
        if (_hasFailed)
        {
            return Errno.ENOMEM;
        }

        if (IsLost)
        {
            return Errno.EAGAIN;
        }

        foreach (var (path, looked) in _looked)
        {
            if (tree.Find(path)?.Generation != looked.Before?.Generation)
            {
                return Errno.EAGAIN;
            }
        }

        if (!caller.IsToolstack && _owned.GetValueOrDefault(caller.Domain) > 0 && CountOf(caller.Domain) > StoreQuota.Nodes)
        {
            return Errno.ENOSPC;
        }

        Apply();
        return Errno.None;
    }

    private void Apply()
    {
        foreach (var (path, looked) in _looked)
        {
            if (!looked.IsChanged)
            {
                continue;
            }

            if (looked.Now is { } node)
            {
                tree.Put(path, node);
            }
            else
            {
                tree.Remove(path);
            }
        }

        foreach (var (path, looked) in _looked)
        {
            if (looked.IsTold)
            {
                tree.NoteChange(path, looked.Before?.Permissions, looked.IsExact);
            }
        }
    }

    private Looked? Look(string path)
    {
        if (_looked.TryGetValue(path, out var looked))
        {
            return looked;
        }

        if (_looked.Count == StoreQuota.TransactionNodes)
        {
            _hasFailed = true;
            return null;
        }

        var before = tree.Find(path);
        looked = new Looked { Before = before, Now = before };
        _looked.Add(path, looked);
        return looked;
    }

    private void Change(string path, StoreNode? node)
    {
        if (Look(path) is not { } looked)
        {
            return;
        }

        if (looked.Now is { } gone)
        {
            _owned[gone.Owner] = _owned.GetValueOrDefault(gone.Owner) - 1;
        }

        if (node is not null)
        {
            _owned[node.Owner] = _owned.GetValueOrDefault(node.Owner) + 1;
        }

        (looked.Now, looked.IsChanged) = (node, true);
    }

    /// <summary>A path that was looked at.</summary>
    private sealed class Looked
    {
        public StoreNode? Before { get; init; }

        public StoreNode? Now { get; set; }

        public bool IsChanged { get; set; }

        public bool IsTold { get; set; }

        public bool IsExact { get; set; }
    }
}
