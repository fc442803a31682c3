using System.Globalization;
using System.Text;

namespace Introspect.Hypervisor.Core.Building;

/// <summary>
/// The section <c>__xen_guest</c>, which images had before there were notes: <c>KEY=value</c> and bare keys with commas
/// between them, up to a zero byte.
/// </summary>
internal static class XenGuestSection
{
    public const string Name = "__xen_guest";

    /// <summary>The longest text that is read; Xen's longest string.</summary>
    private const int MaximumText = 4096;

    /// <summary>The keys with their values, in order; the value of a bare key is empty.</summary>
    public static IEnumerable<(string Key, string Value)> Read(ReadOnlySpan<byte> section)
    {
        ReadOnlySpan<byte> text = section[..Math.Min(section.Length, MaximumText)];
        int end = text.IndexOf((byte)0);
        string list = Encoding.Latin1.GetString(end < 0 ? text : text[..end]);
        return list.Split(',', StringSplitOptions.RemoveEmptyEntries).Select(entry =>
        {
            int equals = entry.IndexOf('=', StringComparison.Ordinal);
            return equals < 0 ? (entry, string.Empty) : (entry[..equals], entry[(equals + 1)..]);
        });
    }

    /// <summary>A number as C reads it: <c>0x</c> for 16, a leading <c>0</c> for 8, and up to the first character that is no digit.</summary>
    public static ulong Number(string text)
    {
        ReadOnlySpan<char> digits = text.AsSpan().TrimStart();
        (uint radix, int prefix) = digits.StartsWith("0x", StringComparison.OrdinalIgnoreCase) ? (16u, 2) : digits.StartsWith('0') ? (8u, 1) : (10u, 0);
        ulong value = 0;
        foreach (char c in digits[prefix..])
        {
            if (!uint.TryParse([c], NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out uint digit) || digit >= radix)
            {
                break;
            }

            ulong high = Math.BigMul(value, radix, out ulong low);
            if (high != 0 || ulong.MaxValue - low < digit)
            {
                return ulong.MaxValue;
            }

            value = low + digit;
        }

        return value;
    }
}
