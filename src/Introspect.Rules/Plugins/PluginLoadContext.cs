using System.Reflection;
using System.Runtime.Loader;

namespace Introspect.Rules.Plugins;

/// <summary>
/// A plugin's own assemblies: its dependencies are those beside it, whatever versions others have; what it shares with the
/// monitor is the monitor's. Assemblies are read as a whole, so that a build may replace the files while they are in use.
/// </summary>
internal sealed class PluginLoadContext : AssemblyLoadContext
{
    private static readonly string[] Shared = [typeof(IHandlerPlugin).Assembly.GetName().Name!, typeof(Introspect.Hypervisor.IDomain).Assembly.GetName().Name!];

    private readonly AssemblyDependencyResolver _resolver;

    /// <summary>Makes a context for a plugin.</summary>
    /// <param name="assemblyPath">The plugin's assembly; its <c>.deps.json</c> says where its dependencies are.</param>
    /// <param name="isCollectible">It can be unloaded.</param>
    public PluginLoadContext(string assemblyPath, bool isCollectible)
        : base($"plugin {Path.GetFileNameWithoutExtension(assemblyPath)}", isCollectible) => _resolver = new(assemblyPath);

    /// <summary>Loads an assembly from a file.</summary>
    public Assembly LoadFile(string path)
    {
        using var assembly = new MemoryStream(File.ReadAllBytes(path));
        var symbols = Path.ChangeExtension(path, ".pdb");
        if (!File.Exists(symbols))
        {
            return LoadFromStream(assembly);
        }

        using var pdb = new MemoryStream(File.ReadAllBytes(symbols));
        return LoadFromStream(assembly, pdb);
    }

    /// <inheritdoc/>
    protected override Assembly? Load(AssemblyName assemblyName) =>
        Array.IndexOf(Shared, assemblyName.Name) >= 0 ? null
        : _resolver.ResolveAssemblyToPath(assemblyName) is { } path ? LoadFile(path) : null;

    /// <inheritdoc/>
    protected override nint LoadUnmanagedDll(string unmanagedDllName) =>
        _resolver.ResolveUnmanagedDllToPath(unmanagedDllName) is { } path ? LoadUnmanagedDllFromPath(path) : 0;
}
