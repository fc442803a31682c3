using Introspect.Hypervisor.Linux;

namespace Introspect.Daemon.Guests;

/// <summary>Where a user's domains are when nothing else is said.</summary>
internal static class LabSocket
{
    private const string Name = "lab.sock";

    private const UnixFileMode OwnerOnly = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute;

    /// <summary>The path: in <c>/run/introspect</c> for root, else in the user's runtime folder, else in the home folder.</summary>
    public static string DefaultPath(Func<string, string?> variable)
    {
        var folder = FileOwner.CurrentUser == 0 ? "/run/introspect"
            : variable("XDG_RUNTIME_DIR") is { Length: > 0 } runtime && Path.IsPathRooted(runtime) ? Path.Combine(runtime, "introspect")
            : Path.Combine(variable("HOME") is { Length: > 0 } home && Path.IsPathRooted(home) ? home : Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), ".introspect");
        return Path.Combine(folder, Name);
    }

    /// <summary>Makes the folder in which a socket is to be, for its owner alone.</summary>
    public static void MakeFolder(string socketPath)
    {
        if (OperatingSystem.IsLinux() && Path.GetDirectoryName(Path.GetFullPath(socketPath)) is { } folder && !Directory.Exists(folder))
        {
            Directory.CreateDirectory(folder, OwnerOnly);
        }
    }
}
