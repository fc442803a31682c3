using System.Buffers.Binary;
using System.Text;
using Introspect.Hypervisor.Core.Building;

namespace Introspect.Hypervisor.Tests.Building;

/// <summary>Writes small ELF images of either class, right or wrong as a test wants them.</summary>
internal sealed class TestElf
{
    public const ulong LoadAddress = 0x10_0000;
    public const uint Entry = 0x10_0010;

    public bool Is64 { get; init; } = true;

    public ushort Machine { get; init; } = ElfFormat.MachineX86_64;

    public ushort Type { get; init; } = ElfFormat.TypeExecutable;

    /// <summary>Content of the PT_NOTE, null for none.</summary>
    public byte[]? Notes { get; init; } = Note("Xen", 18, BitConverter.GetBytes(Entry));

    public uint NoteAlignment { get; init; } = 4;

    /// <summary>Content of a SHT_NOTE section, null for none.</summary>
    public byte[]? SectionNotes { get; init; }

    /// <summary>Segments that are loaded: address, content, bytes in memory.</summary>
    public List<(ulong Address, byte[] Content, ulong MemorySize)> Segments { get; init; } =
        [(LoadAddress, [.. Enumerable.Range(0, 0x40).Select(i => (byte)i)], 0x1800)];

    /// <summary>Symbols: name, value, st_info, st_shndx. Null for no table.</summary>
    public List<(string Name, ulong Value, byte Info, ushort Section)>? Symbols { get; init; }

    /// <summary>Other sections of SHT_PROGBITS: name, content.</summary>
    public List<(string Name, byte[] Content)> OtherSections { get; init; } = [];

    /// <summary>Index of the symbol table's section; its names are in the one behind it.</summary>
    public int SymbolSection { get; private set; }

    public int ProgramHeadersAt => ElfFormat.HeaderSize(Is64);

    public int SectionHeadersAt { get; private set; }

    public byte[] Build()
    {
        int segmentCount = Segments.Count + (Notes is null ? 0 : 1);
        List<byte> file = [.. new byte[ProgramHeadersAt + (segmentCount * ElfFormat.ProgramHeaderSize(Is64))]];
        List<(uint Type, ulong Offset, ulong Address, ulong FileSize, ulong MemorySize, ulong Alignment)> programs = [];
        foreach ((ulong address, byte[] content, ulong memorySize) in Segments)
        {
            programs.Add((ElfFormat.SegmentLoad, (ulong)file.Count, address, (ulong)content.Length, memorySize, 0x1000));
            file.AddRange(content);
        }

        if (Notes is not null)
        {
            programs.Add((ElfFormat.SegmentNote, (ulong)file.Count, 0, (ulong)Notes.Length, (ulong)Notes.Length, NoteAlignment));
            file.AddRange(Notes);
        }

        List<(uint Type, string Name, int Offset, int Size, uint Link, int EntrySize)> sections = [(0, "", 0, 0, 0, 0)];
        if (SectionNotes is not null)
        {
            sections.Add((ElfFormat.SectionNote, ".notes", file.Count, SectionNotes.Length, 0, 0));
            file.AddRange(SectionNotes);
        }

        foreach ((string title, byte[] content) in OtherSections)
        {
            sections.Add((ElfFormat.SectionProgbits, title, file.Count, content.Length, 0, 0));
            file.AddRange(content);
        }

        if (Symbols is not null)
        {
            SymbolSection = sections.Count;
            AddSymbols(file, sections);
        }

        byte[] names = [0, .. sections.SelectMany(s => Encoding.ASCII.GetBytes(s.Name + "\0")), .. ".shstrtab\0"u8];
        sections.Add((ElfFormat.SectionStrtab, ".shstrtab", file.Count, names.Length, 0, 0));
        file.AddRange(names);
        SectionHeadersAt = file.Count;
        file.AddRange(new byte[sections.Count * ElfFormat.SectionHeaderSize(Is64)]);

        byte[] image = [.. file];
        WriteHeader(image, segmentCount, sections.Count);
        for (int i = 0; i < programs.Count; i++)
        {
            WriteProgramHeader(image.AsSpan(ProgramHeadersAt + (i * ElfFormat.ProgramHeaderSize(Is64))), programs[i]);
        }

        int name = 1;
        for (int i = 0; i < sections.Count; i++)
        {
            (uint type, string text, int offset, int size, uint link, int entrySize) = sections[i];
            Span<byte> at = image.AsSpan(SectionHeadersAt + (i * ElfFormat.SectionHeaderSize(Is64)));
            Put32(at, 0, (uint)name);
            name += text.Length + 1;
            Put32(at, 4, type);
            PutWord(at, 16, 24, (ulong)offset);
            PutWord(at, 20, 32, (ulong)size);
            Put32(at, Is64 ? 40 : 24, link);
            PutWord(at, 36, 56, (ulong)entrySize);
        }

        return image;
    }

    /// <summary>A section header of an image that was built.</summary>
    public Span<byte> SectionHeader(byte[] image, int index)
    {
        int size = ElfFormat.SectionHeaderSize(Is64);
        return image.AsSpan(SectionHeadersAt + (index * size), size);
    }

    /// <summary>A note, padded to 4 bytes.</summary>
    public static byte[] Note(string owner, uint type, byte[] content)
    {
        byte[] name = Encoding.ASCII.GetBytes(owner + "\0");
        return
        [
            .. BitConverter.GetBytes(name.Length), .. BitConverter.GetBytes(content.Length), .. BitConverter.GetBytes(type),
            .. Padded(name), .. Padded(content),
        ];
    }

    public static void Put16(Span<byte> at, int offset, ushort value) => BinaryPrimitives.WriteUInt16LittleEndian(at[offset..], value);

    public static void Put32(Span<byte> at, int offset, uint value) => BinaryPrimitives.WriteUInt32LittleEndian(at[offset..], value);

    public void PutWord(Span<byte> at, int offset32, int offset64, ulong value)
    {
        if (Is64)
        {
            BinaryPrimitives.WriteUInt64LittleEndian(at[offset64..], value);
        }
        else
        {
            Put32(at, offset32, (uint)value);
        }
    }

    private static byte[] Padded(byte[] bytes) => [.. bytes, .. new byte[-bytes.Length & 3]];

    private void AddSymbols(List<byte> file, List<(uint Type, string Name, int Offset, int Size, uint Link, int EntrySize)> sections)
    {
        int size = ElfFormat.SymbolSize(Is64);
        byte[] table = new byte[(Symbols!.Count + 1) * size];
        List<byte> strings = [0];
        for (int i = 0; i < Symbols.Count; i++)
        {
            (string name, ulong value, byte info, ushort section) = Symbols[i];
            Span<byte> at = table.AsSpan((i + 1) * size);
            Put32(at, 0, (uint)strings.Count);
            at[Is64 ? 4 : 12] = info;
            Put16(at, Is64 ? 6 : 14, section);
            PutWord(at, 4, 8, value);
            strings.AddRange(Encoding.ASCII.GetBytes(name + "\0"));
        }

        sections.Add((ElfFormat.SectionSymtab, ".symtab", file.Count, table.Length, (uint)sections.Count + 1, size));
        file.AddRange(table);
        sections.Add((ElfFormat.SectionStrtab, ".strtab", file.Count, strings.Count, 0, 0));
        file.AddRange(strings);
    }

    private void WriteHeader(byte[] image, int segmentCount, int sectionCount)
    {
        "\u007fELF"u8.CopyTo(image);
        image[4] = Is64 ? ElfFormat.Class64 : ElfFormat.Class32;
        image[5] = ElfFormat.LittleEndian;
        image[6] = 1;
        Put16(image, 16, Type);
        Put16(image, 18, Machine);
        Put32(image, 20, 1);
        PutWord(image, 24, 24, LoadAddress);
        PutWord(image, 28, 32, (ulong)ProgramHeadersAt);
        PutWord(image, 32, 40, (ulong)SectionHeadersAt);
        int sizes = Is64 ? 52 : 40;
        Put16(image, sizes, (ushort)ElfFormat.HeaderSize(Is64));
        Put16(image, sizes + 2, (ushort)ElfFormat.ProgramHeaderSize(Is64));
        Put16(image, sizes + 4, (ushort)segmentCount);
        Put16(image, sizes + 6, (ushort)ElfFormat.SectionHeaderSize(Is64));
        Put16(image, sizes + 8, (ushort)sectionCount);
        Put16(image, sizes + 10, (ushort)(sectionCount - 1));
    }

    private void WriteProgramHeader(
        Span<byte> at, (uint Type, ulong Offset, ulong Address, ulong FileSize, ulong MemorySize, ulong Alignment) p)
    {
        Put32(at, 0, p.Type);
        Put32(at, Is64 ? 4 : 24, 7);
        PutWord(at, 4, 8, p.Offset);
        PutWord(at, 8, 16, p.Address + 0x4000_0000);
        PutWord(at, 12, 24, p.Address);
        PutWord(at, 16, 32, p.FileSize);
        PutWord(at, 20, 40, p.MemorySize);
        PutWord(at, 28, 48, p.Alignment);
    }
}
