using System.Buffers;
using System.Globalization;
using System.Numerics;
using Introspect.Rules.Names;

namespace Introspect.Rules.Language;

/// <summary>How a number in a template is written.</summary>
internal abstract class TemplateFormat
{
    private const int MaxDigits = 64;

    private static readonly string[] Known = ["x", "d", "b", "time", "name", "symbol", .. RegisterBits.All.Select(r => r.Register.ToLowerInvariant())];

    public static TemplateFormat Hexadecimal { get; } = new Hex(0);

    /// <summary>Every format, for suggestions and the reference.</summary>
    public static IReadOnlyList<string> Names => Known;

    /// <summary>The format of a name; null when it is none.</summary>
    public static TemplateFormat? Find(string name, NumberNode number, ISymbolResolver? symbols)
    {
        if (RegisterBits.Find(name) is { } register)
        {
            return new Flags(register);
        }

        return name switch
        {
            "x" => Hexadecimal,
            "d" => new Decimal(),
            "b" => new Binary(),
            "time" => new Time(),
            "name" => new Named(number.Vocabulary ?? Vocabulary.Msr),
            "symbol" => new Symbol(symbols),
            ['x', .. var digits] when int.TryParse(digits, NumberStyles.None, CultureInfo.InvariantCulture, out var width) && width is > 0 and <= 16 => new Hex(width),
            _ => null,
        };
    }

    /// <summary>How a number is written that no format is given for.</summary>
    public static TemplateFormat Usual(NumberNode number) => number.Vocabulary is { } names ? new Named(names) : number.Style switch
    {
        NumberStyle.Decimal => new Decimal(),
        NumberStyle.Time => new Time(),
        _ => Hexadecimal,
    };

    public abstract void Write(ulong value, IBufferWriter<char> output);

    private static void Format(ulong value, string format, IBufferWriter<char> output)
    {
        value.TryFormat(output.GetSpan(MaxDigits), out var length, format, CultureInfo.InvariantCulture);
        output.Advance(length);
    }

    private sealed class Hex(int width) : TemplateFormat
    {
        private readonly string _format = $"x{(width == 0 ? "" : width.ToString(CultureInfo.InvariantCulture))}";

        public override void Write(ulong value, IBufferWriter<char> output)
        {
            output.Write("0x");
            Format(value, _format, output);
        }
    }

    private sealed class Decimal : TemplateFormat
    {
        public override void Write(ulong value, IBufferWriter<char> output) => Format(value, "d", output);
    }

    private sealed class Binary : TemplateFormat
    {
        public override void Write(ulong value, IBufferWriter<char> output)
        {
            output.Write("0b");
            Format(value, "b", output);
        }
    }

    /// <summary>Microseconds since 1970 as a date and time of day.</summary>
    private sealed class Time : TemplateFormat
    {
        private static readonly ulong Latest = (ulong)(DateTime.MaxValue - DateTime.UnixEpoch).Ticks / TimeSpan.TicksPerMicrosecond;

        public override void Write(ulong value, IBufferWriter<char> output)
        {
            var time = DateTime.UnixEpoch.AddTicks((long)Math.Min(value, Latest) * TimeSpan.TicksPerMicrosecond);
            time.TryFormat(output.GetSpan(MaxDigits), out var length, "yyyy-MM-dd'T'HH:mm:ss.ffffff'Z'", CultureInfo.InvariantCulture);
            output.Advance(length);
        }
    }

    private sealed class Named(Vocabulary names) : TemplateFormat
    {
        public override void Write(ulong value, IBufferWriter<char> output)
        {
            if (names.TryGetName(value, out var name))
            {
                output.Write(name);
            }
            else
            {
                Hexadecimal.Write(value, output);
            }
        }
    }

    /// <summary>The nearest symbol below an address, and how far it is away.</summary>
    private sealed class Symbol(ISymbolResolver? symbols) : TemplateFormat
    {
        public override void Write(ulong value, IBufferWriter<char> output)
        {
            if (symbols is null || !symbols.TryFind(value, out var name, out var offset))
            {
                Hexadecimal.Write(value, output);
                return;
            }

            output.Write(name);
            if (offset != 0)
            {
                output.Write("+");
                Hexadecimal.Write(offset, output);
            }
        }
    }

    /// <summary>The names of the bits that are set: <c>SMEP|SMAP</c>.</summary>
    private sealed class Flags(RegisterBits register) : TemplateFormat
    {
        public override void Write(ulong value, IBufferWriter<char> output)
        {
            if (value == 0)
            {
                output.Write("0");
            }

            for (var rest = value; rest != 0; rest &= rest - 1)
            {
                var bit = BitOperations.TrailingZeroCount(rest);
                if (rest != value)
                {
                    output.Write("|");
                }

                if (register.TryGetName(bit, out var name))
                {
                    output.Write(name);
                }
                else
                {
                    output.Write("bit");
                    Format((ulong)bit, "d", output);
                }
            }
        }
    }
}
