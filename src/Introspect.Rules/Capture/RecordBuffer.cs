using System.Buffers.Binary;
using System.Text;

namespace Introspect.Rules.Capture;

/// <summary>A block's content while it is written. Room is the caller's concern: a record has at most so many bytes.</summary>
internal sealed class RecordBuffer(int capacity)
{
    private readonly byte[] _bytes = new byte[capacity];

    public int Length { get; private set; }

    public ReadOnlySpan<byte> Written => _bytes.AsSpan(0, Length);

    public void Clear() => Length = 0;

    public Span<byte> Room(int most) => _bytes.AsSpan(Length, most);

    public void Advance(int count) => Length += count;

    public void Byte(byte value) => _bytes[Length++] = value;

    public void Bytes(ReadOnlySpan<byte> bytes)
    {
        bytes.CopyTo(_bytes.AsSpan(Length));
        Length += bytes.Length;
    }

    public void Fixed64(ulong value)
    {
        BinaryPrimitives.WriteUInt64LittleEndian(_bytes.AsSpan(Length), value);
        Length += sizeof(ulong);
    }

    public void Number(ulong value) => Length += Put(_bytes.AsSpan(Length), value);

    public void Signed(long value) => Number(ZigZag(value));

    public void Time(TimeSpan time) => Number((ulong)Math.Max(0, time.Ticks));

    /// <summary>A text; what is longer is cut off at a whole character.</summary>
    public void Text(string text, int maxBytes = CaptureFormat.MaxTextBytes)
    {
        var chars = text.AsSpan();
        while (Encoding.UTF8.GetByteCount(chars) > maxBytes)
        {
            chars = chars[..Math.Min(chars.Length - 1, maxBytes)];
        }

        Number((ulong)Encoding.UTF8.GetByteCount(chars));
        Length += Encoding.UTF8.GetBytes(chars, _bytes.AsSpan(Length));
    }

    public static ulong ZigZag(long value) => (ulong)(value << 1) ^ (ulong)(value >> 63);

    public static int Put(Span<byte> destination, ulong value)
    {
        var length = 0;
        for (; value >= 0x80; value >>= 7)
        {
            destination[length++] = (byte)(value | 0x80);
        }

        destination[length++] = (byte)value;
        return length;
    }
}
