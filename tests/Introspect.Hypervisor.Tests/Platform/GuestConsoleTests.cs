using System.Buffers.Binary;
using System.Text;
using Introspect.Hypervisor.Core.Platform;

namespace Introspect.Hypervisor.Tests.Platform;

public sealed class GuestConsoleTests
{
    private static string ReadAll(GuestConsole console, ref ulong position)
    {
        var buffer = new byte[7];
        var text = new StringBuilder();
        for (var n = console.Read(ref position, buffer); n > 0; n = console.Read(ref position, buffer))
        {
            text.Append(Encoding.ASCII.GetString(buffer, 0, n));
        }

        return text.ToString();
    }

    [Fact]
    public void Readers_follow_at_their_own_pace()
    {
        var console = new GuestConsole(16);
        ulong slow = 0, fast = 0;
        console.Write("Hello, "u8);
        Assert.Equal("Hello, ", ReadAll(console, ref fast));
        console.Write("world\n"u8);
        Assert.Equal("world\n", ReadAll(console, ref fast));
        Assert.Equal("Hello, world\n", ReadAll(console, ref slow));
        Assert.Equal(13UL, console.Position);
    }

    [Theory]
    [InlineData(5)]
    [InlineData(16)]
    [InlineData(100)]
    public void A_reader_that_fell_behind_goes_on_with_the_oldest_byte(int chunk)
    {
        var text = Encoding.ASCII.GetBytes(string.Concat(Enumerable.Range(0, 40).Select(i => $"{i:00}")));
        var console = new GuestConsole(16);
        for (var i = 0; i < text.Length; i += chunk)
        {
            console.Write(text.AsSpan(i, Math.Min(chunk, text.Length - i)));
        }

        ulong position = 3;
        Assert.Equal("3233343536373839", ReadAll(console, ref position));
        Assert.Equal(80UL, position);
    }

    [Fact]
    public void A_position_from_the_future_is_brought_back()
    {
        var console = new GuestConsole();
        console.Write("x"u8);
        ulong position = 99;
        Assert.Equal(0, console.Read(ref position, new byte[4]));
        Assert.Equal(1UL, position);
    }

    [Fact]
    public void Writing_tells_and_writing_nothing_does_not()
    {
        var console = new GuestConsole();
        var told = 0;
        console.Written += () => told++;
        console.Write([]);
        console.Write("a"u8);
        Assert.Equal(1, told);
    }

    [Fact]
    public void Input_is_bounded_and_in_order()
    {
        var console = new GuestConsole();
        Assert.Equal(4096, console.QueueInput(new byte[5000]));
        Assert.Equal(0, console.QueueInput("x"u8));
        Assert.Equal(4095, console.TakeInput(new byte[4095]));
        Assert.Equal(1, console.QueueInput("x"u8));
        var rest = new byte[9];
        Assert.Equal(2, console.TakeInput(rest));
        Assert.Equal((byte)'x', rest[1]);
    }

    [Fact]
    public void Lines_come_whole_whatever_the_pieces()
    {
        var lines = new ConsoleLines();
        var seen = new List<string>();
        foreach (var piece in new[] { "Te", "st result", ": SUCCESS\r\n\x1b[0m\tü", "\n\nlast" })
        {
            lines.Append(Encoding.UTF8.GetBytes(piece), seen.Add);
        }

        Assert.Equal(["Test result: SUCCESS", "[0m\tü", ""], seen);
        lines.Flush(seen.Add);
        lines.Flush(seen.Add);
        Assert.Equal("last", seen[^1]);
        Assert.Equal(4, seen.Count);
    }

    [Fact]
    public void A_line_without_an_end_is_cut()
    {
        var seen = new List<string>();
        new ConsoleLines().Append(Enumerable.Repeat((byte)'x', 10_000).ToArray(), seen.Add);
        Assert.Equal([4096, 4096], seen.Select(l => l.Length));
    }

    [Fact]
    public void The_PV_ring_is_drained_over_its_end()
    {
        var page = new byte[4096];
        var console = new GuestConsole();
        SetIndices(page, 0, 0, 2045, 2045);
        Assert.False(PvConsoleRing.Drain(page, console));
        var text = "wrapped"u8;
        for (var i = 0; i < text.Length; i++)
        {
            page[1024 + ((2045 + i) % 2048)] = text[i];
        }

        SetIndices(page, 0, 0, 2045, 2052);
        Assert.True(PvConsoleRing.Drain(page, console));
        ulong position = 0;
        Assert.Equal("wrapped", ReadAll(console, ref position));
        Assert.Equal(2052u, BinaryPrimitives.ReadUInt32LittleEndian(page.AsSpan(3080)));
    }

    [Fact]
    public void Indices_that_cannot_be_are_skipped_over()
    {
        var page = new byte[4096];
        var console = new GuestConsole();
        SetIndices(page, 0, 0, 100, 50);
        Assert.True(PvConsoleRing.Drain(page, console));
        Assert.Equal(0UL, console.Position);
        Assert.Equal(50u, BinaryPrimitives.ReadUInt32LittleEndian(page.AsSpan(3080)));
    }

    [Fact]
    public void Input_goes_into_the_ring_as_far_as_it_fits()
    {
        var page = new byte[4096];
        var console = new GuestConsole();
        console.QueueInput(Enumerable.Range(0, 1030).Select(i => (byte)i).ToArray());
        SetIndices(page, 1000, 1000, 0, 0);
        Assert.True(PvConsoleRing.Fill(page, console));
        Assert.Equal(2024u, BinaryPrimitives.ReadUInt32LittleEndian(page.AsSpan(3076)));
        Assert.Equal(0, page[1000]);
        Assert.Equal(23, page[1023]);
        Assert.Equal(24, page[0]);
        Assert.False(PvConsoleRing.Fill(page, console));
    }

    private static void SetIndices(byte[] page, uint inCons, uint inProd, uint outCons, uint outProd)
    {
        BinaryPrimitives.WriteUInt32LittleEndian(page.AsSpan(3072), inCons);
        BinaryPrimitives.WriteUInt32LittleEndian(page.AsSpan(3076), inProd);
        BinaryPrimitives.WriteUInt32LittleEndian(page.AsSpan(3080), outCons);
        BinaryPrimitives.WriteUInt32LittleEndian(page.AsSpan(3084), outProd);
    }
}
