namespace Introspect.Hypervisor.Core.Lab;

/// <summary>Where the cores of domains go that are dumped at their end. A later one of the same name takes the place of the one before, as xl has it.</summary>
internal static class LabDumps
{
    private const string Suffix = ".core";

    // What a file's name has beside it is the suffix and, while it is written, a UUID.
    private const int MostName = 200;

    /// <summary>The folder: in <c>/var/lib</c> for root, else in the user's folder for state.</summary>
    public static string FolderOf(uint user, Func<string, string?> variable)
    {
        var folder = user == 0 ? "/var/lib"
            : variable("XDG_STATE_HOME") is { Length: > 0 } state && Path.IsPathRooted(state) ? state
            : Path.Combine(variable("HOME") is { Length: > 0 } home && Path.IsPathRooted(home) ? home : Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), ".local", "state");
        return Path.Combine(folder, "introspect", "dump");
    }

    /// <summary>The file for a domain, whose name is what anybody may have chosen.</summary>
    public static string PathFor(string folder, string name)
    {
        var safe = string.Concat(name.Take(MostName).Select(static c => char.IsAsciiLetterOrDigit(c) || c is '-' or '_' or '.' ? c : '_'));
        return Path.Combine(folder, (safe.StartsWith('.') ? "_" + safe[1..] : safe) + Suffix);
    }
}
