using System.Text;

namespace Introspect.Hypervisor.Core.Building;

/// <summary>A program header whose file range was found to lie in the image.</summary>
/// <param name="Index">Its place in the table, for messages.</param>
/// <param name="Type">PT_LOAD, PT_NOTE, ….</param>
/// <param name="Flags">PF_X, PF_W, PF_R.</param>
/// <param name="Offset">Where its bytes begin in the image.</param>
/// <param name="VirtualAddress">p_vaddr.</param>
/// <param name="PhysicalAddress">p_paddr.</param>
/// <param name="FileSize">Bytes in the image.</param>
/// <param name="MemorySize">Bytes in memory; those beyond the file's are zero.</param>
/// <param name="Alignment">p_align.</param>
internal readonly record struct ElfSegment(
    int Index,
    uint Type,
    uint Flags,
    ulong Offset,
    ulong VirtualAddress,
    ulong PhysicalAddress,
    ulong FileSize,
    ulong MemorySize,
    ulong Alignment)
{
    /// <summary>The first physical address behind the segment; the parser made sure that it does not overflow.</summary>
    public ulong PhysicalEnd => PhysicalAddress + MemorySize;
}

/// <summary>A section header.</summary>
/// <param name="Index">Its place in the table, for messages.</param>
/// <param name="NameBytes">Its name, empty when the image has no section names, or not this one.</param>
/// <param name="Type">SHT_SYMTAB, SHT_NOTE, ….</param>
/// <param name="Flags">SHF_*.</param>
/// <param name="Address">Where it lies in the loaded image, 0 when it is not loaded.</param>
/// <param name="Offset">Where its bytes begin in the image.</param>
/// <param name="Size">Its bytes.</param>
/// <param name="Link">sh_link.</param>
/// <param name="Alignment">sh_addralign.</param>
/// <param name="EntrySize">sh_entsize.</param>
/// <param name="LiesInImage">Its bytes, if it has any in the file, lie in the image. Nothing reads those of one of which this is not so.</param>
internal readonly record struct ElfSection(
    int Index,
    ReadOnlyMemory<byte> NameBytes,
    uint Type,
    ulong Flags,
    ulong Address,
    ulong Offset,
    ulong Size,
    uint Link,
    ulong Alignment,
    ulong EntrySize,
    bool LiesInImage)
{
    /// <summary>Its name as text, made when it is asked for: what an image of little size says many times stays little.</summary>
    public string Name => Encoding.UTF8.GetString(NameBytes.Span);

    /// <summary>Whether the file has bytes of it.</summary>
    public bool HasBytes => Type is not (ElfFormat.SectionNull or ElfFormat.SectionNobits);
}

/// <summary>A note of any owner.</summary>
/// <param name="OwnerBytes">Its name without the terminator, "Xen" for those of <see cref="XenNoteType"/>.</param>
/// <param name="Type">Its type, whose meaning is the owner's.</param>
/// <param name="Description">Its content.</param>
internal readonly record struct ElfNote(ReadOnlyMemory<byte> OwnerBytes, uint Type, ReadOnlyMemory<byte> Description)
{
    /// <summary>Its name as text, made when it is asked for.</summary>
    public string Owner => Encoding.Latin1.GetString(OwnerBytes.Span);

    /// <summary>Whether its type is one of <see cref="XenNoteType"/>.</summary>
    public bool IsXen => OwnerBytes.Span.SequenceEqual("Xen"u8);

    /// <summary>The content as text, up to its terminator.</summary>
    public string Text
    {
        get
        {
            ReadOnlySpan<byte> text = Description.Span;
            int end = text.IndexOf((byte)0);
            return Encoding.Latin1.GetString(end < 0 ? text : text[..end]);
        }
    }

    /// <summary>The content as a little-endian number of 1, 2, 4 or 8 bytes.</summary>
    public bool TryGetNumber(out ulong value)
    {
        ReadOnlySpan<byte> bytes = Description.Span;
        value = 0;
        if (bytes.Length is not (1 or 2 or 4 or 8))
        {
            return false;
        }

        for (int i = bytes.Length - 1; i >= 0; i--)
        {
            value = (value << 8) | bytes[i];
        }

        return true;
    }
}
