using System.Buffers.Binary;
using System.Diagnostics.CodeAnalysis;

namespace Introspect.Hypervisor.Core.Building;

/// <summary>Reads notes: from the segments and, when those hold none of Xen's, from the sections, as Xen's loader does.</summary>
internal static class ElfNoteReader
{
    /// <summary>The most notes that Xen's loader takes from one image.</summary>
    public const int MaximumNotes = 65536;

    private const int HeaderSize = 12;

    public static bool TryRead(
        ReadOnlyMemory<byte> image,
        IReadOnlyList<ElfSegment> segments,
        IReadOnlyList<ElfSection> sections,
        [NotNullWhen(true)] out List<ElfNote>? notes,
        [NotNullWhen(false)] out ElfError? error)
    {
        notes = null;
        List<ElfNote> found = [];
        long budget = 2L * image.Length;
        foreach (ElfSegment s in segments)
        {
            // Some linkers leave the offset of a note segment 0; its notes are then found by their section.
            if (s.Type == ElfFormat.SegmentNote && s.Offset != 0
                && !TryReadArea(image.Slice((int)s.Offset, (int)s.FileSize), s.Alignment, "program header", s.Index, found, ref budget, out error))
            {
                return false;
            }
        }

        if (!found.Exists(n => n.IsXen))
        {
            foreach (ElfSection s in sections)
            {
                if (s.Type == ElfFormat.SectionNote
                    && !TryReadArea(image.Slice((int)s.Offset, (int)s.Size), s.Alignment, "section", s.Index, found, ref budget, out error))
                {
                    return false;
                }
            }
        }

        notes = found;
        error = null;
        return true;
    }

    private static bool TryReadArea(
        ReadOnlyMemory<byte> area,
        ulong alignment,
        string place,
        int index,
        List<ElfNote> notes,
        ref long budget,
        [NotNullWhen(false)] out ElfError? error)
    {
        // Areas that lie over each other would make much out of a small image.
        budget -= area.Length;
        if (budget < 0)
        {
            error = new ElfError(
                ElfErrorKind.TooMany,
                $"the notes up to {place} {index} are together larger than the image twice; the image is damaged, build it anew");
            return false;
        }

        // Notes are padded to 4 bytes whatever the class. In areas that say 8 those of GNU properties are padded to 8, and
        // others, which a linker may have put behind them, still to 4.
        const ulong Pad = 4;
        ulong total = (ulong)area.Length;
        ulong at = 0;
        while (total - at >= HeaderSize)
        {
            ReadOnlySpan<byte> header = area.Span.Slice((int)at, HeaderSize);
            ulong nameSize = BinaryPrimitives.ReadUInt32LittleEndian(header);
            ulong size = BinaryPrimitives.ReadUInt32LittleEndian(header[4..]);
            uint type = BinaryPrimitives.ReadUInt32LittleEndian(header[8..]);
            ulong name = at + HeaderSize;
            ulong description = RoundUp(name + nameSize, Pad);
            if (!ElfReader.Fits(name, nameSize, total) || !ElfReader.Fits(description, size, total))
            {
                error = new ElfError(
                    ElfErrorKind.BadNote,
                    $"the note at offset 0x{at:x} of {place} {index} has a name of {nameSize} and a content of {size} bytes, but the area has {total}; the image is damaged, build it anew");
                return false;
            }

            if (notes.Count >= MaximumNotes)
            {
                error = new ElfError(
                    ElfErrorKind.TooMany,
                    $"the image has more than {MaximumNotes} notes; strip those that no loader reads");
                return false;
            }

            notes.Add(new ElfNote(
                area.Slice((int)name, (int)nameSize).TrimEnd((byte)0),
                type,
                area.Slice((int)description, (int)size)));

            // The last note's padding may be missing.
            at = Math.Min(RoundUp(description + size, Pad), total);
            if (alignment == 8 && at % 8 != 0 && IsPadding(area.Span[(int)at..]))
            {
                at += Pad;
            }
        }

        error = null;
        return true;
    }

    // No note begins with a zero: it would have no owner.
    private static bool IsPadding(ReadOnlySpan<byte> rest) =>
        BinaryPrimitives.TryReadUInt32LittleEndian(rest, out uint nameSize) && nameSize == 0;

    private static ulong RoundUp(ulong value, ulong alignment) => (value + alignment - 1) & ~(alignment - 1);
}
