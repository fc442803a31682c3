using System.Diagnostics.CodeAnalysis;

namespace Introspect.Hypervisor.Core.Building;

/// <summary>Reads the program and section header tables, and checks each entry against the image.</summary>
internal static class ElfTables
{
    /// <summary>More sections than any kernel has; what one with a section a function has stays below.</summary>
    public const ulong MaximumSections = 1 << 20;

    /// <summary>A section's longest name.</summary>
    public const int MaximumName = 4096;

    public static bool TryReadSegments(
        ReadOnlySpan<byte> image,
        in ElfHeader header,
        [NotNullWhen(true)] out List<ElfSegment>? segments,
        [NotNullWhen(false)] out ElfError? error)
    {
        segments = null;
        if (header.SegmentCount == ElfFormat.ProgramHeadersElsewhere)
        {
            error = new ElfError(
                ElfErrorKind.TooMany,
                "the image says that it has 65535 program headers or more; no kernel has, build it anew");
            return false;
        }

        ulong stride = header.SegmentEntrySize;
        ulong bytes = stride * header.SegmentCount;
        if (!ElfReader.Fits(header.SegmentTable, bytes, (ulong)image.Length))
        {
            error = new ElfError(
                ElfErrorKind.Truncated,
                $"{header.SegmentCount} program headers at offset 0x{header.SegmentTable:x} end behind the image of {image.Length} bytes; give the whole file");
            return false;
        }

        List<ElfSegment> found = new(header.SegmentCount);
        int size = ElfFormat.ProgramHeaderSize(header.Is64);
        for (int i = 0; i < header.SegmentCount; i++)
        {
            ElfReader r = new(image.Slice((int)(header.SegmentTable + (stride * (ulong)i)), size), header.Is64);
            ElfSegment segment = new(
                i,
                r.U32(0),
                r.U32(24, 4),
                r.Word(4, 8),
                r.Word(8, 16),
                r.Word(12, 24),
                r.Word(16, 32),
                r.Word(20, 40),
                r.Word(28, 48));
            error = Check(segment, image.Length);
            if (error is not null)
            {
                return false;
            }

            found.Add(segment);
        }

        segments = found;
        error = null;
        return true;
    }

    private static ElfError? Check(in ElfSegment s, int imageLength)
    {
        // Only what is read or loaded must be right; a PT_GNU_STACK or the like may hold anything.
        if (s.Type is not (ElfFormat.SegmentLoad or ElfFormat.SegmentNote))
        {
            return null;
        }

        if (!ElfReader.Fits(s.Offset, s.FileSize, (ulong)imageLength))
        {
            return new ElfError(
                ElfErrorKind.Truncated,
                $"program header {s.Index} has 0x{s.FileSize:x} bytes at offset 0x{s.Offset:x}, behind the image of {imageLength} bytes; give the whole file");
        }

        if (s.Type != ElfFormat.SegmentLoad)
        {
            return null;
        }

        if (s.FileSize > s.MemorySize)
        {
            return new ElfError(
                ElfErrorKind.BadSegment,
                $"program header {s.Index} has 0x{s.FileSize:x} bytes in the file but 0x{s.MemorySize:x} in memory; the image is damaged, build it anew");
        }

        if (s.PhysicalAddress + s.MemorySize < s.PhysicalAddress)
        {
            return new ElfError(
                ElfErrorKind.BadSegment,
                $"program header {s.Index} has 0x{s.MemorySize:x} bytes at 0x{s.PhysicalAddress:x}, beyond the end of the address space; link the image lower");
        }

        return null;
    }

    /// <summary>Reads the sections. A name that cannot be read is none, and the first of them is warned of.</summary>
    public static bool TryReadSections(
        ReadOnlyMemory<byte> image,
        in ElfHeader header,
        [NotNullWhen(true)] out List<ElfSection>? sections,
        out ElfError? nameWarning,
        [NotNullWhen(false)] out ElfError? error)
    {
        (sections, nameWarning) = (null, null);
        if (header.SectionTable == 0)
        {
            sections = [];
            error = null;
            return true;
        }

        ulong stride = header.SectionEntrySize;
        if (!ElfReader.Fits(header.SectionTable, stride, (ulong)image.Length))
        {
            error = TableTruncated(header, header.SectionCount, image.Length);
            return false;
        }

        // What does not fit into the header's 16 bits stands in the first, otherwise unused, section header.
        int size = ElfFormat.SectionHeaderSize(header.Is64);
        ElfReader first = new(image.Span.Slice((int)header.SectionTable, size), header.Is64);
        ulong count = header.SectionCount != 0 ? header.SectionCount : first.Word(20, 32);
        uint names = header.SectionNames != ElfFormat.SectionIndexElsewhere ? header.SectionNames : first.U32(24, 40);
        if (count > MaximumSections)
        {
            error = new ElfError(
                ElfErrorKind.TooMany,
                $"the image says that it has {count} section headers; {MaximumSections} are the most that is taken, strip the image");
            return false;
        }

        if (!ElfReader.Fits(header.SectionTable, stride * count, (ulong)image.Length))
        {
            error = TableTruncated(header, count, image.Length);
            return false;
        }

        if (names >= count && names != ElfFormat.SectionUndefined)
        {
            error = new ElfError(
                ElfErrorKind.BadSection,
                $"the section names are in section {names} of {count}; the image is damaged, build it anew");
            return false;
        }

        return TryReadEach(image, header, (int)count, (int)names, out sections, out nameWarning, out error);
    }

    private static bool TryReadEach(
        ReadOnlyMemory<byte> image,
        in ElfHeader header,
        int count,
        int namesIndex,
        [NotNullWhen(true)] out List<ElfSection>? sections,
        out ElfError? nameWarning,
        [NotNullWhen(false)] out ElfError? error)
    {
        (sections, nameWarning) = (null, null);
        ReadOnlyMemory<byte> names = default;
        if (namesIndex != ElfFormat.SectionUndefined
            && Read(image.Span, header, namesIndex, out _) is { Type: ElfFormat.SectionStrtab, LiesInImage: true } strings)
        {
            names = image.Slice((int)strings.Offset, (int)strings.Size);
        }

        List<ElfSection> found = new(count);
        for (int i = 0; i < count; i++)
        {
            ElfSection section = Read(image.Span, header, i, out uint nameOffset);
            if (section is { Type: ElfFormat.SectionNote, LiesInImage: false })
            {
                error = new ElfError(
                    ElfErrorKind.Truncated,
                    $"section {i} has 0x{section.Size:x} bytes of notes at offset 0x{section.Offset:x}, behind the image of {image.Length} bytes; give the whole file");
                return false;
            }

            if (!TryName(names, nameOffset, out ReadOnlyMemory<byte> name))
            {
                // As on Xen, it is then none of those that are looked for by name.
                nameWarning ??= new ElfError(
                    ElfErrorKind.BadSection,
                    $"section {i} has its name at 0x{nameOffset:x}, with no end in the section names of 0x{names.Length:x} bytes; the image is damaged, build it anew");
            }

            found.Add(section with { NameBytes = name });
        }

        sections = found;
        error = null;
        return true;
    }

    private static ElfSection Read(ReadOnlySpan<byte> image, in ElfHeader header, int index, out uint nameOffset)
    {
        int size = ElfFormat.SectionHeaderSize(header.Is64);
        int at = (int)(header.SectionTable + ((ulong)header.SectionEntrySize * (ulong)index));
        ElfReader r = new(image.Slice(at, size), header.Is64);
        nameOffset = r.U32(0);
        ElfSection section = new(
            index,
            ReadOnlyMemory<byte>.Empty,
            r.U32(4),
            r.Word(8, 8),
            r.Word(12, 16),
            r.Word(16, 24),
            r.Word(20, 32),
            r.U32(24, 40),
            r.Word(32, 48),
            r.Word(36, 56),
            LiesInImage: true);
        return section with { LiesInImage = !section.HasBytes || ElfReader.Fits(section.Offset, section.Size, (ulong)image.Length) };
    }

    private static bool TryName(ReadOnlyMemory<byte> names, uint offset, out ReadOnlyMemory<byte> name)
    {
        name = ReadOnlyMemory<byte>.Empty;
        if (names.IsEmpty)
        {
            return true;
        }

        if (offset >= names.Length)
        {
            return false;
        }

        // Bounded, so that many sections with one endless name take no time.
        ReadOnlyMemory<byte> rest = names.Slice((int)offset, (int)Math.Min(MaximumName, names.Length - offset));
        int end = rest.Span.IndexOf((byte)0);
        if (end < 0)
        {
            return false;
        }

        name = rest[..end];
        return true;
    }

    private static ElfError TableTruncated(in ElfHeader header, ulong count, int imageLength) => new(
        ElfErrorKind.Truncated,
        $"{count} section headers at offset 0x{header.SectionTable:x} end behind the image of {imageLength} bytes; give the whole file");
}
