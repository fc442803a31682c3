using System.Text;
using Introspect.Hypervisor.Core.Xenstore;

namespace Introspect.Hypervisor.Tests.Xenstore;

/// <summary>What a toolstack could do with a store, by the nodes and by what the lab uses. No guest of it runs meanwhile.</summary>
internal static class StoreToolstack
{
    /// <summary>Writes a node, which it makes if there is none, and all who watch are told.</summary>
    public static void Write(this XenStore store, string path, string value)
    {
        Assert.Equal(Errno.None, StoreOperations.MakeDirectory(store.Tree, StoreCaller.Toolstack, path));
        store.Replace(path, value);
        Assert.Equal(Encoding.UTF8.GetBytes(value), store.Tree.Find(path)!.Value);
    }

    /// <summary>A node's children; null: there is none.</summary>
    public static IReadOnlyList<string>? List(this XenStore store, string path) => store.Tree.Find(path)?.Children;

    /// <summary>Who may do what with a node; null: there is none.</summary>
    public static IReadOnlyList<StorePermission>? PermissionsOf(this XenStore store, string path) => store.Tree.Find(path)?.Permissions;
}
