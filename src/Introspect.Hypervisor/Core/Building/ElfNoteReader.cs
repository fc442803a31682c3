using System.Buffers.Binary;
using System.Diagnostics.CodeAnalysis;
using System.Text;

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
        foreach (ElfSegment s in segments)
        {
            if (s.Type == ElfFormat.SegmentNote
                && !TryReadArea(image.Slice((int)s.Offset, (int)s.FileSize), s.Alignment, $"program header {s.Index}", found, out error))
            {
                return false;
            }
        }

        if (!found.Exists(n => n.Owner == XenNotes.Owner))
        {
            foreach (ElfSection s in sections)
            {
                if (s.Type == ElfFormat.SectionNote
                    && !TryReadArea(image.Slice((int)s.Offset, (int)s.Size), s.Alignment, $"section {s.Index}", found, out error))
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
        List<ElfNote> notes,
        [NotNullWhen(false)] out ElfError? error)
    {
        // Notes are padded to 4 bytes whatever the class; only areas that say 8 (GNU properties) use 8.
        ulong pad = alignment == 8 ? 8UL : 4UL;
        ulong total = (ulong)area.Length;
        ulong at = 0;
        while (total - at >= HeaderSize)
        {
            ReadOnlySpan<byte> header = area.Span.Slice((int)at, HeaderSize);
            ulong nameSize = BinaryPrimitives.ReadUInt32LittleEndian(header);
            ulong size = BinaryPrimitives.ReadUInt32LittleEndian(header[4..]);
            uint type = BinaryPrimitives.ReadUInt32LittleEndian(header[8..]);
            ulong name = at + HeaderSize;
            ulong description = RoundUp(name + nameSize, pad);
            if (!ElfReader.Fits(name, nameSize, total) || !ElfReader.Fits(description, size, total))
            {
                error = new ElfError(
                    ElfErrorKind.BadNote,
                    $"the note at offset 0x{at:x} of {place} has a name of {nameSize} and a content of {size} bytes, but the area has {total}; the image is damaged, build it anew");
                return false;
            }

            if (notes.Count >= MaximumNotes)
            {
                error = new ElfError(
                    ElfErrorKind.TooMany,
                    $"the image has more than {MaximumNotes} notes; strip those that no loader reads");
                return false;
            }

            ReadOnlySpan<byte> owner = area.Span.Slice((int)name, (int)nameSize).TrimEnd((byte)0);
            notes.Add(new ElfNote(
                owner.SequenceEqual("Xen"u8) ? XenNotes.Owner : Encoding.Latin1.GetString(owner),
                type,
                area.Slice((int)description, (int)size)));

            // The last note's padding may be missing.
            at = Math.Min(RoundUp(description + size, pad), total);
        }

        error = null;
        return true;
    }

    private static ulong RoundUp(ulong value, ulong alignment) => (value + alignment - 1) & ~(alignment - 1);
}
