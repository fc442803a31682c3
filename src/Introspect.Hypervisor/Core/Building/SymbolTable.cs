using System.Buffers.Binary;
using System.Diagnostics.CodeAnalysis;
using System.Text;

namespace Introspect.Hypervisor.Core.Building;

/// <summary>
/// The routines and variables that an image names (.symtab with its .strtab): address to nearest name, for
/// traces, and name to address. Names become strings when an address of theirs is first described, and then stay.
/// </summary>
internal sealed class SymbolTable
{
    private const byte TypeFunction = 2;
    private const byte TypeSection = 3;
    private const byte TypeTls = 6;
    private const byte BindGlobal = 1;

    /// <summary>Longer names are cut off, so that many symbols with one endless name take no time.</summary>
    private const int LongestName = 4096;

    private readonly Entry[] _byAddress;
    private readonly string?[] _names;
    private readonly ReadOnlyMemory<byte> _strings;
    private readonly ulong _end;
    private int[]? _byName;

    private SymbolTable(Entry[] byAddress, ReadOnlyMemory<byte> strings, ulong end)
    {
        _byAddress = byAddress;
        _names = new string?[byAddress.Length];
        _strings = strings;
        _end = end;
    }

    /// <summary>A table without symbols.</summary>
    public static SymbolTable Empty { get; } = new([], ReadOnlyMemory<byte>.Empty, 0);

    /// <summary>How many symbols there are.</summary>
    public int Count => _byAddress.Length;

    /// <summary>Every name, in the order of the addresses.</summary>
    public IEnumerable<string> Names => Enumerable.Range(0, _byAddress.Length).Select(NameText);

    /// <summary>Every symbol, lowest first.</summary>
    public IEnumerable<(string Name, ulong Address)> Symbols => Enumerable.Range(0, _byAddress.Length).Select(i => (NameText(i), _byAddress[i].Address));

    /// <summary>The address of a name; of several with one name that which lies lowest.</summary>
    public bool TryGetAddress(string name, out ulong address)
    {
        int[] byName = _byName ??= IndexNames();
        byte[] bytes = Encoding.UTF8.GetBytes(name);
        int low = 0;
        int high = byName.Length;
        while (low < high)
        {
            int middle = (low + high) >>> 1;
            if (NameBytes(byName[middle]).SequenceCompareTo(bytes) < 0)
            {
                low = middle + 1;
            }
            else
            {
                high = middle;
            }
        }

        bool found = low < byName.Length && NameBytes(byName[low]).SequenceEqual(bytes);
        address = found ? _byAddress[byName[low]].Address : 0;
        return found;
    }

    /// <summary>The addresses of each symbol of a name, from its own up to the next symbol or the end of the image; lowest first.</summary>
    public IReadOnlyList<(ulong First, ulong Last)> RangesOf(string name)
    {
        if (!TryGetAddress(name, out _))
        {
            return [];
        }

        List<(ulong First, ulong Last)> ranges = [];
        byte[] bytes = Encoding.UTF8.GetBytes(name);
        for (int i = 0; i < _byAddress.Length; i++)
        {
            ulong first = _byAddress[i].Address;
            if (NameBytes(i).SequenceEqual(bytes) && (ranges.Count == 0 || ranges[^1].First != first))
            {
                int next = i + 1;
                while (next < _byAddress.Length && _byAddress[next].Address == first)
                {
                    next++;
                }

                ulong end = next < _byAddress.Length ? Math.Min(_byAddress[next].Address, _end) : _end;
                ranges.Add((first, end > first ? end - 1 : first));
            }
        }

        return ranges;
    }

    /// <summary>The nearest symbol at or below an address, when the address lies in the image.</summary>
    public bool TryFind(ulong address, [NotNullWhen(true)] out string? name, out ulong offset)
    {
        name = null;
        offset = 0;
        if (address >= _end)
        {
            return false;
        }

        int low = 0;
        int high = _byAddress.Length;
        while (low < high)
        {
            int middle = (low + high) >>> 1;
            if (_byAddress[middle].Address <= address)
            {
                low = middle + 1;
            }
            else
            {
                high = middle;
            }
        }

        if (low == 0)
        {
            return false;
        }

        // Entries of one address are sorted so that the best name stands last.
        name = Name(low - 1);
        offset = address - _byAddress[low - 1].Address;
        return true;
    }

    /// <summary>An address for people: <c>name</c>, <c>name+0x12</c>, or null when no symbol is near.</summary>
    public string? Describe(ulong address) =>
        TryFind(address, out string? name, out ulong offset)
            ? offset == 0 ? name : $"{name}+0x{offset:x}"
            : null;

    /// <summary>Reads an image's table; an image without one has <see cref="Empty"/>.</summary>
    public static bool TryRead(
        ElfImage image,
        [NotNullWhen(true)] out SymbolTable? table,
        [NotNullWhen(false)] out ElfError? error)
    {
        table = null;
        error = image.SymbolWarning;
        if (error is not null)
        {
            return false;
        }

        if (image.SymbolSections is not { } sections)
        {
            table = Empty;
            return true;
        }

        ReadOnlyMemory<byte> strings = image.Content(sections.Names);
        if (strings.Length != 0 && strings.Span[^1] != 0)
        {
            error = new ElfError(
                ElfErrorKind.BadSymbol,
                $"the string table in section {sections.Names.Index} does not end with a zero; the image is damaged, strip its symbols");
            return false;
        }

        return TryReadEntries(image, sections.Symbols, strings, out table, out error);
    }

    private static bool TryReadEntries(
        ElfImage image,
        in ElfSection section,
        ReadOnlyMemory<byte> strings,
        [NotNullWhen(true)] out SymbolTable? table,
        [NotNullWhen(false)] out ElfError? error)
    {
        table = null;
        int size = ElfFormat.SymbolSize(image.Is64);
        ReadOnlySpan<byte> bytes = image.Content(section).Span;
        List<Entry> entries = new(bytes.Length / size);
        for (int i = 0; i < bytes.Length / size; i++)
        {
            ReadOnlySpan<byte> symbol = bytes.Slice(i * size, size);
            uint name = BinaryPrimitives.ReadUInt32LittleEndian(symbol);
            byte info = symbol[image.Is64 ? 4 : 12];
            ushort place = BinaryPrimitives.ReadUInt16LittleEndian(symbol[(image.Is64 ? 6 : 14)..]);
            ulong value = image.Is64
                ? BinaryPrimitives.ReadUInt64LittleEndian(symbol[8..])
                : BinaryPrimitives.ReadUInt32LittleEndian(symbol[4..]);
            if (!NamesAPlace(info, place, name))
            {
                continue;
            }

            if (name >= strings.Length)
            {
                error = new ElfError(
                    ElfErrorKind.BadSymbol,
                    $"symbol {i} has its name at 0x{name:x}, outside the string table of 0x{strings.Length:x} bytes; strip the image's symbols");
                return false;
            }

            entries.Add(new Entry(value, (int)name, Rank(info)));
        }

        Entry[] sorted = [.. entries];
        Array.Sort(sorted);
        table = new SymbolTable(sorted, strings, EndOf(image));
        error = null;
        return true;
    }

    private static bool NamesAPlace(byte info, ushort place, uint name)
    {
        int type = info & 0xf;
        return name != 0
            && (type < TypeSection || type > TypeTls)
            && place is not (ElfFormat.SectionUndefined or ElfFormat.SectionAbsolute or ElfFormat.SectionCommon);
    }

    /// <summary>Of the names of one address people want a routine's rather than a label's, and a global one's.</summary>
    private static byte Rank(byte info) =>
        (byte)(((info & 0xf) == TypeFunction ? 2 : 0) + (info >> 4 == BindGlobal ? 1 : 0));

    /// <summary>The first virtual address behind the image: what lies above has no name in it.</summary>
    private static ulong EndOf(ElfImage image)
    {
        ulong end = 0;
        foreach (ElfSegment s in image.LoadableSegments)
        {
            ulong segmentEnd = s.VirtualAddress + s.MemorySize;
            end = Math.Max(end, segmentEnd < s.VirtualAddress ? ulong.MaxValue : segmentEnd);
        }

        return end;
    }

    /// <summary>The symbols by name, those of one name lowest first; without making strings of them.</summary>
    private int[] IndexNames()
    {
        int[] index = [.. Enumerable.Range(0, _byAddress.Length)];
        Array.Sort(index, (a, b) => NameBytes(a).SequenceCompareTo(NameBytes(b)) is var order and not 0 ? order : a.CompareTo(b));
        return index;
    }

    private string Name(int index) => _names[index] ??= NameText(index);

    private string NameText(int index) => Encoding.UTF8.GetString(NameBytes(index));

    private ReadOnlySpan<byte> NameBytes(int index)
    {
        ReadOnlySpan<byte> rest = _strings.Span[_byAddress[index].NameOffset..];
        int end = rest[..Math.Min(rest.Length, LongestName)].IndexOf((byte)0);
        return rest[..(end < 0 ? LongestName : end)];
    }

    private readonly record struct Entry(ulong Address, int NameOffset, byte Rank) : IComparable<Entry>
    {
        public int CompareTo(Entry other)
        {
            int byAddress = Address.CompareTo(other.Address);
            return byAddress != 0 ? byAddress : Rank.CompareTo(other.Rank);
        }
    }
}
