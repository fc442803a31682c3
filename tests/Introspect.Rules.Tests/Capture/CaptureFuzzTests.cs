using System.Runtime.InteropServices;
using Introspect.Rules.Capture;

namespace Introspect.Rules.Tests.Capture;

/// <summary>A capture comes from anywhere: nothing in it does more than be refused, however right its checksums are.</summary>
public class CaptureFuzzTests
{
    private const int Rounds = 3000;

    // Buffers of a block before and after compression, the table of names, and the events of each vCPU.
    private const long MostBytes = 40L << 20;

    [Fact]
    public void Changed_bytes_are_refused_and_nothing_else_happens()
    {
        var random = new Random(20260301);
        var file = Captures.Write(Captures.Random(new(23), 40), end: Captures.End(), eventsInBlock: 10);
        for (var i = 0; i < Rounds; i++)
        {
            ReadAll(Mutate(random, file));
        }
    }

    [Fact]
    public void Changed_records_in_a_block_with_right_checksums_are_refused_or_read_and_nothing_else_happens()
    {
        var random = new Random(20260302);
        var (header, records) = Contents();
        var (refused, read) = (0, 0);
        for (var i = 0; i < Rounds; i++)
        {
            using var stream = new MemoryStream();
            var blocks = new BlockWriter(stream, 1 << 20, compress: random.Next(2) == 0);
            blocks.WritePrelude();
            blocks.Write(BlockKind.Header, random.Next(3) == 0 ? Mutate(random, header) : header, 1);
            blocks.Write(BlockKind.Records, Mutate(random, records), (uint)random.Next(1, 60));
            if (ReadAll(stream.ToArray()))
            {
                read++;
            }
            else
            {
                refused++;
            }
        }

        Assert.True(refused > Rounds / 2);
        Assert.True(read + refused == Rounds);
    }

    [Fact]
    public void A_block_that_claims_more_than_there_may_be_is_refused_before_memory_is_taken()
    {
        using var stream = new MemoryStream();
        var blocks = new BlockWriter(stream, 4 << 20, compress: true);
        blocks.WritePrelude();
        blocks.Write(BlockKind.Header, Contents().Header, 1);
        blocks.Write(BlockKind.Records, new byte[3 << 20], 1);
        var before = GC.GetAllocatedBytesForCurrentThread();
        var refused = Assert.Throws<CaptureException>(() => Captures.ReadEvents(stream.ToArray()));
        Assert.Contains("too large", refused.Message, StringComparison.Ordinal);
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, 1 << 20);
    }

    [Fact]
    public void Names_without_end_do_not_fill_the_memory()
    {
        using var stream = new MemoryStream();
        using (var writer = new CaptureWriter(stream, Captures.Header()))
        {
            var name = new string('x', 4000);
            for (var i = 0ul; i < 10_000; i++)
            {
                writer.TryWriteSymbol(i, name, 0);
            }
        }

        using var capture = Captures.Open(stream.ToArray());
        Assert.Equal(CaptureItem.None, capture.Read());
        Assert.InRange(capture.Symbols.Count, 1, 2000);
    }

    private static bool ReadAll(byte[] file)
    {
        var before = GC.GetAllocatedBytesForCurrentThread();
        try
        {
            using var capture = Captures.Open(file);
            while (capture.Read() is var item && item != CaptureItem.None)
            {
                if (item == CaptureItem.Event)
                {
                    _ = capture.Memory.KnownBytes + capture.Event.Verdict.ToString().Length;
                }
            }

            return true;
        }
        catch (CaptureException e)
        {
            Assert.NotEmpty(e.Message);
            return false;
        }
        finally
        {
            Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, MostBytes);
        }
    }

    private static (byte[] Header, byte[] Records) Contents()
    {
        var file = Captures.Write(Captures.Random(new(29), 30), new() { Compress = false }, Captures.End());
        var content = file.AsSpan(16);
        var headerLength = MemoryMarshal.Read<int>(content[20..]);
        var header = content.Slice(32, headerLength).ToArray();
        content = content[(32 + headerLength)..];
        return (header, content.Slice(32, MemoryMarshal.Read<int>(content[20..])).ToArray());
    }

    private static byte[] Mutate(Random random, byte[] bytes)
    {
        var changed = bytes.ToList();
        for (var i = random.Next(1, 6); i > 0; i--)
        {
            var at = random.Next(changed.Count);
            switch (random.Next(5))
            {
                case 0:
                    changed[at] = (byte)random.Next(256);
                    break;
                case 1:
                    changed[at] = 0xff;
                    break;
                case 2:
                    changed.RemoveRange(at, Math.Min(random.Next(1, 9), changed.Count - at));
                    break;
                case 3:
                    changed.InsertRange(at, Enumerable.Repeat((byte)(random.Next(2) * 0xff), random.Next(1, 12)));
                    break;
                default:
                    changed[at] ^= (byte)(1 << random.Next(8));
                    break;
            }

            if (changed.Count == 0)
            {
                changed.Add(0);
            }
        }

        return [.. changed];
    }
}
