namespace Introspect.Hypervisor.Core.Xenstore;

/// <summary>
/// What can be done with nodes, by who may do it. Everything is checked before anything is changed. An error tells
/// nothing of a node to who may not look at what is above it.
/// </summary>
internal static class StoreOperations
{
    /// <summary>Finds a node with which somebody may do something.</summary>
    /// <returns>ENOENT, EACCES.</returns>
    public static Errno Find(StoreView view, StoreCaller caller, string path, StoreRights wanted, out StoreNode? node)
    {
        node = view.Find(path);
        if (node is not null && (StorePermission.Of(caller, node.Permissions) & wanted) == wanted)
        {
            return Errno.None;
        }

        var error = node is null ? Errno.ENOENT : Errno.EACCES;
        node = null;
        return (StorePermission.Of(caller, view.FindNearest(path).Permissions) & wanted) != 0 ? error : Errno.EACCES;
    }

    /// <summary>Writes a value; what is missing above is made.</summary>
    /// <returns>EACCES, ENOSPC.</returns>
    public static Errno Write(StoreView view, StoreCaller caller, string path, ReadOnlySpan<byte> value)
    {
        var error = Find(view, caller, path, StoreRights.Write, out var node);
        if (error == Errno.ENOENT)
        {
            error = Create(view, caller, path, value);
        }
        else if (error == Errno.None)
        {
            error = Replace(view, caller, path, node! with { Value = value.ToArray() });
        }

        if (error == Errno.None)
        {
            view.NoteChange(path, node?.Permissions, isExact: false);
        }

        return error;
    }

    /// <summary>Makes a node where there is none.</summary>
    /// <returns>EACCES, ENOSPC.</returns>
    public static Errno MakeDirectory(StoreView view, StoreCaller caller, string path)
    {
        var error = Find(view, caller, path, StoreRights.Write, out _);
        if (error != Errno.ENOENT)
        {
            return error;
        }

        error = Create(view, caller, path, []);
        if (error == Errno.None)
        {
            view.NoteChange(path, null, isExact: false);
        }

        return error;
    }

    /// <summary>Removes a node and all below it. There may be none, if there is one above.</summary>
    /// <returns>EINVAL: the root; ENOENT, EACCES.</returns>
    public static Errno Remove(StoreView view, StoreCaller caller, string path)
    {
        var error = Find(view, caller, path, StoreRights.Write, out _);
        if (error == Errno.ENOENT)
        {
            // Whether it may see what is above does not matter: it may write there.
            return view.Find(StorePath.ParentOf(path)) is null ? Errno.ENOENT : Errno.None;
        }

        if (error != Errno.None)
        {
            return error;
        }

        if (path.Length == 1)
        {
            return Errno.EINVAL;
        }

        RemoveTree(view, path);
        return Errno.None;
    }

    /// <summary>Changes who may do what with a node.</summary>
    /// <returns>EPERM: it would have another owner; ENOENT, EACCES, ENOSPC.</returns>
    public static Errno SetPermissions(StoreView view, StoreCaller caller, string path, StorePermission[] permissions)
    {
        var error = Find(view, caller, path, StoreRights.Write | StoreRights.Own, out var node);
        if (error != Errno.None)
        {
            return error;
        }

        if (!caller.IsToolstack && permissions[0].Domain != node!.Owner)
        {
            return Errno.EPERM;
        }

        error = Replace(view, caller, path, node! with { Permissions = permissions });
        if (error == Errno.None)
        {
            view.NoteChange(path, node.Permissions, isExact: false);
        }

        return error;
    }

    /// <summary>Removes a node that is there, and all below it, and tells of it.</summary>
    public static void RemoveTree(StoreView view, string path)
    {
        // The lowest first: who is told can still be seen from the node above.
        var paths = new List<string> { path };
        for (var n = 0; n < paths.Count; n++)
        {
            if (view.Find(paths[n]) is { } node)
            {
                foreach (var child in node.Children)
                {
                    paths.Add(StorePath.Below(paths[n], child));
                }
            }
        }

        for (var n = paths.Count - 1; n >= 0; n--)
        {
            if (view.Find(paths[n]) is { } node)
            {
                view.Remove(paths[n]);
                view.NoteChange(paths[n], node.Permissions, isExact: n != 0);
            }
        }

        var parent = StorePath.ParentOf(path);
        if (view.Find(parent) is { } above)
        {
            view.Put(parent, above.WithoutChild(StorePath.NameOf(path)));
        }
    }

    private static Errno Replace(StoreView view, StoreCaller caller, string path, StoreNode node)
    {
        if (!Fits(caller, node))
        {
            return Errno.ENOSPC;
        }

        view.Put(path, node);
        return Errno.None;
    }

    // Each level has the permissions of the one above; what a guest makes is its own.
    private static Errno Create(StoreView view, StoreCaller caller, string path, ReadOnlySpan<byte> value)
    {
        var missing = new List<string>();
        var existing = path;
        StoreNode? above = null;
        while (above is null)
        {
            missing.Add(existing);
            existing = StorePath.ParentOf(existing);
            above = view.Find(existing);
        }

        var permissions = caller.IsToolstack ? above.Permissions : [above.Permissions[0] with { Domain = caller.Domain }, .. above.Permissions[1..]];
        var leaf = new StoreNode(value.ToArray(), permissions, []);
        var parent = above.WithChild(StorePath.NameOf(missing[^1]));
        if (!Fits(caller, leaf) || !Fits(caller, parent) || (!caller.IsToolstack && view.CountOf(caller.Domain) + missing.Count > StoreQuota.Nodes))
        {
            return Errno.ENOSPC;
        }

        view.Put(existing, parent);
        for (var n = missing.Count - 1; n > 0; n--)
        {
            view.Put(missing[n], new([], permissions, [StorePath.NameOf(missing[n - 1])]));
        }

        view.Put(missing[0], leaf);
        return Errno.None;
    }

    private static bool Fits(StoreCaller caller, StoreNode node) => caller.IsToolstack || node.Size <= StoreQuota.NodeBytes;
}
