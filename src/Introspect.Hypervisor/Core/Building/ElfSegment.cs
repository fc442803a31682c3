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

/// <summary>A section header whose file range was found to lie in the image.</summary>
/// <param name="Index">Its place in the table, for messages.</param>
/// <param name="Name">Its name, empty when the image has no section names.</param>
/// <param name="Type">SHT_SYMTAB, SHT_NOTE, ….</param>
/// <param name="Flags">SHF_*.</param>
/// <param name="Address">Where it lies in the loaded image, 0 when it is not loaded.</param>
/// <param name="Offset">Where its bytes begin in the image.</param>
/// <param name="Size">Its bytes.</param>
/// <param name="Link">sh_link.</param>
/// <param name="Alignment">sh_addralign.</param>
/// <param name="EntrySize">sh_entsize.</param>
internal readonly record struct ElfSection(
    int Index,
    string Name,
    uint Type,
    ulong Flags,
    ulong Address,
    ulong Offset,
    ulong Size,
    uint Link,
    ulong Alignment,
    ulong EntrySize);

/// <summary>A note of any owner.</summary>
/// <param name="Owner">Its name, "Xen" for those of <see cref="XenNoteType"/>.</param>
/// <param name="Type">Its type, whose meaning is the owner's.</param>
/// <param name="Description">Its content.</param>
internal readonly record struct ElfNote(string Owner, uint Type, ReadOnlyMemory<byte> Description)
{
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
