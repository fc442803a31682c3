using System.Globalization;

namespace Introspect.Rules.Plugins;

/// <summary>The version of the interface between the monitor and its plugins.</summary>
/// <remarks>
/// A plugin carries the version that it was built against (<see cref="HandlerPluginAttribute.ApiVersion"/>). It fits when
/// the first number is the monitor's and the second is not greater than the monitor's: a new second number adds, a new
/// first number changes or takes away.
/// </remarks>
public static class PluginApi
{
    /// <summary>The version of this assembly, as a constant: what names it is stamped with it when it is built.</summary>
    public const string Version = "1.0";

    private static readonly Version Own = Parse(Version)!;

    /// <summary>Says why a plugin built against a version does not fit; null when it does.</summary>
    internal static string? WhyNot(string version)
    {
        if (Parse(version) is not { } built)
        {
            return $"it says that it was built for version '{version}' of the plugin interface, which is none; write ApiVersion = PluginApi.Version";
        }

        if (built.Major == Own.Major && built.Minor <= Own.Minor)
        {
            return null;
        }

        var remedy = built > Own ? "update introspect, or build the plugin against this release's Introspect.Rules.dll" : "build the plugin anew against this release's Introspect.Rules.dll";
        return $"it was built for version {version} of the plugin interface and this is version {Version}; {remedy}";
    }

    private static Version? Parse(string text) =>
        text.Split('.') is [var major, var minor]
        && int.TryParse(major, NumberStyles.None, CultureInfo.InvariantCulture, out var first)
        && int.TryParse(minor, NumberStyles.None, CultureInfo.InvariantCulture, out var second)
            ? new(first, second)
            : null;
}
