using System.Diagnostics.CodeAnalysis;
using System.Globalization;
using Introspect.Rules.Language;

namespace Introspect.Daemon.Symbols;

/// <summary>
/// The symbols of a kernel as nm, System.map and /proc/kallsyms list them: a line a symbol, address, type and name.
/// </summary>
internal sealed class SystemMap : ISymbolSource
{
    // What lies farther behind a symbol does not belong to it: no routine or table is that large.
    private const ulong MaxDistance = 16 << 20;

    // Debian's kernels come with one line in which the rest of it is the only symbol's name.
    private const string StandIn = "The real System.map is in the linux-image-<version>-dbg package";

    private const ulong UpperHalf = 1UL << 63;

    private readonly ulong[] _addresses;
    private readonly string[] _names;

    private SystemMap(ulong[] addresses, string[] names) => (_addresses, _names) = (addresses, names);

    /// <inheritdoc/>
    public IEnumerable<string> Names => _names;

    /// <summary>Reads a list.</summary>
    /// <param name="lines">Its lines.</param>
    /// <param name="map">The symbols.</param>
    /// <param name="mistake">What is wrong with it, and where.</param>
    public static bool TryParse(IEnumerable<string> lines, [NotNullWhen(true)] out SystemMap? map, [NotNullWhen(false)] out string? mistake)
    {
        map = null;
        var entries = new List<(ulong Address, byte Rank, string Name)>();
        var number = 0;
        var seen = 0;
        foreach (var line in lines)
        {
            number++;
            if (string.IsNullOrWhiteSpace(line))
            {
                continue;
            }

            if (line.EndsWith(StandIn, StringComparison.Ordinal))
            {
                mistake = "it is the stand-in of Debian's linux-image package and has no symbols; give the System.map of the package's -dbg sibling (usr/lib/debug/boot in it)";
                return false;
            }

            var parts = line.Split((char[])[' ', '\t'], StringSplitOptions.RemoveEmptyEntries);
            if (parts is [[_], _] && !IsAddress(parts[0], out _))
            {
                // Without an address: a symbol that another object defines.
                continue;
            }

            if (parts.Length < 3 || parts[1].Length != 1 || !IsAddress(parts[0], out var address))
            {
                mistake = $"line {number} is no symbol ('{Short(line)}'); a line is ADDRESS TYPE NAME, as in System.map";
                return false;
            }

            seen++;
            if (address != 0 && parts[1][0] is not ('a' or 'A' or 'U' or 'N'))
            {
                entries.Add((address, Rank(parts[1][0]), parts[2]));
            }
        }

        if (entries.Count == 0)
        {
            mistake = seen == 0 ? "it is empty; give a System.map or an ELF image" : "every address in it is 0; read /proc/kallsyms as root, or give the System.map";
            return false;
        }

        // A kernel lies in the upper half; what its list has in the lower are offsets of per-CPU data.
        if (entries.Exists(e => e.Address >= UpperHalf))
        {
            entries.RemoveAll(e => e.Address < UpperHalf);
        }

        // Of the names of one address the best stands last, where the search ends.
        entries.Sort(static (a, b) => a.Address != b.Address ? a.Address.CompareTo(b.Address) : a.Rank.CompareTo(b.Rank));
        map = new([.. entries.Select(e => e.Address)], [.. entries.Select(e => e.Name)]);
        mistake = null;
        return true;
    }

    /// <inheritdoc/>
    public bool TryFind(ulong address, [NotNullWhen(true)] out string? name, out ulong offset)
    {
        name = null;
        offset = 0;
        int low = 0, high = _addresses.Length;
        while (low < high)
        {
            var middle = (low + high) >>> 1;
            (low, high) = _addresses[middle] <= address ? (middle + 1, high) : (low, middle);
        }

        if (low == 0 || address - _addresses[low - 1] >= MaxDistance || _names[low - 1] is "_end" or "__bss_stop" or "__brk_limit")
        {
            return false;
        }

        name = _names[low - 1];
        offset = address - _addresses[low - 1];
        return true;
    }

    /// <inheritdoc/>
    public IReadOnlyList<NumberRange> RangesOf(string name)
    {
        var ranges = new List<NumberRange>();
        for (var i = 0; i < _names.Length; i++)
        {
            if (_names[i] == name && (ranges.Count == 0 || ranges[^1].First != _addresses[i]))
            {
                ranges.Add(new(_addresses[i], LastOf(i)));
            }
        }

        return ranges;
    }

    // Up to the next symbol, where that is not farther than anything that belongs to one.
    private ulong LastOf(int index)
    {
        var first = _addresses[index];
        var next = index + 1;
        while (next < _addresses.Length && _addresses[next] == first)
        {
            next++;
        }

        var farthest = first > ulong.MaxValue - MaxDistance ? ulong.MaxValue : first + MaxDistance - 1;
        return next < _addresses.Length ? Math.Min(_addresses[next] - 1, farthest) : farthest;
    }

    private static bool IsAddress(string text, out ulong address) =>
        ulong.TryParse(text.StartsWith("0x", StringComparison.Ordinal) ? text.AsSpan(2) : text, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out address);

    // People want a routine's name rather than a label's, and a global one's.
    private static byte Rank(char type) => type switch
    {
        'T' => 3,
        't' or 'W' => 2,
        >= 'A' and <= 'Z' => 1,
        _ => 0,
    };

    private static string Short(string line) => line.Length <= 40 ? line : line[..40] + "…";
}
