namespace Introspect.Daemon.Sinks;

/// <summary>Appends to files that keep nothing of a write that failed.</summary>
internal static class WholeWrite
{
    /// <summary>Appends bytes, or none.</summary>
    /// <exception cref="IOException">They could not be written.</exception>
    public static void Append(FileStream file, ReadOnlySpan<byte> bytes)
    {
        var before = file.Length;
        try
        {
            file.Write(bytes);
            file.Flush();
        }
        catch (ArgumentOutOfRangeException e)
        {
            // How the runtime tells that a file has the most bytes that its file system, or a limit, lets it have.
            CutOff(file, before);
            throw new IOException($"{file.Name}: the file is as long as it may be ({before} bytes)", e);
        }
        catch (IOException)
        {
            CutOff(file, before);
            throw;
        }
    }

    // A disk that is full takes the first half of a line. Where even the cut fails (a device, a file system that an error
    // made read-only) it is still the write's failure that says what is wrong.
    private static void CutOff(FileStream file, long length)
    {
        try
        {
            file.SetLength(length);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException or NotSupportedException)
        {
            // The caller throws the first failure.
        }
    }
}
