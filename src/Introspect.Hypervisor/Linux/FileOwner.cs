namespace Introspect.Hypervisor.Linux;

/// <summary>Who a file belongs to, which .NET has no call for.</summary>
internal static class FileOwner
{
    private const uint AsItIs = uint.MaxValue;

    /// <summary>The effective user of this process.</summary>
    public static uint CurrentUser => Libc.GetEUid();

    /// <summary>Gives a file to a group; its user stays.</summary>
    /// <exception cref="HypervisorException">EPERM: the process is neither root nor in the group.</exception>
    public static void SetGroup(string path, uint group)
    {
        if (Libc.Chown(path, AsItIs, group) != 0)
        {
            throw Libc.Failure($"giving '{path}' to group {group} failed");
        }
    }
}
