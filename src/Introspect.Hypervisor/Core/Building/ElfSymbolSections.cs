namespace Introspect.Hypervisor.Core.Building;

/// <summary>An image's symbol table with the string table that its names are in. Both lie in the image.</summary>
/// <param name="Symbols">The section of type SHT_SYMTAB.</param>
/// <param name="Names">Its section of type SHT_STRTAB.</param>
internal sealed record ElfSymbolSections(ElfSection Symbols, ElfSection Names)
{
    /// <summary>Finds the first symbol table; null with a reason for a damaged one, and null without one for none.</summary>
    public static ElfSymbolSections? Find(ElfImage image, out ElfError? warning)
    {
        warning = null;
        // The first section is none, whatever it says.
        for (int i = 1; i < image.Sections.Count; i++)
        {
            if (image.Sections[i].Type == ElfFormat.SectionSymtab)
            {
                return Check(image, image.Sections[i], out warning);
            }
        }

        return null;
    }

    private static ElfSymbolSections? Check(ElfImage image, in ElfSection symbols, out ElfError? warning)
    {
        int size = ElfFormat.SymbolSize(image.Is64);
        if (symbols.EntrySize != (ulong)size)
        {
            warning = Damaged($"symbols of {symbols.EntrySize} bytes in section {symbols.Index} (sh_entsize must be {size})");
            return null;
        }

        if (!symbols.LiesInImage)
        {
            warning = Damaged($"0x{symbols.Size:x} bytes of symbols at offset 0x{symbols.Offset:x} (section {symbols.Index}), behind the image of {image.Bytes.Length} bytes");
            return null;
        }

        if (symbols.Link == ElfFormat.SectionUndefined)
        {
            warning = Damaged($"the symbols in section {symbols.Index} have no section of names (sh_link is 0)");
            return null;
        }

        if (symbols.Link >= (uint)image.Sections.Count)
        {
            warning = Damaged($"the symbols in section {symbols.Index} have their names in section {symbols.Link} of {image.Sections.Count}");
            return null;
        }

        ElfSection names = image.Sections[(int)symbols.Link];
        if (names.Type != ElfFormat.SectionStrtab)
        {
            warning = Damaged($"the symbols in section {symbols.Index} have their names in section {names.Index}, which is no string table (type {names.Type})");
            return null;
        }

        if (!names.LiesInImage)
        {
            warning = Damaged($"0x{names.Size:x} bytes of symbols' names at offset 0x{names.Offset:x} (section {names.Index}), behind the image of {image.Bytes.Length} bytes");
            return null;
        }

        warning = null;
        return new ElfSymbolSections(symbols, names);
    }

    private static ElfError Damaged(string what) => new(ElfErrorKind.BadSymbol, $"{what}; the image is damaged, build it anew or strip its symbols");
}
