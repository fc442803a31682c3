using System.Buffers.Binary;
using System.Text;

namespace Introspect.Hypervisor.Core.Building.Acpi;

/// <summary>
/// Assembles ACPI Machine Language: the objects that a table of ours is made of, each with the bytes that the ACPI
/// specification's grammar gives it (chapter "AML specification"). A package's length is known when its content is.
/// </summary>
internal sealed class AmlWriter
{
    private const byte ExtendedPrefix = 0x5b;

    private readonly List<byte> _bytes = [];

    /// <summary>What was written.</summary>
    public byte[] ToArray() => [.. _bytes];

    /// <summary>Scope (name) { … }.</summary>
    public void Scope(string name, Action<AmlWriter> content) => Package([0x10], package =>
    {
        package.Name(name);
        content(package);
    });

    /// <summary>Name (name, number).</summary>
    public void Define(string name, ulong number)
    {
        _bytes.Add(0x08);
        Name(name);
        Number(number);
    }

    /// <summary>Name (name, "text").</summary>
    public void Define(string name, string text)
    {
        _bytes.Add(0x08);
        Name(name);
        _bytes.Add(0x0d);
        _bytes.AddRange(Encoding.ASCII.GetBytes(text));
        _bytes.Add(0);
    }

    /// <summary>OperationRegion (name, SystemMemory, …, length): the address is whatever is written next.</summary>
    public void MemoryRegion(string name, Action<AmlWriter> address, ulong length)
    {
        _bytes.AddRange([ExtendedPrefix, 0x80]);
        Name(name);
        _bytes.Add(0x00);
        address(this);
        Number(length);
    }

    /// <summary>Field (region, ByteAcc, NoLock, Preserve) { … }; a field without a name is skipped bits.</summary>
    public void Field(string region, params ReadOnlySpan<(string? Name, int Bits)> fields)
    {
        const byte ByteAccess = 1;
        var package = new AmlWriter();
        package.Name(region);
        package._bytes.Add(ByteAccess);
        foreach (var (name, bits) in fields)
        {
            if (name is null)
            {
                package._bytes.Add(0x00);
            }
            else
            {
                package.Name(name);
            }

            package._bytes.AddRange(LengthBytes(bits));
        }

        Append([ExtendedPrefix, 0x81], package);
    }

    /// <summary>Processor (name, id, block, block length) { … }.</summary>
    public void Processor(string name, byte id, uint block, byte blockLength, Action<AmlWriter> content) => Package([ExtendedPrefix, 0x83], package =>
    {
        package.Name(name);
        package._bytes.Add(id);
        package.Integer(block);
        package._bytes.Add(blockLength);
        content(package);
    });

    /// <summary>Method (name, arguments) { … }.</summary>
    public void Method(string name, int arguments, Action<AmlWriter> content) => Package([0x14], package =>
    {
        package.Name(name);
        package._bytes.Add((byte)arguments);
        content(package);
    });

    /// <summary>If (condition) { … }.</summary>
    public void If(Action<AmlWriter> condition, Action<AmlWriter> content) => Package([0xa0], package =>
    {
        condition(package);
        content(package);
    });

    /// <summary>Return (value).</summary>
    public void Return(Action<AmlWriter> value)
    {
        _bytes.Add(0xa4);
        value(this);
    }

    /// <summary>left &lt; right.</summary>
    public void Less(Action<AmlWriter> left, Action<AmlWriter> right)
    {
        _bytes.Add(0x95);
        left(this);
        right(this);
    }

    /// <summary>left + right, which goes nowhere else.</summary>
    public void Add(Action<AmlWriter> left, Action<AmlWriter> right)
    {
        _bytes.Add(0x72);
        left(this);
        right(this);
        NoTarget();
    }

    /// <summary>ToBuffer (value).</summary>
    public void ToBuffer(Action<AmlWriter> value)
    {
        _bytes.Add(0x96);
        value(this);
        NoTarget();
    }

    /// <summary>Buffer () { … }.</summary>
    public void Buffer(params byte[] content) => Package([0x11], package =>
    {
        package.Number((ulong)content.Length);
        package._bytes.AddRange(content);
    });

    /// <summary>A call of a method: its arguments are written next.</summary>
    public void Call(string method, params ReadOnlySpan<Action<AmlWriter>> arguments)
    {
        Name(method);
        foreach (var argument in arguments)
        {
            argument(this);
        }
    }

    /// <summary>Arg0 to Arg6.</summary>
    public void Argument(int index) => _bytes.Add((byte)(0x68 + index));

    /// <summary>A constant in as few bytes as it takes.</summary>
    public void Number(ulong value)
    {
        switch (value)
        {
            case 0 or 1:
                _bytes.Add((byte)value);
                break;

            case <= byte.MaxValue:
                _bytes.AddRange([0x0a, (byte)value]);
                break;

            case <= ushort.MaxValue:
                _bytes.AddRange([0x0b, (byte)value, (byte)(value >> 8)]);
                break;

            case <= uint.MaxValue:
                _bytes.Add(0x0c);
                Integer((uint)value);
                break;

            default:
                _bytes.Add(0x0e);
                Integer((uint)value);
                Integer((uint)(value >> 32));
                break;
        }
    }

    /// <summary>A name, <c>\</c> in front of it when it is from the root; segments of up to four characters with dots between.</summary>
    public void Name(string name)
    {
        if (name.StartsWith('\\'))
        {
            _bytes.Add((byte)'\\');
            name = name[1..];
        }

        var segments = name.Split('.');
        if (segments.Length > 2)
        {
            throw new ArgumentException($"'{name}' has more segments than are written here", nameof(name));
        }

        if (segments.Length == 2)
        {
            _bytes.Add(0x2e);
        }

        foreach (var segment in segments)
        {
            _bytes.AddRange(Encoding.ASCII.GetBytes(segment.PadRight(4, '_')));
        }
    }

    private void Package(ReadOnlySpan<byte> opcode, Action<AmlWriter> content)
    {
        var package = new AmlWriter();
        content(package);
        Append(opcode, package);
    }

    private void Append(ReadOnlySpan<byte> opcode, AmlWriter package)
    {
        _bytes.AddRange(opcode);

        // The length counts the bytes in which it is told.
        var length = 1;
        while (LengthBytes(package._bytes.Count + length).Length != length)
        {
            length++;
        }

        _bytes.AddRange(LengthBytes(package._bytes.Count + length));
        _bytes.AddRange(package._bytes);
    }

    /// <summary>PkgLength: six bits in one byte, or four in the first with its number of further bytes on top.</summary>
    private static byte[] LengthBytes(int length) => length switch
    {
        < 1 << 6 => [(byte)length],
        < 1 << 12 => [(byte)(0x40 | (length & 0xf)), (byte)(length >> 4)],
        < 1 << 20 => [(byte)(0x80 | (length & 0xf)), (byte)(length >> 4), (byte)(length >> 12)],
        _ => [(byte)(0xc0 | (length & 0xf)), (byte)(length >> 4), (byte)(length >> 12), (byte)(length >> 20)],
    };

    private void NoTarget() => _bytes.Add(0x00);

    private void Integer(uint value)
    {
        Span<byte> bytes = stackalloc byte[sizeof(uint)];
        BinaryPrimitives.WriteUInt32LittleEndian(bytes, value);
        _bytes.AddRange(bytes);
    }
}
