using System.Buffers;
using Introspect.Rules.Language;
using Introspect.Rules.Names;

namespace Introspect.Rules.Files;

/// <summary>
/// Linear addresses as a file has them: <c>0xffffffff81000000..0xffffffff81ffffff</c>, <c>&amp;_stext..&amp;_etext</c>,
/// <c>&amp;sys_call_table+0x1000</c>, or <c>sym(commit_creds)</c>.
/// </summary>
/// <param name="Text">The text.</param>
/// <param name="Span">Where it stands.</param>
internal sealed record LinearRange(string Text, SourceSpan Span)
{
    private const string Symbol = "sym(";

    private static readonly SearchValues<char> NotInNames = SearchValues.Create(" .+&()");

    /// <summary>False when this is no range, whatever symbols there are.</summary>
    public bool IsRange => Parts() is not null;

    /// <summary>The addresses; a mistake where a symbol is not known, or the range ends before it begins.</summary>
    public NumberSet Resolve(ISymbolResolver? symbols, DiagnosticBag diagnostics)
    {
        if (Parts() is not var (first, operation, second) || (IsName(first) && !IsKnown(first)) || (IsName(second) && !IsKnown(second)))
        {
            return NumberSet.Empty;
        }

        if (operation == Symbol)
        {
            return NumberSet.Of(symbols!.RangesOf(first[1..]));
        }

        var begin = ValueOf(first);
        var end = operation switch
        {
            ".." => ValueOf(second),
            "+" => unchecked(begin + ValueOf(second) - 1),
            _ => begin,
        };
        if (end >= begin)
        {
            return NumberSet.Of([new(begin, end)]);
        }

        diagnostics.Error(Span, $"'{Text}' ends before it begins");
        return NumberSet.Empty;

        ulong ValueOf(string part) => !IsName(part) && RuleValues.TryNumber(part, out var number) ? number : symbols!.RangesOf(part[1..])[0].First;

        bool IsKnown(string part)
        {
            var name = part[1..];
            var ranges = symbols?.RangesOf(name) ?? [];
            if (ranges.Count == 1 || (ranges.Count > 1 && operation == Symbol))
            {
                return true;
            }

            if (symbols is null)
            {
                diagnostics.Warning(Span, "no symbols of the guest are known here: no page is watched for this");
            }
            else if (ranges.Count > 1)
            {
                diagnostics.Error(Span, $"the guest has {ranges.Count} symbols '{name}'; write sym({name})");
            }
            else if (symbols.IsComplete)
            {
                diagnostics.Error(Span, $"the guest has no symbol '{name}'", Suggestion.Nearest(name, symbols.Names));
            }
            else
            {
                diagnostics.Warning(Span, $"'{name}' is none of the symbols that are known here: no page is watched for this");
            }

            return false;
        }
    }

    // What stands before and behind the operation: numbers, or names with their '&'.
    private (string First, string Operation, string Second)? Parts()
    {
        if (Text.StartsWith(Symbol, StringComparison.Ordinal) && Text.EndsWith(')'))
        {
            var name = "&" + Text[Symbol.Length..^1].Trim();
            return IsName(name) ? (name, Symbol, "") : null;
        }

        foreach (var operation in new[] { "..", "+" })
        {
            if (Text.Split(operation) is [var from, var to])
            {
                (from, to) = (from.Trim(), to.Trim());
                var isLength = operation == "+";
                return IsPlace(from) && (isLength ? RuleValues.TryNumber(to, out var length) && length > 0 : IsPlace(to)) ? (from, operation, to) : null;
            }
        }

        return IsPlace(Text) ? (Text, "", "") : null;
    }

    private static bool IsPlace(string part) => IsName(part) || RuleValues.TryNumber(part, out _);

    private static bool IsName(string part) => part.Length > 1 && part[0] == '&' && !part.AsSpan(1).ContainsAny(NotInNames);
}
