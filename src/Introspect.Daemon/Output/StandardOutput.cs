using Microsoft.Win32.SafeHandles;

namespace Introspect.Daemon.Output;

/// <summary>
/// stdout as a stream that tells when its reader has gone. The runtime's own stream writes into nothing then, and a
/// trace behind <c>| head</c> would never end.
/// </summary>
internal static class StandardOutput
{
    private const int Descriptor = 1;
    private const int BrokenPipe = 32;

    /// <summary>Opens stdout, unbuffered.</summary>
    public static Stream Open()
    {
        var stream = new FileStream(new SafeFileHandle(Descriptor, ownsHandle: false), FileAccess.Write, bufferSize: 0);
        if (!stream.CanSeek)
        {
            return stream;
        }

        // A file has no reader that could go; and a FileStream would not move the position that the descriptor
        // shares with who else writes there ('(a; b) > file').
        stream.Dispose();
        return Console.OpenStandardOutput();
    }

    /// <summary>True when the reader has gone.</summary>
    public static bool IsClosed(IOException e) => (e.HResult & 0xffff) == BrokenPipe;
}
