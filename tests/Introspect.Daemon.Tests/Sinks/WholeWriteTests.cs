using Introspect.Daemon.Sinks;

namespace Introspect.Daemon.Tests.Sinks;

public sealed class WholeWriteTests : IDisposable
{
    private readonly string _path = Path.Combine(Path.GetTempPath(), $"introspect-whole-{Guid.NewGuid():N}");

    public void Dispose() => File.Delete(_path);

    [Fact]
    public void a_file_that_is_as_long_as_its_file_system_lets_it_be_is_an_error_like_a_full_disk()
    {
        var longest = Longest();
        using (var file = (FileStream)JsonSink.OpenFile(_path))
        {
            Assert.ThrowsAny<IOException>(() => WholeWrite.Append(file, new byte[8192]));
        }

        Assert.Equal(longest, new FileInfo(_path).Length);
    }

    // The file is that long afterwards, and takes no room.
    private long Longest()
    {
        using var file = new FileStream(_path, FileMode.Create);
        long longest = 0;
        for (var step = 1L << 62; step != 0; step >>= 1)
        {
            try
            {
                file.SetLength(longest + step);
                longest += step;
            }
            catch (Exception e) when (e is IOException or ArgumentException)
            {
                // Too long.
            }
        }

        file.SetLength(longest);
        return longest;
    }
}
