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

        Directory.Delete(Folder, recursive: true);
    }
}

/// <summary>A test that needs a disk that is really full; skipped, and shown as such, where none can be mounted.</summary>
[AttributeUsage(AttributeTargets.Method)]
internal sealed class NeedsSmallDiskFactAttribute : FactAttribute
{
    private static readonly Lazy<bool> CanMount = new(() =>
    {
        using var disk = new SmallDisk(Path.Combine(Path.GetTempPath(), $"introspect-disk-{Guid.NewGuid():N}"), 64);
        return disk.IsSmall;
    });

    public NeedsSmallDiskFactAttribute()
    {
        if (!CanMount.Value)
        {
            Skip = "this user may not mount a file system";
        }
    }
}
