using System.Diagnostics.CodeAnalysis;

namespace Introspect.Hypervisor.Core.Building;

/// <summary>
/// An ELF image of the x86 family, 32 or 64 bits. It comes from outside: whatever can be reached from an instance
/// was checked against the image's length by <see cref="TryParse"/>, and what is wrong is told as an
/// <see cref="ElfError"/>, never as an exception.
/// </summary>
internal sealed class ElfImage
{
    private ElfImage(
        ReadOnlyMemory<byte> bytes,
        bool is64,
        ushort machine,
        ulong entry,
        IReadOnlyList<ElfSegment> segments,
        IReadOnlyList<ElfSection> sections,
        IReadOnlyList<ElfNote> notes)
    {
        Bytes = bytes;
        Is64 = is64;
        Machine = machine;
        Entry = entry;
        Segments = segments;
        Sections = sections;
        XenNotes = new XenNotes(notes);
        Notes = notes;
    }

    /// <summary>The whole file.</summary>
    public ReadOnlyMemory<byte> Bytes { get; }

    /// <summary>ELFCLASS64; says nothing of the mode in which the guest runs.</summary>
    public bool Is64 { get; }

    /// <summary>EM_386 or EM_X86_64.</summary>
    public ushort Machine { get; }

    /// <summary>e_entry: the entry point of other boot protocols than PVH.</summary>
    public ulong Entry { get; }

    /// <summary>Every program header, in the file's order.</summary>
    public IReadOnlyList<ElfSegment> Segments { get; }

    /// <summary>Every section header, in the file's order; empty when they were stripped.</summary>
    public IReadOnlyList<ElfSection> Sections { get; }

    /// <summary>The notes: of the segments, or of the sections when no segment holds a note of Xen's.</summary>
    public IReadOnlyList<ElfNote> Notes { get; }

    /// <summary>What the notes named "Xen" say.</summary>
    public XenNotes XenNotes { get; }

    /// <summary>The segments that occupy guest memory.</summary>
    public IEnumerable<ElfSegment> LoadableSegments =>
        Segments.Where(s => s.Type == ElfFormat.SegmentLoad && s.MemorySize != 0);

    /// <summary>Bytes of a segment in the file.</summary>
    public ReadOnlyMemory<byte> Content(in ElfSegment segment) =>
        Bytes.Slice((int)segment.Offset, (int)segment.FileSize);

    /// <summary>Bytes of a section in the file; none for one that has only memory.</summary>
    public ReadOnlyMemory<byte> Content(in ElfSection section) =>
        section.Type is ElfFormat.SectionNobits or ElfFormat.SectionNull
            ? ReadOnlyMemory<byte>.Empty
            : Bytes.Slice((int)section.Offset, (int)section.Size);

    /// <summary>The first section of a type.</summary>
    public ElfSection? FindSection(uint type)
    {
        foreach (ElfSection section in Sections)
        {
            if (section.Type == type)
            {
                return section;
            }
        }

        return null;
    }

    /// <summary>The 32-bit PVH entry point, which must be given by a note and lie in what is loaded.</summary>
    public bool TryGetPvhEntry(out uint entry, [NotNullWhen(false)] out ElfError? error)
    {
        entry = 0;
        if (XenNotes.Find(XenNoteType.Phys32Entry) is not { } note)
        {
            error = new ElfError(
                ElfErrorKind.NoPvhEntry,
                "the image has no PVH entry point (ELF note Xen/PHYS32_ENTRY, type 18); for Linux build with CONFIG_PVH=y, else add the note to the image");
            return false;
        }

        if (!note.TryGetNumber(out ulong value) || value > uint.MaxValue)
        {
            error = new ElfError(
                ElfErrorKind.BadNote,
                $"the note Xen/PHYS32_ENTRY has {note.Description.Length} bytes or a value above 4 GiB; it must be a 32-bit physical address");
            return false;
        }

        foreach (ElfSegment segment in LoadableSegments)
        {
            if (value >= segment.PhysicalAddress && value < segment.PhysicalEnd)
            {
                entry = (uint)value;
                error = null;
                return true;
            }
        }

        error = new ElfError(
            ElfErrorKind.BadEntry,
            $"the PVH entry point 0x{value:x} lies in no loaded segment; it must be the physical address of code in the image");
        return false;
    }

    /// <summary>Parses a file's bytes.</summary>
    public static bool TryParse(
        ReadOnlyMemory<byte> bytes,
        [NotNullWhen(true)] out ElfImage? image,
        [NotNullWhen(false)] out ElfError? error)
    {
        image = null;
        if (!ElfHeader.TryRead(bytes.Span, out ElfHeader header, out error)
            || !ElfTables.TryReadSegments(bytes.Span, header, out List<ElfSegment>? segments, out error)
            || !ElfTables.TryReadSections(bytes.Span, header, out List<ElfSection>? sections, out error)
            || !ElfNoteReader.TryRead(bytes, segments, sections, out List<ElfNote>? notes, out error))
        {
            return false;
        }

        image = new ElfImage(bytes, header.Is64, header.Machine, header.Entry, segments, sections, notes);
        return true;
    }
}
