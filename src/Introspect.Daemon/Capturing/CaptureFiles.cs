using Introspect.Daemon.Cli;
using Introspect.Rules.Capture;

namespace Introspect.Daemon.Capturing;

/// <summary>Opens captures by the names that users give.</summary>
internal static class CaptureFiles
{
    /// <summary>The name that stands for stdin or stdout.</summary>
    public const string Standard = "-";

    /// <summary>Opens a file to record into. What is in it goes when the recording begins.</summary>
    /// <exception cref="UserError">It cannot be.</exception>
    public static Stream Create(string path)
    {
        try
        {
            // Blocks are written whole, and are large: a buffer would only delay them. What guests do is nobody else's.
            return new FileStream(path, new FileStreamOptions
            {
                Mode = FileMode.OpenOrCreate,
                Access = FileAccess.Write,
                Share = FileShare.Read,
                BufferSize = 0,
                UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite,
            });
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw UserError.Failure($"--output '{path}': {(Directory.Exists(path) ? "this is a directory" : e.Message.TrimEnd('.'))}; name a file in a directory that you may write", e);
        }
    }

    /// <summary>Opens a capture.</summary>
    /// <exception cref="UserError">It is not there, or is none.</exception>
    public static CaptureReader Open(string path)
    {
        Stream? stream = null;
        try
        {
            stream = path == Standard ? Console.OpenStandardInput() : new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite, bufferSize: 1 << 16);
            return CaptureReader.Open(stream);
        }
        catch (CaptureException e)
        {
            stream?.Dispose();
            throw Damaged(path, e);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            stream?.Dispose();
            throw UserError.Failure($"capture '{path}': {(e is FileNotFoundException or DirectoryNotFoundException ? "there is no such file; check the path" : Directory.Exists(path) ? "this is a directory; name a file" : e.Message)}", e);
        }
    }

    /// <summary>What a user is told of a capture that is none, or is damaged.</summary>
    public static UserError Damaged(string path, CaptureException e) => UserError.Failure($"capture '{path}': {e.Message}", e);
}
