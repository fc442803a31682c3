using System.Buffers;
using System.Buffers.Binary;
using System.Text;

namespace Introspect.Daemon.Sinks.Otlp;

/// <summary>Writes the wire format of Protocol Buffers: fields as a number and a kind, then the value.</summary>
internal sealed class ProtoBuffer(int capacity = 1024)
{
    private const int Varint = 0;
    private const int Fixed64Kind = 1;
    private const int LengthDelimited = 2;

    private readonly ArrayBufferWriter<byte> _bytes = new(capacity);

    /// <summary>What was written.</summary>
    public ReadOnlySpan<byte> Written => _bytes.WrittenSpan;

    /// <summary>Forgets what was written.</summary>
    public void Clear() => _bytes.ResetWrittenCount();

    /// <summary>An integer or an enumeration.</summary>
    public void Integer(int field, ulong value)
    {
        Number((ulong)field << 3 | Varint);
        Number(value);
    }

    /// <summary>A fixed64.</summary>
    public void Fixed64(int field, ulong value)
    {
        Number((ulong)field << 3 | Fixed64Kind);
        BinaryPrimitives.WriteUInt64LittleEndian(_bytes.GetSpan(sizeof(ulong)), value);
        _bytes.Advance(sizeof(ulong));
    }

    /// <summary>A string.</summary>
    public void Text(int field, string value)
    {
        Length(field, Encoding.UTF8.GetByteCount(value));
        Encoding.UTF8.GetBytes(value, _bytes);
    }

    /// <summary>A message or a string that was written before.</summary>
    public void Bytes(int field, ReadOnlySpan<byte> value)
    {
        Length(field, value.Length);
        _bytes.Write(value);
    }

    /// <summary>The beginning of a message whose bytes follow by <see cref="Raw"/>.</summary>
    public void Length(int field, int length)
    {
        Number((ulong)field << 3 | LengthDelimited);
        Number((ulong)length);
    }

    /// <summary>Bytes as they are.</summary>
    public void Raw(ReadOnlySpan<byte> bytes) => _bytes.Write(bytes);

    /// <summary>How many bytes a length-delimited field takes, with its head; for fields numbered below 16.</summary>
    public static int SizeOf(int length)
    {
        var size = 2 + length;
        for (var rest = (uint)length >> 7; rest != 0; rest >>= 7)
        {
            size++;
        }

        return size;
    }

    private void Number(ulong value)
    {
        while (value >= 0x80)
        {
            _bytes.GetSpan(1)[0] = (byte)(value | 0x80);
            _bytes.Advance(1);
            value >>= 7;
        }

        _bytes.GetSpan(1)[0] = (byte)value;
        _bytes.Advance(1);
    }
}
