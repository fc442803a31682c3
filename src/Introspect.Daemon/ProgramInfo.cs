using System.Reflection;

namespace Introspect.Daemon;

/// <summary>What the program says of itself.</summary>
internal static class ProgramInfo
{
    /// <summary>The version, without the commit that a build may append.</summary>
    public static string Version { get; } =
        typeof(ProgramInfo).Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()?.InformationalVersion.Split('+')[0] ?? "0.0.0";

    /// <summary>How this program is started once more.</summary>
    /// <param name="arguments">With what.</param>
    public static (string FileName, IReadOnlyList<string> Arguments) Again(params IReadOnlyList<string> arguments)
    {
        var own = Environment.ProcessPath;
        return own is not null && Path.GetFileNameWithoutExtension(own) == "introspect"
            ? (own, arguments)
            : (
                Path.GetFileName(own) == "dotnet" ? own! : Environment.GetEnvironmentVariable("DOTNET_HOST_PATH") ?? "dotnet",
                [Path.Combine(AppContext.BaseDirectory, "introspect.dll"), .. arguments]);
    }
}
