using Introspect.Hypervisor;
using Introspect.Rules.Capture;

namespace Introspect.Rules.Tests.Capture;

/// <summary>Files that are not as they were written.</summary>
public class CaptureDamageTests
{
    private const int Prelude = 16;
    private const int Header = 32;

    [Fact]
    public void A_file_that_was_cut_off_is_used_up_to_its_last_whole_block()
    {
        var records = Captures.Random(new(3), 12);
        var file = Captures.Write(records, end: Captures.End(), eventsInBlock: 3);
        var starts = BlockStarts(file);
        for (var length = starts[1]; length < file.Length; length++)
        {
            var whole = starts.FindLastIndex(start => start <= length);
            using var capture = Captures.Open(file[..length]);
            Captures.AssertSame(records[..Math.Min(3 * (whole - 1), records.Count)], Captures.ReadEvents(capture));
            Assert.Equal((length - starts[whole], starts[whole], null), (capture.CutOffBytes, capture.Position, capture.End));
        }
    }

    [Fact]
    public void A_file_without_its_header_is_refused()
    {
        var file = Captures.Write([]);
        for (var length = 0; length < file.Length; length++)
        {
            Assert.Throws<CaptureException>(() => Captures.Open(file[..length]));
        }
    }

    [Fact]
    public void A_flipped_bit_is_refused_where_it_is()
    {
        var file = Captures.Write(Captures.Random(new(5), 4), end: Captures.End(), eventsInBlock: 2);
        var starts = BlockStarts(file);
        for (var bit = 0; bit < file.Length * 8; bit++)
        {
            var damaged = (byte[])file.Clone();
            damaged[bit / 8] ^= (byte)(1 << (bit % 8));
            var at = bit / 8 < Prelude ? 0 : starts.FindLast(start => start <= bit / 8);
            var refused = Assert.Throws<CaptureException>(() => Captures.ReadEvents(damaged));
            Assert.True(refused.Offset == at, $"bit {bit}: {refused.Message}");
            Assert.True(bit / 8 < Prelude || refused.Message.Contains($"at offset 0x{at:x} ", StringComparison.Ordinal), refused.Message);
        }
    }

    [Fact]
    public void What_comes_before_the_damage_is_read()
    {
        var records = Captures.Random(new(5), 9);
        var file = Captures.Write(records, eventsInBlock: 3);
        var third = BlockStarts(file)[3];
        file[third + Header + 1] ^= 1;
        using var capture = Captures.Open(file);
        var summary = CaptureSummary.Of(capture);
        Assert.Equal((6, 3), (summary.Events, summary.Blocks));
        Assert.Equal(third, summary.Damage!.Offset);
        Assert.Equal(CaptureItem.None, capture.Read());
    }

    [Theory]
    [InlineData(1)]
    [InlineData(32)]
    [InlineData(10_000)]
    public void Zeros_behind_the_end_of_what_was_written_are_no_damage(int zeros)
    {
        var records = Captures.Random(new(5), 4);
        var file = Captures.Write(records);
        using var capture = Captures.Open([.. file, .. new byte[zeros]]);
        Captures.AssertSame(records, Captures.ReadEvents(capture));
        Assert.Equal((zeros, file.Length), (capture.CutOffBytes, capture.Position));
        Assert.Throws<CaptureException>(() => Captures.ReadEvents([.. file, .. new byte[100], 1]));
    }

    [Fact]
    public void Blocks_that_are_missing_or_in_another_order_are_noticed()
    {
        var file = Captures.Write(Captures.Random(new(5), 8), end: Captures.End(), eventsInBlock: 2);
        var starts = BlockStarts(file);
        byte[] Block(int i) => file[starts[i]..(i + 1 < starts.Count ? starts[i + 1] : file.Length)];
        Assert.Throws<CaptureException>(() => Captures.ReadEvents([.. file[..starts[2]], .. file[starts[3]..]]));
        Assert.Throws<CaptureException>(() => Captures.ReadEvents([.. file[..starts[1]], .. Block(2), .. Block(1), .. file[starts[3]..]]));
        Assert.Throws<CaptureException>(() => Captures.ReadEvents([.. file[..starts[2]], .. Block(1), .. file[starts[2]..]]));
        Assert.Throws<CaptureException>(() => Captures.ReadEvents([.. file, .. Block(1)]));
    }

    [Fact]
    public void Another_file_and_a_newer_one_are_told_apart()
    {
        Assert.Contains("no capture", Assert.Throws<CaptureException>(() => Captures.Open("#!/bin/sh\nexit 0\n"u8.ToArray())).Message, StringComparison.Ordinal);
        var file = Captures.Write([]);
        file[8] = 2;
        BitConverter.TryWriteBytes(file.AsSpan(12), Crc32C.Of(file.AsSpan(0, 12)));
        Assert.Contains("format version 2", Assert.Throws<CaptureException>(() => Captures.Open(file)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void The_checksum_is_the_known_one() => Assert.Equal(0xe3069283u, Crc32C.Of("123456789"u8));

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void A_full_disk_ends_the_recording_and_leaves_whole_blocks(bool canCutOff)
    {
        var records = Captures.Random(new(17), 4000);
        var room = Captures.Write(records).Length / 2;
        using var disk = new FullDisk(room, canCutOff);
        using (var writer = new CaptureWriter(disk, Captures.Header()))
        {
            Assert.Throws<IOException>(() => records.ForEach(record => writer.TryWrite(in record)));
            Assert.Throws<IOException>(() => writer.TryWrite(records[0]));
            writer.Complete(Captures.End());
        }

        using var capture = Captures.Open(disk.ToArray());
        var read = Captures.ReadEvents(capture);
        Assert.InRange(read.Count, 1, records.Count - 1);
        Captures.AssertSame(records[..read.Count], read);
        Assert.Equal(canCutOff, capture.CutOffBytes == 0);
        Assert.Null(capture.End);
    }

    private static List<int> BlockStarts(byte[] file)
    {
        var starts = new List<int>();
        for (var at = Prelude; at < file.Length; at += Header + BitConverter.ToInt32(file, at + 20))
        {
            starts.Add(at);
        }

        return starts;
    }

    // A disk that takes a part of the last block.
    private sealed class FullDisk(int room, bool canSeek) : MemoryStream
    {
        public override bool CanSeek => canSeek;

        public override void Write(ReadOnlySpan<byte> buffer)
        {
            var fits = (int)Math.Min(buffer.Length, room - Position);
            base.Write(buffer[..fits]);
            if (fits < buffer.Length)
            {
                throw new IOException("No space left on device");
            }
        }
    }
}
