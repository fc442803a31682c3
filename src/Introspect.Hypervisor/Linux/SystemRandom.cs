namespace Introspect.Hypervisor.Linux;

/// <summary>Random bytes of the kernel. The runtime would load OpenSSL for them, which a dom0 need not have.</summary>
internal static unsafe class SystemRandom
{
    /// <summary>Fills a buffer.</summary>
    public static void Fill(Span<byte> destination)
    {
        while (!destination.IsEmpty)
        {
            nint filled;

            // SAFETY: the kernel writes at most the bytes of the buffer, which stays where it is meanwhile.
            fixed (byte* buffer = destination)
            {
                filled = Libc.GetRandom(buffer, (nuint)destination.Length, 0);
            }

            if (filled > 0)
            {
                destination = destination[(int)filled..];
            }
            else if (Libc.LastError != Errno.EINTR)
            {
                throw Libc.Failure("the kernel gave no random bytes");
            }
        }
    }
}
