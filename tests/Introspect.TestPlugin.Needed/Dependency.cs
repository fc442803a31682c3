namespace Introspect.TestPlugin.Needed;

/// <summary>Something that the plugin cannot do without.</summary>
public static class Dependency
{
    /// <summary>A number that nobody else knows.</summary>
    public static ulong Secret => 0x5eed;
}
