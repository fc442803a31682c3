using System.Diagnostics.CodeAnalysis;

namespace Introspect.Rules.Language;

/// <summary>Numbers as people write them: <c>4096</c>, <c>0x1000</c>, <c>0b1_0000</c>, <c>4K</c>.</summary>
internal static class NumberText
{
    public static bool TryParse(ReadOnlySpan<char> text, out ulong value, [NotNullWhen(false)] out string? mistake)
    {
        value = 0;
        var radix = 10u;
        var digits = text;
        if (text.StartsWith("0x", StringComparison.OrdinalIgnoreCase))
        {
            radix = 16;
            digits = text[2..];
        }
        else if (text.StartsWith("0b", StringComparison.OrdinalIgnoreCase))
        {
            radix = 2;
            digits = text[2..];
        }

        var shift = digits.IsEmpty ? 0 : digits[^1] switch
        {
            'K' or 'k' => 10,
            'M' or 'm' => 20,
            'G' or 'g' => 30,
            _ => 0,
        };
        digits = shift == 0 ? digits : digits[..^1];
        if (digits.IsEmpty || digits[0] == '_' || digits[^1] == '_')
        {
            mistake = "this is no number; write digits, with _ between them where you like";
            return false;
        }

        UInt128 sum = 0;
        foreach (var c in digits)
        {
            if (c == '_')
            {
                continue;
            }

            var digit = char.IsAsciiHexDigit(c) ? (uint)Convert.ToInt32(c.ToString(), 16) : uint.MaxValue;
            if (digit >= radix)
            {
                mistake = radix switch
                {
                    2 => $"'{c}' is no binary digit",
                    16 => $"'{c}' is no hexadecimal digit; a size is K, M or G",
                    _ => $"'{c}' is no decimal digit; a hexadecimal number begins with 0x, a size is K, M or G",
                };
                return false;
            }

            sum = (sum * radix) + digit;
            if (sum > ulong.MaxValue)
            {
                break;
            }
        }

        sum <<= shift;
        if (sum > ulong.MaxValue)
        {
            mistake = "the number does not fit in 64 bits";
            return false;
        }

        value = (ulong)sum;
        mistake = null;
        return true;
    }
}
