using System.Reflection;

namespace Introspect.Daemon;

/// <summary>What the program says of itself.</summary>
internal static class ProgramInfo
{
    /// <summary>The version, without the commit that a build may append.</summary>
    public static string Version { get; } =
        typeof(ProgramInfo).Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()?.InformationalVersion.Split('+')[0] ?? "0.0.0";
}
