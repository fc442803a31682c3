using Microsoft.Win32.SafeHandles;

namespace Introspect.Hypervisor.Linux;

/// <summary>A folder's lock: one at a time changes what processes agree on there. It goes with the process, and leaves no file.</summary>
internal sealed class FolderLock : IDisposable
{
    private const int RetryMilliseconds = 10;

    private readonly SafeFileHandle _folder;

    private FolderLock(SafeFileHandle folder) => _folder = folder;

    /// <summary>Waits for the lock.</summary>
    /// <param name="folder">The folder.</param>
    /// <param name="patience">How long; who holds it does so for an instant.</param>
    /// <exception cref="HypervisorException">EBUSY: somebody does not let go of it; ENOENT, EACCES: the folder cannot be opened.</exception>
    public static FolderLock Take(string folder, TimeSpan patience)
    {
        var fd = Libc.Open(folder, Libc.ODirectory | Libc.OCloexec, 0);
        if (fd < 0)
        {
            throw Libc.Failure($"the folder '{folder}' cannot be opened: check the path and its permissions");
        }

        var handle = new SafeFileHandle(fd, ownsHandle: true);
        var deadline = Environment.TickCount64 + (long)patience.TotalMilliseconds;
        while (Libc.Flock(handle, Libc.LockExclusive | Libc.LockNonBlocking) != 0)
        {
            if (Libc.LastError is var error && (error is not (Errno.EAGAIN or Errno.EINTR) || Environment.TickCount64 >= deadline))
            {
                handle.Dispose();
                throw new HypervisorException(error == Errno.EAGAIN ? Errno.EBUSY : error, $"somebody holds the lock of the folder '{folder}' (flock): choose another folder, or end that process");
            }

            Thread.Sleep(RetryMilliseconds);
        }

        return new(handle);
    }

    /// <inheritdoc/>
    public void Dispose() => _folder.Dispose();
}
