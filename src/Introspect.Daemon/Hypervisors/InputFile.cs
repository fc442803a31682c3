using Introspect.Daemon.Cli;

namespace Introspect.Daemon.Hypervisors;

/// <summary>Reads the files that a user names.</summary>
internal static class InputFile
{
    // Larger than any kernel; a device file or a disk image is not read to its end.
    private const long MaxFileBytes = 1L << 30;

    /// <summary>Reads a file.</summary>
    /// <param name="path">Its path.</param>
    /// <param name="what">What it is to the user: <c>kernel</c>.</param>
    /// <exception cref="UserError">It is not there, or cannot be read.</exception>
    public static byte[] Read(string path, string what)
    {
        try
        {
            using var file = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read);

            // /proc/kallsyms and its like have no length that tells anything.
            if (!file.CanSeek || file.Length > MaxFileBytes || (file.Length == 0 && !path.StartsWith("/proc/", StringComparison.Ordinal) && IsDevice(path)))
            {
                throw UserError.Failure($"{what} '{path}': this is no regular file of at most {MaxFileBytes >> 20} MiB; name an image");
            }

            if (file.Length == 0)
            {
                using var content = new MemoryStream();
                file.CopyTo(content);
                return content.ToArray();
            }

            var bytes = new byte[file.Length];
            file.ReadExactly(bytes);
            return bytes;
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            throw UserError.Failure($"{what} '{path}': there is no such file; check the path", e);
        }
        catch (UnauthorizedAccessException e)
        {
            throw UserError.Failure($"{what} '{path}': {(Directory.Exists(path) ? "this is a directory; name a file" : "it may not be read; check its permissions")}", e);
        }
        catch (IOException e)
        {
            throw UserError.Failure($"{what} '{path}': it cannot be read ({e.Message})", e);
        }
    }

    private static bool IsDevice(string path) => (File.GetAttributes(path) & FileAttributes.Device) != 0;
}
