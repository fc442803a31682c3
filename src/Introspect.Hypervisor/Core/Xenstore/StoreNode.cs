namespace Introspect.Hypervisor.Core.Xenstore;

/// <summary>A node as it is between two changes. Nothing in it changes: transactions keep what they read.</summary>
internal sealed record StoreNode(byte[] Value, StorePermission[] Permissions, string[] Children)
{
    private const int FixedBytes = 16;
    private const int PermissionBytes = 8;

    /// <summary>Grows with every change in the store, so that a node which has the same is the same.</summary>
    public ulong Generation { get; init; }

    /// <summary>Whose it is.</summary>
    public ushort Owner => Permissions[0].Domain;

    /// <summary>Bytes that count against the quota.</summary>
    public int Size
    {
        get
        {
            var size = FixedBytes + (Permissions.Length * PermissionBytes) + Value.Length;
            foreach (var child in Children)
            {
                size += child.Length + 1;
            }

            return size;
        }
    }

    /// <summary>The node with one child more.</summary>
    public StoreNode WithChild(string name) => this with { Children = [.. Children, name] };

    /// <summary>The node with one child less.</summary>
    public StoreNode WithoutChild(string name) => this with { Children = Array.FindAll(Children, child => child != name) };
}
