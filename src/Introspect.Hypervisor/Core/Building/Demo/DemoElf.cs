using System.Buffers.Binary;
using System.Text;

namespace Introspect.Hypervisor.Core.Building.Demo;

/// <summary>Writes a 64-bit PVH image: one loaded segment, the note with the entry point, the symbols.</summary>
internal static class DemoElf
{
    private const int FileAlignment = 0x1000;
    private const int NoteSize = 20;
    private const int SegmentCount = 2;
    private const int SectionCount = 7;

    // Indices of the sections after the null one.
    private const int TextSection = 1;
    private const int BssSection = 2;
    private const int StringSection = 5;
    private const int NameSection = 6;

    private static readonly string[] SectionNames =
        ["", ".text", ".bss", ".note.Xen", ".symtab", ".strtab", ".shstrtab"];

    public static byte[] Write(
        byte[] content,
        ulong address,
        ulong end,
        uint pvhEntry,
        IReadOnlyList<(string Name, ulong Address)> symbols)
    {
        byte[] strings = Strings(symbols.Select(s => s.Name), out int[] nameOffsets);
        byte[] names = Strings(SectionNames.Skip(1), out int[] sectionNameOffsets);
        int contentAt = FileAlignment;
        int symbolsAt = contentAt + content.Length;
        int symbolSize = ElfFormat.SymbolSize(true);
        int symbolsSize = (symbols.Count + 1) * symbolSize;
        int stringsAt = symbolsAt + symbolsSize;
        int namesAt = stringsAt + strings.Length;
        int sectionsAt = (namesAt + names.Length + 7) & ~7;
        int noteAt = ElfFormat.HeaderSize(true) + (SegmentCount * ElfFormat.ProgramHeaderSize(true));
        byte[] file = new byte[sectionsAt + (SectionCount * ElfFormat.SectionHeaderSize(true))];

        WriteHeader(file, address, sectionsAt);
        ulong fileSize = (ulong)content.Length;
        WriteSegment(file, 0, ElfFormat.SegmentLoad, 7, contentAt, address, fileSize, end - address, FileAlignment);
        WriteSegment(file, 1, ElfFormat.SegmentNote, 4, noteAt, 0, NoteSize, NoteSize, 4);
        WriteNote(file.AsSpan(noteAt), pvhEntry);

        content.CopyTo(file, contentAt);
        strings.CopyTo(file, stringsAt);
        names.CopyTo(file, namesAt);
        for (int i = 0; i < symbols.Count; i++)
        {
            WriteSymbol(file.AsSpan(symbolsAt + ((i + 1) * symbolSize)), nameOffsets[i], symbols[i].Address, address, fileSize, end);
        }

        const uint AllocWriteExecute = 7;
        const uint AllocWrite = 3;
        Span<byte> table = file.AsSpan(sectionsAt);
        WriteSection(table, 1, sectionNameOffsets[0], ElfFormat.SectionProgbits, AllocWriteExecute, address, contentAt, content.Length);
        WriteSection(table, 2, sectionNameOffsets[1], ElfFormat.SectionNobits, AllocWrite, address + fileSize, symbolsAt, (int)(end - address - fileSize));
        WriteSection(table, 3, sectionNameOffsets[2], ElfFormat.SectionNote, 0, 0, noteAt, NoteSize);
        WriteSection(table, 4, sectionNameOffsets[3], ElfFormat.SectionSymtab, 0, 0, symbolsAt, symbolsSize, StringSection, 1, (ulong)symbolSize);
        WriteSection(table, 5, sectionNameOffsets[4], ElfFormat.SectionStrtab, 0, 0, stringsAt, strings.Length);
        WriteSection(table, 6, sectionNameOffsets[5], ElfFormat.SectionStrtab, 0, 0, namesAt, names.Length);
        return file;
    }

    private static void WriteHeader(Span<byte> file, ulong entry, int sectionsAt)
    {
        "\u007fELF"u8.CopyTo(file);
        file[ElfFormat.IdentClass] = ElfFormat.Class64;
        file[ElfFormat.IdentData] = ElfFormat.LittleEndian;
        file[ElfFormat.IdentVersion] = 1;
        Put16(file, 16, ElfFormat.TypeExecutable);
        Put16(file, 18, ElfFormat.MachineX86_64);
        Put32(file, 20, 1);
        Put64(file, 24, entry);
        Put64(file, 32, (ulong)ElfFormat.HeaderSize(true));
        Put64(file, 40, (ulong)sectionsAt);
        Put16(file, 52, (ushort)ElfFormat.HeaderSize(true));
        Put16(file, 54, (ushort)ElfFormat.ProgramHeaderSize(true));
        Put16(file, 56, SegmentCount);
        Put16(file, 58, (ushort)ElfFormat.SectionHeaderSize(true));
        Put16(file, 60, SectionCount);
        Put16(file, 62, NameSection);
    }

    private static void WriteSegment(
        byte[] file, int index, uint type, uint flags, int offset, ulong address, ulong fileSize, ulong memorySize, ulong alignment)
    {
        Span<byte> at = file.AsSpan(ElfFormat.HeaderSize(true) + (index * ElfFormat.ProgramHeaderSize(true)));
        Put32(at, 0, type);
        Put32(at, 4, flags);
        Put64(at, 8, (ulong)offset);
        Put64(at, 16, address);
        Put64(at, 24, address);
        Put64(at, 32, fileSize);
        Put64(at, 40, memorySize);
        Put64(at, 48, alignment);
    }

    private static void WriteNote(Span<byte> at, uint entry)
    {
        Put32(at, 0, 4);
        Put32(at, 4, 4);
        Put32(at, 8, (uint)XenNoteType.Phys32Entry);
        "Xen\0"u8.CopyTo(at[12..]);
        Put32(at, 16, entry);
    }

    private static void WriteSymbol(Span<byte> at, int name, ulong address, ulong start, ulong fileSize, ulong end)
    {
        // Global, of no type. Ring 3's code has an address outside the sections, and is said to be in .text.
        const byte GlobalNoType = 0x10;
        Put32(at, 0, (uint)name);
        at[4] = GlobalNoType;
        Put16(at, 6, (ushort)(address >= start + fileSize && address < end ? BssSection : TextSection));
        Put64(at, 8, address);
    }

    private static void WriteSection(
        Span<byte> table, int index, int name, uint type, uint flags, ulong address, int offset, int size, int link = 0, int info = 0, ulong entrySize = 0)
    {
        Span<byte> at = table[(index * ElfFormat.SectionHeaderSize(true))..];
        Put32(at, 0, (uint)name);
        Put32(at, 4, type);
        Put64(at, 8, flags);
        Put64(at, 16, address);
        Put64(at, 24, (ulong)offset);
        Put64(at, 32, (ulong)size);
        Put32(at, 40, (uint)link);
        Put32(at, 44, (uint)info);
        Put64(at, 48, 1);
        Put64(at, 56, entrySize);
    }

    private static byte[] Strings(IEnumerable<string> texts, out int[] offsets)
    {
        List<byte> bytes = [0];
        List<int> starts = [];
        foreach (string text in texts)
        {
            starts.Add(bytes.Count);
            bytes.AddRange(Encoding.ASCII.GetBytes(text));
            bytes.Add(0);
        }

        offsets = [.. starts];
        return [.. bytes];
    }

    private static void Put16(Span<byte> at, int offset, ushort value) =>
        BinaryPrimitives.WriteUInt16LittleEndian(at[offset..], value);

    private static void Put32(Span<byte> at, int offset, uint value) =>
        BinaryPrimitives.WriteUInt32LittleEndian(at[offset..], value);

    private static void Put64(Span<byte> at, int offset, ulong value) =>
        BinaryPrimitives.WriteUInt64LittleEndian(at[offset..], value);
}
