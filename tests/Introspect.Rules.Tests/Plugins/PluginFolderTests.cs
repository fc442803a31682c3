using System.Reflection;
using System.Reflection.Emit;
using Introspect.Rules.Plugins;

namespace Introspect.Rules.Tests.Plugins;

/// <summary>Folders as they are found on disk, made here with assemblies that say what the tests want.</summary>
public sealed class PluginFolderTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("introspect-plugin-").FullName;

    [Fact]
    public void A_plugin_among_its_dependencies_is_found_without_loading_it()
    {
        Write("A.dll", null, null);
        Write("B.dll", "my-plugin", PluginApi.Version);
        File.WriteAllText(Path.Combine(_folder, "C.dll"), "no assembly at all");
        var found = PluginFolder.Open(_folder);
        Assert.Equal((Path.Combine(_folder, "B.dll"), "my-plugin", PluginApi.Version), (found.AssemblyPath, found.Name, found.ApiVersion));
        Assert.Equal(found, PluginFolder.Open(Path.Combine(_folder, "B.dll")));
    }

    [Fact]
    public void A_change_of_any_file_is_noticed()
    {
        Write("B.dll", "my-plugin", PluginApi.Version);
        var before = PluginFolder.Open(_folder);
        Assert.Equal(before, PluginFolder.Open(_folder));
        File.WriteAllText(Path.Combine(_folder, "settings.json"), "{}");
        Assert.NotEqual(before.Stamp, PluginFolder.Open(_folder).Stamp);
    }

    [Fact]
    public void What_is_not_there_is_named()
    {
        AssertRefused(Path.Combine(_folder, "gone"), "is not there; give the folder that the plugin was published to");
        AssertRefused(_folder, "there is no plugin in");
        Write("A.dll", null, null);
        AssertRefused(_folder, "none of its assemblies has [assembly: HandlerPlugin(…)]");
        AssertRefused(Path.Combine(_folder, "A.dll"), "is no plugin: it has no [assembly: HandlerPlugin(…)]");
        File.WriteAllBytes(Path.Combine(_folder, "broken.dll"), [0x4d, 0x5a, 0, 0]);
        AssertRefused(Path.Combine(_folder, "broken.dll"), "is no plugin");
    }

    [Fact]
    public void Two_plugins_in_one_folder_are_too_many()
    {
        Write("A.dll", "one", PluginApi.Version);
        Write("B.dll", "two", PluginApi.Version);
        AssertRefused(_folder, "there are 2 plugins in", "A.dll, B.dll; give each a folder of its own");
    }

    [Theory]
    [InlineData("2.0", "was built for version 2.0 of the plugin interface and this is version 1.0; update introspect")]
    [InlineData("1.1", "was built for version 1.1 of the plugin interface and this is version 1.0; update introspect")]
    [InlineData("0.9", "was built for version 0.9 of the plugin interface and this is version 1.0; build the plugin anew")]
    [InlineData("one", "built for version 'one' of the plugin interface, which is none")]
    [InlineData("", "built for version '' of the plugin interface, which is none")]
    public void A_version_that_does_not_fit_is_told_before_anything_is_loaded(string version, string what)
    {
        Write("A.dll", "my-plugin", version);
        AssertRefused(_folder, "plugin my-plugin", what);
    }

    [Theory]
    [InlineData("My Plugin")]
    [InlineData("1plugin")]
    [InlineData("")]
    [InlineData("plugin/../other")]
    public void A_name_that_cannot_be_a_label_is_refused(string name)
    {
        Write("A.dll", name, PluginApi.Version);
        AssertRefused(_folder, $"calls itself '{name}'; a name is lower-case letters");
    }

    [Fact]
    public void A_class_that_is_no_plugin_is_refused_when_it_is_loaded()
    {
        Write("A.dll", "my-plugin", PluginApi.Version);
        var refused = Assert.Throws<PluginException>(() => LoadedPlugin.Load(Path.Combine(_folder, "A.dll"), "my-plugin", [], isCollectible: true, (_, _) => { }));
        Assert.Equal("plugin my-plugin: its class Empty does not implement IHandlerPlugin; name one that does", refused.Message);
    }

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    private static void AssertRefused(string path, params string[] told)
    {
        var refused = Assert.Throws<PluginException>(() => PluginFolder.Open(path));
        Assert.All(told, text => Assert.Contains(text, refused.Message, StringComparison.Ordinal));
        Assert.DoesNotContain("\n", refused.Message, StringComparison.Ordinal);
    }

    private void Write(string file, string? name, string? version)
    {
        var assembly = new PersistedAssemblyBuilder(new AssemblyName(Path.GetFileNameWithoutExtension(file)), typeof(object).Assembly);
        var type = assembly.DefineDynamicModule("main").DefineType("Empty", TypeAttributes.Public | TypeAttributes.Class);
        type.DefineDefaultConstructor(MethodAttributes.Public);
        type.CreateType();
        if (name is not null)
        {
            assembly.SetCustomAttribute(new CustomAttributeBuilder(
                typeof(HandlerPluginAttribute).GetConstructor([typeof(string), typeof(Type)])!,
                [name, type],
                [typeof(HandlerPluginAttribute).GetProperty(nameof(HandlerPluginAttribute.ApiVersion))!],
                [version]));
        }

        assembly.Save(Path.Combine(_folder, file));
    }
}
