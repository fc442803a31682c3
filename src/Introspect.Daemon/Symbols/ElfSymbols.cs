using System.Diagnostics.CodeAnalysis;
using Introspect.Hypervisor.Core.Building;
using Introspect.Rules.Language;

namespace Introspect.Daemon.Symbols;

/// <summary>The symbols of an ELF image.</summary>
internal sealed class ElfSymbols(SymbolTable table) : ISymbolSource
{
    /// <inheritdoc/>
    public IEnumerable<string> Names => table.Names;

    /// <inheritdoc/>
    public bool TryFind(ulong address, [NotNullWhen(true)] out string? name, out ulong offset) => table.TryFind(address, out name, out offset);

    /// <inheritdoc/>
    public IReadOnlyList<NumberRange> RangesOf(string name) => [.. table.RangesOf(name).Select(range => new NumberRange(range.First, range.Last))];
}

/// <summary>Symbols of a kernel that was loaded elsewhere than it was linked for.</summary>
/// <param name="symbols">As they were linked.</param>
/// <param name="offset">What the loader added to each address, modulo 2^64.</param>
internal sealed class ShiftedSymbols(ISymbolSource symbols, ulong offset) : ISymbolSource
{
    /// <inheritdoc/>
    public IEnumerable<string> Names => symbols.Names;

    /// <inheritdoc/>
    public bool TryFind(ulong address, [NotNullWhen(true)] out string? name, out ulong distance) =>
        symbols.TryFind(unchecked(address - offset), out name, out distance);

    /// <inheritdoc/>
    public IReadOnlyList<NumberRange> RangesOf(string name) =>
        [.. symbols.RangesOf(name).Select(range => new NumberRange(unchecked(range.First + offset), unchecked(range.Last + offset)))];
}
