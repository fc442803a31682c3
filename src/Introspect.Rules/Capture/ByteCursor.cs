using System.Buffers.Binary;
using System.Text;

namespace Introspect.Rules.Capture;

/// <summary>
/// Reads numbers and texts out of a block's content, which may be anything: what runs over the end or is out of range is
/// an <see cref="InvalidDataException"/> that the reader turns into its own.
/// </summary>
internal ref struct ByteCursor(ReadOnlySpan<byte> bytes)
{
    private readonly ReadOnlySpan<byte> _bytes = bytes;

    public int Position { get; private set; }

    public readonly bool IsAtEnd => Position == _bytes.Length;

    public byte Byte() => Position < _bytes.Length ? _bytes[Position++] : throw Overrun();

    public ReadOnlySpan<byte> Bytes(int count)
    {
        if ((uint)count > (uint)(_bytes.Length - Position))
        {
            throw Overrun();
        }

        var taken = _bytes.Slice(Position, count);
        Position += count;
        return taken;
    }

    public ulong Fixed64() => BinaryPrimitives.ReadUInt64LittleEndian(Bytes(sizeof(ulong)));

    /// <summary>A number of any size, seven bits a byte, the lowest first.</summary>
    public ulong Number()
    {
        var value = 0UL;
        for (var shift = 0; ; shift += 7)
        {
            var part = Byte();
            if (shift == 63 && part > 1)
            {
                throw new InvalidDataException("has a number of more than 64 bits");
            }

            value |= (ulong)(part & 0x7f) << shift;
            if (part < 0x80)
            {
                return value;
            }
        }
    }

    /// <summary>A number with a sign, in the zigzag order 0, -1, 1, -2, …</summary>
    public long Signed()
    {
        var value = Number();
        return (long)(value >> 1) ^ -(long)(value & 1);
    }

    /// <summary>A number that is bounded.</summary>
    public uint Number(uint max, string what) =>
        Number() is var value && value <= max ? (uint)value : throw new InvalidDataException($"has {what} {value}, of which {max} is the most");

    /// <summary>A span of time that is not negative.</summary>
    public TimeSpan Time() =>
        Number() is var ticks && ticks <= long.MaxValue ? new((long)ticks) : throw new InvalidDataException($"has a time of {ticks} ticks");

    /// <summary>A text. Control characters, which could play with a terminal, are shown as such.</summary>
    public string Text(int maxBytes = CaptureFormat.MaxTextBytes)
    {
        var text = Encoding.UTF8.GetString(Bytes((int)Number((uint)maxBytes, "a text of length")));
        return CaptureText.Printable(text);
    }

    private static InvalidDataException Overrun() => new("ends in the middle of a record");
}

/// <summary>Texts as they are in a capture.</summary>
internal static class CaptureText
{
    private const char Replacement = '\ufffd';

    /// <summary>The text without control characters.</summary>
    public static string Printable(string text) =>
        text.Any(IsControl) ? new string([.. text.Select(c => IsControl(c) ? Replacement : c)]) : text;

    private static bool IsControl(char c) => char.IsControl(c) && c != '\t';
}
