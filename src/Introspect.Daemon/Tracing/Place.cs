using System.Diagnostics.CodeAnalysis;
using Introspect.Daemon.Cli;
using Introspect.Daemon.Symbols;
using Introspect.Hypervisor.Abi;

namespace Introspect.Daemon.Tracing;

/// <summary>An address as a user names it: a number, or a symbol and how far behind it.</summary>
/// <param name="Text">What was written.</param>
/// <param name="Symbol">The symbol, if it is not a number.</param>
/// <param name="Value">The number, or the distance behind the symbol.</param>
internal sealed record Place(string Text, string? Symbol, ulong Value)
{
    /// <summary>Reads <c>0x101000</c> or <c>SYMBOL[+OFFSET]</c>.</summary>
    public static bool TryParse(string text, [NotNullWhen(true)] out Place? place, [NotNullWhen(false)] out string? mistake)
    {
        place = null;
        mistake = null;
        if (SelectionParser.TryNumber(text, out var number))
        {
            place = new(text, null, number);
            return true;
        }

        var plus = text.IndexOf('+', StringComparison.Ordinal);
        var name = plus < 0 ? text : text[..plus];
        ulong offset = 0;
        if (IsName(name) && (plus < 0 || SelectionParser.TryNumber(text[(plus + 1)..], out offset)))
        {
            place = new(text, name, offset);
            return true;
        }

        mistake = $"'{text}' is no address; write a number (0x101000) or SYMBOL[+OFFSET]";
        return false;
    }

    /// <summary>True for what may be a symbol's name.</summary>
    public static bool IsName(string text) =>
        text.Length != 0 && !char.IsAsciiDigit(text[0]) && text.All(c => char.IsLetterOrDigit(c) || c is '_' or '.' or '$' or '@');

    /// <summary>The address.</summary>
    /// <param name="symbols">The symbols, where there are any.</param>
    /// <param name="option">Who asks: <c>--int3</c>.</param>
    /// <exception cref="UserError">There is no such symbol.</exception>
    public ulong Resolve(ISymbolSource? symbols, string option)
    {
        if (Symbol is null)
        {
            return Value;
        }

        if (symbols is null)
        {
            throw UserError.Failure($"{option} '{Text}': there are no symbols to find '{Symbol}' in; give --symbols FILE (a System.map or an ELF image), or a number (0x101000)");
        }

        switch (symbols.AddressesOf(Symbol))
        {
            case [var address]:
                return unchecked(address + Value);
            case { Count: > 1 } several:
                var some = string.Join(", ", several.Take(4).Select(one => $"0x{one:x}")) + (several.Count > 4 ? ", …" : "");
                throw UserError.Failure($"{option} '{Text}': there are {several.Count} symbols '{Symbol}', at {some}; write the number of the one that is meant");
            default:
                break;
        }

        var remedy = SelectionParser.TryNumber("0x" + Symbol, out _) ? $"; write 0x{Symbol} for the number"
            : Suggestion.For(Symbol, symbols.Names) is { Length: > 0 } suggestion ? suggestion
            : "; name one of the image's, or give --symbols FILE";
        throw UserError.Failure($"{option} '{Text}': there is no symbol '{Symbol}'{remedy}");
    }
}

/// <summary>A range of addresses as a user names it; its end is a place, or a length.</summary>
/// <param name="Option">The option that it belongs to.</param>
/// <param name="Text">What was written.</param>
/// <param name="Start">Where it begins.</param>
/// <param name="End">Its last byte, where it was given so.</param>
/// <param name="Length">Its bytes, where they were given.</param>
/// <param name="Watched">Accesses that are events.</param>
internal sealed record PlaceRange(string Option, string Text, Place Start, Place? End, ulong Length, MemAccessFlags Watched)
{
    /// <summary>Reads <c>START-END</c>, <c>START+LENGTH</c> or <c>START</c>, where each address may be a symbol.</summary>
    public static bool TryParse(string option, string text, MemAccessFlags watched, [NotNullWhen(true)] out PlaceRange? range, [NotNullWhen(false)] out string? mistake)
    {
        range = null;
        var at = text.IndexOfAny(['+', '-']);
        if (!TryPlace(at < 0 ? text : text[..at], out var start))
        {
            mistake = NoRange(text);
            return false;
        }

        Place? end = null;
        var length = 1UL;
        if (at >= 0 && text[at] == '-' && !TryPlace(text[(at + 1)..], out end))
        {
            mistake = NoRange(text);
            return false;
        }

        if (at >= 0 && text[at] == '+' && !SelectionParser.TryNumber(text[(at + 1)..], out length))
        {
            mistake = NoRange(text);
            return false;
        }

        if (length == 0)
        {
            mistake = $"the range '{text}' is empty; give a length of at least 1";
            return false;
        }

        mistake = null;
        range = new(option, text, start, end, length, watched);
        return true;
    }

    /// <summary>The first and the last address.</summary>
    /// <exception cref="UserError">A symbol is unknown, or the range is none.</exception>
    public (ulong First, ulong Last) Resolve(ISymbolSource? symbols)
    {
        var first = Start.Resolve(symbols, Option);
        var last = End?.Resolve(symbols, Option) ?? unchecked(first + (Length - 1));
        return last < first ? throw UserError.Failure($"{Option}: the range '{Text}' (0x{first:x}-0x{last:x}) ends before it begins; write the lower address first")
            : (last >> 12) - (first >> 12) >= SelectionParser.MaxPages ? throw UserError.Failure($"{Option}: the range '{Text}' is too large; name at most {SelectionParser.MaxPages} pages")
            : (first, last);
    }

    private static bool TryPlace(string text, [NotNullWhen(true)] out Place? place)
    {
        place = SelectionParser.TryNumber(text, out var number) ? new(text, null, number) : Place.IsName(text) ? new(text, text, 0) : null;
        return place is not null;
    }

    private static string NoRange(string text) =>
        $"'{text}' is no range; write START-END, START+LENGTH or START, with numbers (0x106000+0x1000) or symbols";
}
