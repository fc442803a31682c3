using Introspect.Rules.Capture;

namespace Introspect.Rules.Tests.Capture;

/// <summary>A capture whose stream fails, and cannot even be cut.</summary>
public sealed class CaptureFullDiskTests
{
    public static TheoryData<string> Failures => ["io", "access", "argument", "support"];

    [Theory]
    [MemberData(nameof(Failures))]
    public void the_failure_of_the_write_is_told_and_not_that_of_the_cut_after_it(string cut)
    {
        using var stream = new FailingStream(Of(cut, "cut"));
        var blocks = Begin(stream);
        stream.Failure = new IOException("no space left on device");
        Assert.Equal("no space left on device", Assert.Throws<IOException>(() => blocks.Write(BlockKind.Header, new byte[64], 1)).Message);
        Assert.True(stream.WasCut);
    }

    [Theory]
    [MemberData(nameof(Failures))]
    public void what_a_write_left_is_cut_off_whatever_it_failed_with(string write)
    {
        using var stream = new FailingStream(cut: null);
        var blocks = Begin(stream);
        var whole = stream.Length;
        var failure = Of(write, "write");
        stream.Failure = failure;
        Assert.Same(failure, Record.Exception(() => blocks.Write(BlockKind.Header, new byte[64], 1)));
        Assert.Equal(whole, stream.Length);
    }

    private static BlockWriter Begin(FailingStream stream)
    {
        var blocks = new BlockWriter(stream, maxRaw: 64, compress: false);
        blocks.WritePrelude();
        return blocks;
    }

    private static Exception Of(string kind, string message) => kind switch
    {
        "io" => new IOException(message),
        "access" => new UnauthorizedAccessException(message),
        "argument" => new ArgumentOutOfRangeException(message),
        _ => new NotSupportedException(message),
    };

    /// <summary>Takes a part of a write, and then fails.</summary>
    private sealed class FailingStream(Exception? cut) : MemoryStream
    {
        public Exception? Failure { get; set; }

        public bool WasCut { get; private set; }

        public override void Write(ReadOnlySpan<byte> buffer)
        {
            base.Write(Failure is null ? buffer : buffer[..(buffer.Length / 2)]);
            if (Failure is not null)
            {
                throw Failure;
            }
        }

        public override void SetLength(long value)
        {
            WasCut = true;
            if (cut is not null)
            {
                throw cut;
            }

            base.SetLength(value);
        }
    }
}
