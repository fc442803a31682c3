using System.Diagnostics.CodeAnalysis;
using System.Globalization;
using Introspect.Daemon.Output;
using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;

namespace Introspect.Daemon.Tracing;

/// <summary>Reads <c>cr3,cr4:sync,onchange,mask=SMEP|SMAP</c> and <c>lstar,0x10:onchange</c>.</summary>
internal static class RegisterSpec
{
    private static readonly string[] ControlRegisters = ["cr0", "cr3", "cr4", "xcr0"];

    /// <summary>Reads control registers with their options.</summary>
    public static bool TryControlRegisters(string text, [NotNullWhen(true)] out IReadOnlyList<MonitorEvent.ControlRegister>? events, [NotNullWhen(false)] out string? mistake)
    {
        events = null;
        mistake = null;
        var (names, options) = Split(text);
        var registers = new List<ControlRegisterIndex>();
        foreach (var name in names)
        {
            if (!SelectionParser.TryControlRegister(name, out var register, out mistake))
            {
                mistake += Suggestion.For(name, ControlRegisters);
                return false;
            }

            registers.Add(register);
        }

        if (registers.Count == 0)
        {
            mistake = $"'{text}' names no control register; name cr0, cr3, cr4 or xcr0";
            return false;
        }

        bool? sync = null;
        var onChange = false;
        string? mask = null;
        foreach (var option in options)
        {
            if (option is "sync" or "async")
            {
                if (sync is { } said && said != (option == "sync"))
                {
                    mistake = $"'{text}' is both sync and async; choose one";
                    return false;
                }

                sync = option == "sync";
            }
            else if (option == "onchange")
            {
                onChange = true;
            }
            else if (option.StartsWith("mask=", StringComparison.Ordinal))
            {
                if (mask is not null)
                {
                    mistake = $"'{text}' has two masks; write one, with | between the bits";
                    return false;
                }

                mask = option["mask=".Length..];
            }
            else
            {
                mistake = ControlRegisters.Contains(option.Split(':')[0]) ? $"'{option}' is another list; give it a --cr of its own"
                    : $"'{option}' is no option of a control register; write sync, async, onchange or mask=BITS{Suggestion.For(option, ["sync", "async", "onchange"])}";
                return false;
            }
        }

        var result = new List<MonitorEvent.ControlRegister>();
        foreach (var register in registers)
        {
            var bits = ~0UL;
            if (mask is not null && !TryMask(register, mask, out bits, out mistake))
            {
                return false;
            }

            result.Add(new(register, sync ?? true, onChange, bits));
        }

        events = result;
        return true;
    }

    /// <summary>Reads MSRs with their options.</summary>
    public static bool TryMsrs(string text, [NotNullWhen(true)] out IReadOnlyList<MonitorEvent.Msr>? events, [NotNullWhen(false)] out string? mistake)
    {
        events = null;
        mistake = null;
        var (names, options) = Split(text);
        var onChange = false;
        foreach (var option in options)
        {
            if (option != "onchange")
            {
                mistake = $"'{option}' is no option of an MSR; write onchange, or nothing{Suggestion.For(option, ["onchange"])}";
                return false;
            }

            onChange = true;
        }

        var result = new List<MonitorEvent.Msr>();
        foreach (var name in names)
        {
            if (!SelectionParser.TryMsr(name, out var number, out mistake))
            {
                mistake = Suggestion.Nearest(name, MsrNames.All) is { } near ? $"'{name}' is no MSR; did you mean '{near}'?" : mistake;
                return false;
            }

            result.Add(new(number, onChange));
        }

        if (result.Count == 0)
        {
            mistake = $"'{text}' names no MSR; write a number (0xc0000080) or a name (efer)";
            return false;
        }

        events = result;
        return true;
    }

    /// <summary>Reads the bits to watch: names and numbers with | between them.</summary>
    private static bool TryMask(ControlRegisterIndex register, string text, out ulong mask, [NotNullWhen(false)] out string? mistake)
    {
        mask = 0;
        var name = EventDetail.Register(register);
        foreach (var part in text.Split('|', StringSplitOptions.TrimEntries))
        {
            if (SelectionParser.TryNumber(part, out var bits) || BitNames.TryGetBit(register, part, out bits))
            {
                mask |= bits;
                continue;
            }

            var known = BitNames.NamesOf(register);
            mistake = known.Count == 0
                ? string.Create(CultureInfo.InvariantCulture, $"mask: '{part}' is no bit of {name}, whose bits have no names; write a number (0xfff)")
                : string.Create(CultureInfo.InvariantCulture, $"mask: '{part}' is no bit of {name}; write a number or one of {string.Join(", ", known)}{Suggestion.For(part, known)}");
            return false;
        }

        mistake = mask == 0 ? $"mask: '{text}' watches no bit of {name}; name at least one" : null;
        return mistake is null;
    }

    private static (string[] Names, string[] Options) Split(string text)
    {
        const StringSplitOptions Clean = StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries;
        var colon = text.IndexOf(':', StringComparison.Ordinal);
        return colon < 0 ? (text.Split(',', Clean), []) : (text[..colon].Split(',', Clean), text[(colon + 1)..].Split(',', Clean));
    }
}
