using System.Diagnostics.CodeAnalysis;
using Introspect.Rules.Language;

namespace Introspect.Rules.Capture;

/// <summary>
/// The names that a capture brought along, for rules: of the places of its events, and of no others. Places come with their
/// events; who asks for a name, as rules do before the first event, has all of the file looked through.
/// </summary>
/// <param name="capture">The capture that is read.</param>
/// <param name="again">Opens it once more; null where it comes only once, and no name is known.</param>
internal class CapturedNames(CaptureReader capture, Func<CaptureReader>? again) : ISymbolResolver
{
    private readonly Lazy<ILookup<string, NumberRange>> _byName = new(() => ReadAll(again));

    /// <inheritdoc/>
    public bool IsComplete => false;

    /// <inheritdoc/>
    public IEnumerable<string> Names => _byName.Value.Select(symbol => symbol.Key);

    /// <inheritdoc/>
    public bool TryFind(ulong address, [NotNullWhen(true)] out string? name, out ulong offset)
    {
        var isKnown = capture.Symbols.TryGetValue(address, out var symbol);
        (name, offset) = (isKnown ? symbol.Name : null, symbol.Offset);
        return name is not null;
    }

    /// <inheritdoc/>
    /// <remarks>A symbol ends where the last event in it was: what follows is not known.</remarks>
    public IReadOnlyList<NumberRange> RangesOf(string name) => [.. _byName.Value[name]];

    private static ILookup<string, NumberRange> ReadAll(Func<CaptureReader>? again)
    {
        using var all = again?.Invoke();
        try
        {
            while (all is not null && all.Read() != CaptureItem.None)
            {
                // On to the next.
            }
        }
        catch (CaptureException)
        {
            // What comes before the damage counts; who replays the file comes to it, too, and tells.
        }

        return (all?.Symbols ?? new Dictionary<ulong, CapturedSymbol>())
            .GroupBy(symbol => (symbol.Value.Name, First: unchecked(symbol.Key - symbol.Value.Offset)))
            .OrderBy(symbol => symbol.Key.First)
            .ToLookup(symbol => symbol.Key.Name, symbol => new NumberRange(symbol.Key.First, symbol.Max(place => place.Key)));
    }
}
