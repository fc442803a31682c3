using Introspect.Rules.Language;

namespace Introspect.Daemon.Symbols;

/// <summary>Names for guest addresses, for people and for rules.</summary>
internal interface ISymbolSource : ISymbolResolver
{
    /// <summary>The addresses of a name, lowest first: a name that several files keep to themselves has more than one.</summary>
    IReadOnlyList<ulong> AddressesOf(string name) => [.. RangesOf(name).Select(range => range.First)];
}

/// <summary>Addresses as people read them.</summary>
internal static class SymbolSourceExtensions
{
    /// <summary><c>name</c> or <c>name+0x12</c>, or null where nothing is near.</summary>
    public static string? Describe(this ISymbolSource symbols, ulong address) =>
        !symbols.TryFind(address, out var name, out var offset) ? null : offset == 0 ? name : $"{name}+0x{offset:x}";
}
