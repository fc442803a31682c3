using System.Diagnostics.CodeAnalysis;
using System.Globalization;
using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;

namespace Introspect.Daemon.Tracing;

/// <summary>Reads what a user writes to name registers, MSRs and memory; on the command line and in the configuration alike.</summary>
internal static class SelectionParser
{
    /// <summary>Most pages that one range may have: 4 GiB.</summary>
    public const uint MaxPages = 1 << 20;

    private const ulong PageMask = Gfn.PageSize - 1;

    /// <summary>What to watch of the control registers when none is named.</summary>
    public static IReadOnlyList<ControlRegisterIndex> UsualControlRegisters { get; } =
        [ControlRegisterIndex.Cr0, ControlRegisterIndex.Cr3, ControlRegisterIndex.Cr4];

    /// <summary>Reads the name of a control register.</summary>
    public static bool TryControlRegister(string text, out ControlRegisterIndex register, [NotNullWhen(false)] out string? mistake)
    {
        mistake = null;
        switch (text.ToLowerInvariant())
        {
            case "cr0":
                register = ControlRegisterIndex.Cr0;
                return true;
            case "cr3":
                register = ControlRegisterIndex.Cr3;
                return true;
            case "cr4":
                register = ControlRegisterIndex.Cr4;
                return true;
            case "xcr0":
                register = ControlRegisterIndex.Xcr0;
                return true;
            default:
                register = default;
                mistake = $"'{text}' is no control register that can be watched; name cr0, cr3, cr4 or xcr0";
                return false;
        }
    }

    /// <summary>Reads the number or the name of an MSR.</summary>
    public static bool TryMsr(string text, out uint number, [NotNullWhen(false)] out string? mistake)
    {
        mistake = null;
        if (MsrNames.TryGetNumber(text, out number))
        {
            return true;
        }

        if (TryNumber(text, out var value) && value <= uint.MaxValue)
        {
            number = (uint)value;
            // The hypervisor's map has one bit for each MSR of three ranges.
            if ((number & ~0xc000_1fffu) == 0 && number >> 30 != 2)
            {
                return true;
            }

            mistake = $"MSR {text} cannot be watched; the hypervisor's map holds 0-0x1fff, 0x40000000-0x40001fff and 0xc0000000-0xc0001fff";
            return false;
        }

        mistake = $"'{text}' is no MSR; write a number of 32 bits (0xc0000080) or one of {string.Join(", ", MsrNames.All)}";
        return false;
    }

    /// <summary>Reads a range of guest-physical addresses: <c>START-END</c> (END is the last byte), <c>START+LENGTH</c> or <c>START</c>.</summary>
    public static bool TryRange(string text, MemAccessFlags watched, out MemoryWatch watch, [NotNullWhen(false)] out string? mistake)
    {
        watch = default;
        var plus = text.IndexOf('+', StringComparison.Ordinal);
        var dash = text.IndexOf('-', StringComparison.Ordinal);
        var at = plus >= 0 ? plus : dash;
        ulong last = 0;
        if (!TryNumber(at < 0 ? text : text[..at], out var start)
            || (at >= 0 && !TryNumber(text[(at + 1)..], out last)))
        {
            mistake = $"'{text}' is no range; write START-END, START+LENGTH or START in guest-physical bytes (0x106000+0x1000)";
            return false;
        }

        if (plus >= 0)
        {
            if (last == 0)
            {
                mistake = $"the range '{text}' is empty; give a length of at least 1";
                return false;
            }

            last = start + (last - 1);
        }
        else if (dash < 0)
        {
            last = start;
        }

        if (last < start)
        {
            mistake = $"the range '{text}' ends before it begins; write the lower address first";
            return false;
        }

        var pages = (last >> Gfn.PageShift) - (start >> Gfn.PageShift) + 1;
        if (last > 0x000f_ffff_ffff_ffff || pages > MaxPages)
        {
            mistake = $"the range '{text}' is too large; name at most {MaxPages} pages below 2^52";
            return false;
        }

        watch = new(new Gfn((start & ~PageMask) >> Gfn.PageShift), (uint)pages, watched);
        mistake = null;
        return true;
    }

    /// <summary>Reads a number, decimal or with 0x hexadecimal.</summary>
    public static bool TryNumber(string text, out ulong value) =>
        text.StartsWith("0x", StringComparison.OrdinalIgnoreCase)
            ? ulong.TryParse(text.AsSpan(2), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out value)
            : ulong.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out value);

    /// <summary>Reads a time: a number of seconds, or one with the unit ms, s, m or h.</summary>
    public static bool TryDuration(string text, out TimeSpan duration, [NotNullWhen(false)] out string? mistake)
    {
        var (digits, unit) = text switch
        {
            [.. var d, 'm', 's'] => (d, TimeSpan.FromMilliseconds(1)),
            [.. var d, 's'] => (d, TimeSpan.FromSeconds(1)),
            [.. var d, 'm'] => (d, TimeSpan.FromMinutes(1)),
            [.. var d, 'h'] => (d, TimeSpan.FromHours(1)),
            _ => (text, TimeSpan.FromSeconds(1)),
        };
        duration = default;
        mistake = null;
        if (double.TryParse(digits, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var count)
            && count > 0
            && count * unit.TotalDays < 3650)
        {
            duration = count * unit;
            return true;
        }

        mistake = $"'{text}' is no time; write seconds, or a number with ms, s, m or h (30s)";
        return false;
    }
}
