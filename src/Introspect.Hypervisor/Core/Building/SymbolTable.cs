using System.Buffers.Binary;
using System.Diagnostics.CodeAnalysis;
using System.Text;

namespace Introspect.Hypervisor.Core.Building;

/// <summary>
/// The routines and variables that an image names (.symtab with its .strtab): address to nearest name, for
/// traces, and name to address. Names become strings when they are first asked for, and then stay.
/// </summary>
internal sealed class SymbolTable
{
    private const byte TypeFunction = 2;
    private const byte TypeSection = 3;
    private const byte TypeTls = 6;
    private const byte BindGlobal = 1;

    private readonly Entry[] _byAddress;
    private readonly string?[] _names;
    private readonly ReadOnlyMemory<byte> _strings;
    private readonly ulong _end;
    private Dictionary<string, int>? _byName;

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
    public IEnumerable<string> Names => Enumerable.Range(0, _byAddress.Length).Select(Name);

    /// <summary>Every symbol, lowest first.</summary>
    public IEnumerable<(string Name, ulong Address)> Symbols => Enumerable.Range(0, _byAddress.Length).Select(i => (Name(i), _byAddress[i].Address));

    /// <summary>The address of a name; of several with one name that which lies lowest.</summary>
    public bool TryGetAddress(string name, out ulong address)
    {
        Dictionary<string, int> byName = _byName ??= IndexNames();
        bool found = byName.TryGetValue(name, out int index);
        address = found ? _byAddress[index].Address : 0;
        return found;
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
        if (image.FindSection(ElfFormat.SectionSymtab) is not { } section)
        {
            table = Empty;
            error = null;
            return true;
        }

        int size = ElfFormat.SymbolSize(image.Is64);
        if (section.EntrySize != (ulong)size)
        {
            error = new ElfError(
                ElfErrorKind.BadSymbol,
                $"symbols of {section.EntrySize} bytes in section {section.Index} (sh_entsize must be {size}); the image is damaged, strip its symbols");
            return false;
        }

        if (section.Link >= (uint)image.Sections.Count || image.Sections[(int)section.Link].Type != ElfFormat.SectionStrtab)
        {
            error = new ElfError(
                ElfErrorKind.BadSymbol,
                $"the symbols in section {section.Index} have their names in section {section.Link}, which is no string table; strip the image's symbols");
            return false;
        }

        ReadOnlyMemory<byte> strings = image.Content(image.Sections[(int)section.Link]);
        if (strings.Length != 0 && strings.Span[^1] != 0)
        {
            error = new ElfError(
                ElfErrorKind.BadSymbol,
                $"the string table in section {section.Link} does not end with a zero; the image is damaged, strip its symbols");
            return false;
        }

        return TryReadEntries(image, section, strings, out table, out error);
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

    private Dictionary<string, int> IndexNames()
    {
        Dictionary<string, int> index = new(_byAddress.Length, StringComparer.Ordinal);
        for (int i = 0; i < _byAddress.Length; i++)
        {
            index.TryAdd(Name(i), i);
        }

        return index;
    }

    private string Name(int index)
    {
        if (_names[index] is { } known)
        {
            return known;
        }

        ReadOnlySpan<byte> rest = _strings.Span[_byAddress[index].NameOffset..];
        string name = Encoding.UTF8.GetString(rest[..rest.IndexOf((byte)0)]);
        _names[index] = name;
        return name;
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
