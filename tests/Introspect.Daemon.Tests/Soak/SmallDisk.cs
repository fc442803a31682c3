namespace Introspect.Daemon.Tests.Soak;

/// <summary>
/// A folder on a disk of its own that is soon full: a file system of a given size where this user may mount one, and an
/// ordinary folder where not.
/// </summary>
internal sealed class SmallDisk : IDisposable
{
    public SmallDisk(string path, int kibibytes)
    {
        Folder = Directory.CreateDirectory(path).FullName;
        IsSmall = Repository.HasTool("mount") && Repository.Run("mount", ["-t", "tmpfs", "-o", $"size={kibibytes}k", "introspect-soak", Folder]).ExitCode == 0;
    }

    public string Folder { get; }

    /// <summary>The disk is as small as it should be.</summary>
    public bool IsSmall { get; }

    /// <summary>The next large write fails.</summary>
    public bool IsFull => IsSmall && new DriveInfo(Folder).AvailableFreeSpace < 1 << 17;

    public void Dispose()
    {
        if (IsSmall)
        {
            Repository.Run("umount", ["-l", Folder]);
        }
    }
}
