namespace Introspect.Hypervisor.Core.Xenstore;

/// <summary>The nodes. Who owns how many is counted.</summary>
internal sealed class StoreTree : StoreView
{
    private readonly Dictionary<string, StoreNode> _nodes = new(StringComparer.Ordinal);
    private readonly Dictionary<ushort, int> _owned = [];
    private readonly Action<string, StorePermission[]?, bool> _changed;
    private ulong _generation;

    /// <summary>Makes a tree of the nodes that every store has.</summary>
    /// <param name="changed">Told of changes, as <see cref="NoteChange"/> is.</param>
    public StoreTree(Action<string, StorePermission[]?, bool> changed)
    {
        _changed = changed;
        StorePermission[] nobody = [new(StoreCaller.Toolstack.Domain, StoreRights.None)];
        Put("/", new([], nobody, ["local", "vm"]));
        Put("/local", new([], nobody, ["domain"]));
        Put("/local/domain", new([], nobody, []));
        Put("/vm", new([], nobody, []));
    }

    /// <inheritdoc/>
    public override StoreNode? Find(string path) => _nodes.GetValueOrDefault(path);

    /// <inheritdoc/>
    public override void Put(string path, StoreNode node)
    {
        if (_nodes.TryGetValue(path, out var before))
        {
            AddOwned(before.Owner, -1);
        }

        AddOwned(node.Owner, 1);
        _nodes[path] = node with { Generation = ++_generation };
    }

    /// <inheritdoc/>
    public override void Remove(string path)
    {
        if (_nodes.Remove(path, out var node))
        {
            AddOwned(node.Owner, -1);
            _generation++;
        }
    }

    /// <inheritdoc/>
    public override int CountOf(ushort domain) => _owned.GetValueOrDefault(domain);

    /// <inheritdoc/>
    public override void NoteChange(string path, StorePermission[]? before, bool isExact) => _changed(path, before, isExact);

    /// <summary>The paths of all nodes.</summary>
    public string[] Paths() => [.. _nodes.Keys];

    private void AddOwned(ushort domain, int count)
    {
        var now = _owned.GetValueOrDefault(domain) + count;
        if (now == 0)
        {
            _owned.Remove(domain);
        }
        else
        {
            _owned[domain] = now;
        }
    }
}
