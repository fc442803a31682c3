namespace Introspect.Hypervisor.Linux;

/// <summary>The descriptors that every process has from the beginning.</summary>
internal static class StandardDescriptors
{
    private const int Output = 1;
    private const int Error = 2;

    /// <summary>What this process writes to its standard output, native libraries included, goes from now on where its standard error goes.</summary>
    /// <exception cref="HypervisorException">There is no standard error.</exception>
    public static void JoinOutputAndError()
    {
        while (Libc.Duplicate(Error, Output) < 0)
        {
            if (Libc.LastError != Errno.EINTR)
            {
                throw Libc.Failure("the standard output cannot go where the standard error goes");
            }
        }
    }
}
