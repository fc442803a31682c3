using System.Diagnostics.CodeAnalysis;
using System.Text;

namespace Introspect.Hypervisor.Core.Building;

/// <summary>
/// An ELF image of the x86 family, 32 or 64 bits. It comes from outside: whatever can be reached from an instance
/// was checked against the image's length by <see cref="TryParse"/>, and what is wrong is told as an
/// <see cref="ElfError"/>, never as an exception.
/// </summary>
internal sealed class ElfImage
{
    private readonly ElfHeader _header;

    private ElfImage(
        ReadOnlyMemory<byte> bytes,
        in ElfHeader header,
        IReadOnlyList<ElfSegment> segments,
        IReadOnlyList<ElfSection> sections,
        IReadOnlyList<ElfNote> notes,
        ElfError? nameWarning)
    {
        _header = header;
        Bytes = bytes;
        Segments = segments;
        Sections = sections;
        XenNotes = new XenNotes(notes);
        Notes = notes;
        XenInfo = XenGuestInfo.Read(notes, FindSection(XenGuestSection.Name) is { } section ? Content(section).Span : default);
        SymbolSections = ElfSymbolSections.Find(this, out ElfError? warning);
        SymbolWarning = warning;
        NameWarning = nameWarning;
    }

    /// <summary>The whole file.</summary>
    public ReadOnlyMemory<byte> Bytes { get; }

    /// <summary>ELFCLASS64; says nothing of the mode in which the guest runs.</summary>
    public bool Is64 => _header.Is64;

    /// <summary>EM_386 or EM_X86_64.</summary>
    public ushort Machine => _header.Machine;

    /// <summary>e_entry: the entry point of other boot protocols than PVH.</summary>
    public ulong Entry => _header.Entry;

    /// <summary>Every program header, in the file's order.</summary>
    public IReadOnlyList<ElfSegment> Segments { get; }

    /// <summary>Every section header, in the file's order; empty when they were stripped.</summary>
    public IReadOnlyList<ElfSection> Sections { get; }

    /// <summary>The notes: of the segments, or of the sections when no segment holds a note of Xen's.</summary>
    public IReadOnlyList<ElfNote> Notes { get; }

    /// <summary>What the notes named "Xen" hold.</summary>
    public XenNotes XenNotes { get; }

    /// <summary>What the image says of itself to Xen, by its notes or otherwise.</summary>
    public XenGuestInfo XenInfo { get; }

    /// <summary>The symbol table with its names; null when there is none, or a damaged one.</summary>
    public ElfSymbolSections? SymbolSections { get; }

    /// <summary>What is wrong with the symbol table. The image boots all the same, without symbols.</summary>
    public ElfError? SymbolWarning { get; }

    /// <summary>Why a section has no name. Only an image without notes is known by one, and refused where it is that one.</summary>
    public ElfError? NameWarning { get; }

    /// <summary>The segments that occupy guest memory. As on Xen, one that nobody may read, write or execute is not loaded.</summary>
    public IEnumerable<ElfSegment> LoadableSegments =>
        Segments.Where(s => s.Type == ElfFormat.SegmentLoad && (s.Flags & ElfFormat.SegmentAccess) != 0 && s.MemorySize != 0);

    /// <summary>Bytes of a segment in the file.</summary>
    public ReadOnlyMemory<byte> Content(in ElfSegment segment) =>
        Bytes.Slice((int)segment.Offset, (int)segment.FileSize);

    /// <summary>Bytes of a section in the file; none for one that has only memory, or does not lie in the image.</summary>
    public ReadOnlyMemory<byte> Content(in ElfSection section) =>
        section is { HasBytes: true, LiesInImage: true }
            ? Bytes.Slice((int)section.Offset, (int)section.Size)
            : ReadOnlyMemory<byte>.Empty;

    /// <summary>The file header as it stands in the file.</summary>
    public ReadOnlyMemory<byte> HeaderBytes => Bytes[..ElfFormat.HeaderSize(Is64)];

    /// <summary>A section header as it stands in the file, without what a later version of the format may have added.</summary>
    public ReadOnlyMemory<byte> SectionHeaderBytes(in ElfSection section) =>
        Bytes.Slice((int)_header.SectionTable + (_header.SectionEntrySize * section.Index), ElfFormat.SectionHeaderSize(Is64));

    /// <summary>The first section of a name.</summary>
    public ElfSection? FindSection(string name)
    {
        Span<byte> bytes = stackalloc byte[ElfTables.MaximumName];
        bytes = bytes[..Encoding.UTF8.GetBytes(name, bytes)];
        foreach (ElfSection section in Sections)
        {
            if (section.NameBytes.Span.SequenceEqual(bytes))
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
                XenInfo.Source == XenInfoSource.GuestSection
                    ? "the image has no PVH entry point (ELF note Xen/PHYS32_ENTRY, type 18) but a section __xen_guest, which is for PV guests; build it with a PVH entry"
                    : "the image has no PVH entry point (ELF note Xen/PHYS32_ENTRY, type 18); for Linux build with CONFIG_PVH=y, else add the note to the image");
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
            || !ElfTables.TryReadSections(bytes, header, out List<ElfSection>? sections, out ElfError? nameWarning, out error)
            || !ElfNoteReader.TryRead(bytes, segments, sections, out List<ElfNote>? notes, out error))
        {
            return false;
        }

        image = new ElfImage(bytes, header, segments, sections, notes, nameWarning);
        return true;
    }
}
