using System.Diagnostics.CodeAnalysis;
using Introspect.Daemon.Symbols;
using Introspect.Rules.Capture;

namespace Introspect.Daemon.Capturing;

/// <summary>The names that a capture brought along: of the places of its events, and of no others.</summary>
internal sealed class CapturedSymbols(CaptureReader capture) : ISymbolSource
{
    /// <inheritdoc/>
    public IEnumerable<string> Names => capture.Symbols.Values.Select(symbol => symbol.Name).Distinct();

    /// <inheritdoc/>
    public bool TryFind(ulong address, [NotNullWhen(true)] out string? name, out ulong offset)
    {
        var isKnown = capture.Symbols.TryGetValue(address, out var symbol);
        (name, offset) = (isKnown ? symbol.Name : null, symbol.Offset);
        return name is not null;
    }

    /// <inheritdoc/>
    public IReadOnlyList<ulong> AddressesOf(string name) =>
        [.. capture.Symbols.Where(s => s.Value.Name == name).Select(s => s.Key - s.Value.Offset).Distinct().Order()];
}
