using System.Diagnostics.CodeAnalysis;

namespace Introspect.Rules.Language;

/// <summary>The symbols of a guest's kernel, at the addresses where that guest has them.</summary>
public interface ISymbolResolver
{
    /// <summary>Every name, for suggestions.</summary>
    IEnumerable<string> Names { get; }

    /// <summary>
    /// False where the guest has more symbols than are known here: comparisons with one that is not known are never true,
    /// with a warning. Where it is true, a name that is not there is a mistake.
    /// </summary>
    bool IsComplete => true;

    /// <summary>
    /// The addresses that belong to a name, up to the next symbol: one range for each symbol of the name, none where there
    /// is no such symbol. The first address of a range is the symbol's own.
    /// </summary>
    IReadOnlyList<NumberRange> RangesOf(string name);

    /// <summary>The nearest symbol at or below an address.</summary>
    bool TryFind(ulong address, [NotNullWhen(true)] out string? name, out ulong offset);
}
