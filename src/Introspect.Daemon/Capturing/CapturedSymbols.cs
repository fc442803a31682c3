using System.Diagnostics.CodeAnalysis;
using Introspect.Daemon.Symbols;
using Introspect.Rules.Capture;
using Introspect.Rules.Language;

namespace Introspect.Daemon.Capturing;

/// <summary>
/// The names that a capture brought along: of the places of its events, and of no others. Places come with their events; who
/// asks for a name, as rules do before the first event, has all of the file looked through.
/// </summary>
/// <param name="capture">The capture that is read.</param>
/// <param name="path">Its file.</param>
internal sealed class CapturedSymbols(CaptureReader capture, string path) : ISymbolSource
{
    private readonly Lazy<ILookup<string, NumberRange>> _byName = new(() => ReadAll(path));

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

    private static ILookup<string, NumberRange> ReadAll(string path)
    {
        // stdin comes only once.
        using var all = path == CaptureFiles.Standard ? null : CaptureFiles.Open(path);
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
            .GroupBy(symbol => (symbol.Value.Name, First: symbol.Key - symbol.Value.Offset))
            .OrderBy(symbol => symbol.Key.First)
            .ToLookup(symbol => symbol.Key.Name, symbol => new NumberRange(symbol.Key.First, symbol.Max(place => place.Key)));
    }
}
