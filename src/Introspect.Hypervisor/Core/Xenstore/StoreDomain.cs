using System.Globalization;
using System.Text;

namespace Introspect.Hypervisor.Core.Xenstore;

/// <summary>A domain as the store tells it of itself: the nodes that a toolstack (libxl) gives a PVH domain, and their permissions.</summary>
internal sealed record StoreDomain
{
    // What a guest may write itself.
    private static readonly string[] OwnNodes =
    [
        "control/shutdown", "control/feature-poweroff", "control/feature-reboot", "control/feature-suspend", "control/sysrq",
        "device/suspend/event-channel", "data", "drivers", "feature", "attr", "error",
    ];

    /// <summary>Number.</summary>
    public required ushort Id { get; init; }

    /// <summary>UUID.</summary>
    public required Guid Uuid { get; init; }

    /// <summary>Name.</summary>
    public string Name { get; init; } = "";

    /// <summary>Memory in KiB.</summary>
    public ulong MemoryKiB { get; init; }

    /// <summary>vCPUs.</summary>
    public uint Vcpus { get; init; } = 1;

    /// <summary>Frame and event channel of this connection.</summary>
    public (ulong Gfn, uint Port) Store { get; init; }

    /// <summary>Frame and event channel of the console; frame 0: there is none.</summary>
    public (ulong Gfn, uint Port) Console { get; init; }

    /// <summary>Writes the nodes.</summary>
    /// <param name="tree">Where.</param>
    /// <param name="isRestored">The domain brought nodes of its own: what in them is not of this machine stays.</param>
    public void Write(StoreTree tree, bool isRestored)
    {
        var home = StorePath.Of(Id);
        var readable = ReadableBy(Id);
        StorePermission[] own = [new(Id, StoreRights.None)];
        if (!isRestored)
        {
            StoreOperations.Remove(tree, StoreCaller.Toolstack, home);
        }

        Make(tree, home, readable);
        foreach (var name in (string[])["control", "cpu", "device", "memory", "console", "store"])
        {
            Make(tree, $"{home}/{name}", readable);
        }

        foreach (var name in OwnNodes)
        {
            Make(tree, $"{home}/{name}", own);
        }

        WriteVm(tree, Id, Uuid);
        Set(tree, $"{home}/domid", Number(Id));
        Set(tree, $"{home}/store/ring-ref", Number(Store.Gfn));
        Set(tree, $"{home}/store/port", Number(Store.Port));
        Rename(tree, Id, Name);
        WriteConsole(tree, Id, Console.Gfn, Console.Port);
        WriteOnce(tree, $"{home}/control/platform-feature-multiprocessor-suspend", "1");
        WriteOnce(tree, $"{home}/control/platform-feature-xs_reset_watches", "1");
        WriteOnce(tree, $"{home}/memory/static-max", Number(MemoryKiB));
        WriteOnce(tree, $"{home}/memory/target", Number(MemoryKiB));
        for (uint vcpu = 0; vcpu < Vcpus; vcpu++)
        {
            WriteOnce(tree, $"{home}/cpu/{Number(vcpu)}/availability", "online");
        }
    }

    /// <summary>The domain is called otherwise.</summary>
    public static void Rename(StoreTree tree, ushort domain, string name)
    {
        var home = StorePath.Of(domain);
        if (PathOfVm(tree, home) is { } vm)
        {
            Set(tree, $"{home}/name", name);
            Set(tree, $"{vm}/name", name);
        }
    }

    /// <summary>The domain has another UUID: its nodes by that are where it says, and no longer where the old one said.</summary>
    public static void SetUuid(StoreTree tree, ushort domain, Guid uuid)
    {
        var home = StorePath.Of(domain);
        if (PathOfVm(tree, home) is not { } before || before == PathOf(uuid))
        {
            return;
        }

        WriteVm(tree, domain, uuid);
        Rename(tree, domain, tree.Find($"{home}/name") is { } name ? Encoding.UTF8.GetString(name.Value) : "");
        RemoveVm(tree, before);
    }

    /// <summary>The domain has a console.</summary>
    public static void WriteConsole(StoreTree tree, ushort domain, ulong gfn, uint port)
    {
        const string BytesKept = "1048576";
        var console = $"{StorePath.Of(domain)}/console";
        if (gfn == 0 || tree.Find(console) is null)
        {
            return;
        }

        Set(tree, $"{console}/ring-ref", Number(gfn));
        Set(tree, $"{console}/port", Number(port));
        Set(tree, $"{console}/type", "xenconsoled");
        Set(tree, $"{console}/output", "pty");
        Set(tree, $"{console}/limit", BytesKept);
        Set(tree, $"{console}/tty", "");
    }

    /// <summary>Removes the nodes. Those by the UUID stay where another domain has the same, which was made in its place.</summary>
    public static void Remove(StoreTree tree, ushort domain)
    {
        var home = StorePath.Of(domain);
        var vm = PathOfVm(tree, home);
        StoreOperations.Remove(tree, StoreCaller.Toolstack, home);
        if (vm is not null)
        {
            RemoveVm(tree, vm);
        }
    }

    private static void WriteVm(StoreTree tree, ushort domain, Guid uuid)
    {
        var vm = PathOf(uuid);
        StoreOperations.Remove(tree, StoreCaller.Toolstack, vm);
        Make(tree, vm, ReadableBy(domain));
        Set(tree, $"{vm}/uuid", uuid.ToString("D"));
        Set(tree, $"{StorePath.Of(domain)}/vm", vm);
    }

    private static void RemoveVm(StoreTree tree, string vm)
    {
        var domains = tree.Find("/local/domain")?.Children ?? [];
        if (!Array.Exists(domains, domain => PathOfVm(tree, $"/local/domain/{domain}") == vm))
        {
            StoreOperations.Remove(tree, StoreCaller.Toolstack, vm);
        }
    }

    private static StorePermission[] ReadableBy(ushort domain) => [new(StoreCaller.Toolstack.Domain, StoreRights.None), new(domain, StoreRights.Read)];

    private static string PathOf(Guid uuid) => $"/vm/{uuid:D}";

    private static string? PathOfVm(StoreTree tree, string home) =>
        tree.Find($"{home}/vm") is { Value.Length: > 0 } node ? Encoding.ASCII.GetString(node.Value) : null;

    private static void Make(StoreTree tree, string path, StorePermission[] permissions)
    {
        if (tree.Find(path) is null)
        {
            StoreOperations.MakeDirectory(tree, StoreCaller.Toolstack, path);
            StoreOperations.SetPermissions(tree, StoreCaller.Toolstack, path, permissions);
        }
    }

    private static void Set(StoreTree tree, string path, string value) => StoreOperations.Write(tree, StoreCaller.Toolstack, path, Encoding.UTF8.GetBytes(value));

    private static void WriteOnce(StoreTree tree, string path, string value)
    {
        if (tree.Find(path) is null)
        {
            Set(tree, path, value);
        }
    }

    private static string Number(ulong number) => number.ToString(CultureInfo.InvariantCulture);
}
