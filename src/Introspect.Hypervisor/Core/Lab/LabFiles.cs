namespace Introspect.Hypervisor.Core.Lab;

/// <summary>Files that a client names and the host opens.</summary>
internal static class LabFiles
{
    /// <summary>The host does not know where its client stands.</summary>
    public static void RequireRooted(string path, string what)
    {
        if (!Path.IsPathRooted(path))
        {
            throw new HypervisorException(Errno.EINVAL, $"{what} '{path}': the host needs the path from the root");
        }
    }

    /// <summary>Works on a file; what goes wrong is said in one line.</summary>
    public static T Guard<T>(string path, string what, Func<T> work)
    {
        try
        {
            return work();
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            throw new HypervisorException(Errno.ENOENT, $"{what} '{path}': there is no such file or directory; check the path", e);
        }
        catch (UnauthorizedAccessException e)
        {
            throw new HypervisorException(Errno.EACCES, $"{what} '{path}': the host may not open it; check permissions, and that it is no directory", e);
        }
        catch (IOException e)
        {
            throw new HypervisorException(Errno.EIO, $"{what} '{path}': {e.Message}", e);
        }
    }

    /// <summary>
    /// Writes a file under another name, and gives it its own when it is whole: whoever looks sees the old one or the new
    /// one. Only its owner may read it.
    /// </summary>
    public static void WriteWhole(string path, string what, Action<Stream> write)
    {
        RequireRooted(path, what);
        var partial = $"{path}.{Guid.NewGuid():N}.part";
        Guard(path, what, () =>
        {
            try
            {
                var options = new FileStreamOptions
                {
                    Mode = FileMode.CreateNew,
                    Access = FileAccess.Write,
                    BufferSize = 1 << 20,
                };
                if (!OperatingSystem.IsWindows())
                {
                    options.UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite;
                }

                using (var file = new FileStream(partial, options))
                {
                    write(file);
                    file.Flush(flushToDisk: true);
                }

                File.Move(partial, path, overwrite: true);
                return true;
            }
            finally
            {
                // Gone already where all went well.
                File.Delete(partial);
            }
        });
    }
}
