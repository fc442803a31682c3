namespace Introspect.Rules.Plugins;

/// <summary>
/// Says that an assembly is a plugin, which class it is made of, and for which interface it was built. Read before any
/// code of the plugin is loaded.
/// </summary>
/// <param name="name">Name in the configuration, in logs, metrics and records: lower-case letters, digits, <c>-</c> and <c>_</c>.</param>
/// <param name="plugin">A class with a public constructor without parameters that implements <see cref="IHandlerPlugin"/>.</param>
[AttributeUsage(AttributeTargets.Assembly)]
public sealed class HandlerPluginAttribute(string name, Type plugin) : Attribute
{
    /// <summary>The plugin's name.</summary>
    public string Name { get; } = name;

    /// <summary>The plugin's class.</summary>
    public Type Plugin { get; } = plugin;

    /// <summary>The interface that the plugin was built for: always write <see cref="PluginApi.Version"/>, which the compiler turns into the number.</summary>
    public required string ApiVersion { get; init; }
}
