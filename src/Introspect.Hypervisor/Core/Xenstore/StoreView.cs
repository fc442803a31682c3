namespace Introspect.Hypervisor.Core.Xenstore;

/// <summary>The nodes as somebody sees and changes them: the store's own, or a transaction's.</summary>
internal abstract class StoreView
{
    /// <summary>More was asked of it than it may hold: what was done since is not to be kept.</summary>
    public virtual bool HasFailed => false;

    /// <summary>A node, or null.</summary>
    public abstract StoreNode? Find(string path);

    /// <summary>Writes a node, whose parent knows it.</summary>
    public abstract void Put(string path, StoreNode node);

    /// <summary>Removes a node, which its parent forgets.</summary>
    public abstract void Remove(string path);

    /// <summary>How many nodes a domain owns.</summary>
    public abstract int CountOf(ushort domain);

    /// <summary>Tells those who watch.</summary>
    /// <param name="path">What changed.</param>
    /// <param name="before">Who might do what with it before; null: it was not there.</param>
    /// <param name="isExact">It went with the node above: only who watches it itself is told.</param>
    public abstract void NoteChange(string path, StorePermission[]? before, bool isExact);

    /// <summary>The node of a path, or the nearest one above it that is there.</summary>
    public StoreNode FindNearest(string path)
    {
        while (true)
        {
            path = StorePath.ParentOf(path);
            if (Find(path) is { } node)
            {
                return node;
            }
        }
    }
}
