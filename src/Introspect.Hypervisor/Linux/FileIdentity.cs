namespace Introspect.Hypervisor.Linux;

/// <summary>Which file it is, whatever it is called. No other has the same while somebody holds it open.</summary>
/// <param name="Device">Device, its major number in the upper half.</param>
/// <param name="Inode">Number on the device.</param>
internal readonly record struct FileIdentity(ulong Device, ulong Inode)
{
    /// <summary>The file at a path, links not followed; null: there is none that can be looked at.</summary>
    public static unsafe FileIdentity? Of(string path)
    {
        Libc.Statx found;

        // SAFETY: the kernel fills a structure on the stack, which is as long as it says.
        return Libc.StatFile(Libc.AtFdCwd, path, Libc.AtSymlinkNoFollow, Libc.StatxIno, &found) == 0
            ? new(((ulong)found.DeviceMajor << 32) | found.DeviceMinor, found.Inode)
            : null;
    }
}
