using System.Reflection.Metadata;
using System.Reflection.PortableExecutable;
using System.Text;

namespace Introspect.Rules.Plugins;

/// <summary>
/// A plugin on disk: a folder with one plugin assembly among its dependencies, or the assembly itself. Looked at without
/// loading or running any of it.
/// </summary>
/// <param name="AssemblyPath">The plugin's assembly.</param>
/// <param name="Name">The name that it gives itself.</param>
/// <param name="ApiVersion">The interface that it was built for.</param>
/// <param name="Stamp">Changes when any file of the folder does.</param>
internal sealed record PluginFolder(string AssemblyPath, string Name, string ApiVersion, string Stamp)
{
    private const string AttributeNamespace = "Introspect.Rules.Plugins";
    private const string AttributeName = nameof(HandlerPluginAttribute);

    /// <summary>Looks at a plugin.</summary>
    /// <param name="path">The folder, or the assembly in it.</param>
    /// <exception cref="PluginException">It is none, or does not fit.</exception>
    public static PluginFolder Open(string path)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        try
        {
            var found = Find(Path.GetFullPath(path), path);
            if (!PluginNames.IsName(found.Name))
            {
                throw new PluginException($"plugin '{path}' calls itself '{found.Name}'; a name is {PluginNames.Rule}");
            }

            return PluginApi.WhyNot(found.ApiVersion) is { } why ? throw new PluginException($"plugin {found.Name} ('{path}') does not fit: {why}") : found;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new PluginException($"plugin '{path}' cannot be read: {e.Message}; check the folder and its permissions", e);
        }
    }

    private static PluginFolder Find(string full, string path)
    {
        if (File.Exists(full))
        {
            var (name, version) = Read(full) ?? throw new PluginException($"'{path}' is no plugin: it has no [assembly: HandlerPlugin(…)]; name a plugin's folder or its assembly");
            return new(full, name, version, StampOf(Path.GetDirectoryName(full)!));
        }

        if (!Directory.Exists(full))
        {
            throw new PluginException($"plugin '{path}' is not there; give the folder that the plugin was published to");
        }

        var plugins = Directory.GetFiles(full, "*.dll").Order(StringComparer.Ordinal)
            .Select(file => (File: file, Identity: Read(file)))
            .Where(candidate => candidate.Identity is not null).ToList();
        return plugins.Count switch
        {
            1 => new(plugins[0].File, plugins[0].Identity!.Value.Name, plugins[0].Identity!.Value.Version, StampOf(full)),
            0 => throw new PluginException($"there is no plugin in '{path}': none of its assemblies has [assembly: HandlerPlugin(…)]; publish one there"),
            _ => throw new PluginException($"there are {plugins.Count} plugins in '{path}': {string.Join(", ", plugins.Select(p => Path.GetFileName(p.File)))}; give each a folder of its own"),
        };
    }

    // The name and the version in the attribute; null for what is no plugin, or no assembly at all.
    private static (string Name, string Version)? Read(string file)
    {
        try
        {
            using var portable = new PEReader(new MemoryStream(File.ReadAllBytes(file)));
            if (!portable.HasMetadata)
            {
                return null;
            }

            var metadata = portable.GetMetadataReader();
            foreach (var handle in metadata.IsAssembly ? metadata.GetAssemblyDefinition().GetCustomAttributes() : default)
            {
                var attribute = metadata.GetCustomAttribute(handle);
                if (IsOurs(metadata, attribute))
                {
                    return Decode(metadata, attribute);
                }
            }

            return null;
        }
        catch (BadImageFormatException)
        {
            return null;
        }
    }

    private static bool IsOurs(MetadataReader metadata, CustomAttribute attribute)
    {
        if (attribute.Constructor.Kind != HandleKind.MemberReference
            || metadata.GetMemberReference((MemberReferenceHandle)attribute.Constructor).Parent is not { Kind: HandleKind.TypeReference } parent)
        {
            return false;
        }

        var type = metadata.GetTypeReference((TypeReferenceHandle)parent);
        return metadata.StringComparer.Equals(type.Name, AttributeName) && metadata.StringComparer.Equals(type.Namespace, AttributeNamespace);
    }

    // ECMA-335 II.23.3: a prolog, the constructor's two arguments, the number of named ones, and those.
    private static (string Name, string Version) Decode(MetadataReader metadata, CustomAttribute attribute)
    {
        const byte Property = 0x54;
        const byte StringType = 0x0e;
        var blob = metadata.GetBlobReader(attribute.Value);
        if (blob.ReadUInt16() != 1)
        {
            throw new BadImageFormatException();
        }

        var name = blob.ReadSerializedString() ?? "";
        blob.ReadSerializedString(); // the class
        var version = "none";
        for (int left = blob.ReadUInt16(); left > 0 && blob.ReadByte() == Property && blob.ReadByte() == StringType; left--)
        {
            var key = blob.ReadSerializedString();
            var value = blob.ReadSerializedString();
            version = key == nameof(HandlerPluginAttribute.ApiVersion) ? value ?? version : version;
        }

        return (name, version);
    }

    private static string StampOf(string folder)
    {
        var text = new StringBuilder();
        foreach (var file in new DirectoryInfo(folder).EnumerateFiles("*", SearchOption.AllDirectories).OrderBy(file => file.FullName, StringComparer.Ordinal))
        {
            text.Append(file.FullName).Append('|').Append(file.Length).Append('|').Append(file.LastWriteTimeUtc.Ticks).Append('\n');
        }

        return text.ToString();
    }
}
