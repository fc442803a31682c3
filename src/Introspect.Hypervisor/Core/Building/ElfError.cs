namespace Introspect.Hypervisor.Core.Building;

/// <summary>What is wrong with an image, or with loading it.</summary>
internal enum ElfErrorKind
{
    /// <summary>The file has no bytes.</summary>
    Empty,

    /// <summary>The bytes do not begin as an ELF image does.</summary>
    NotElf,

    /// <summary>A header, table or segment ends behind the image's last byte.</summary>
    Truncated,

    /// <summary>The ELF class is neither 32 nor 64 bits, or does not fit the machine.</summary>
    WrongClass,

    /// <summary>The image is big-endian.</summary>
    BigEndian,

    /// <summary>The ELF version is not 1.</summary>
    WrongVersion,

    /// <summary>The image is an object file, a core dump or the like.</summary>
    WrongType,

    /// <summary>The image is for a machine other than x86.</summary>
    WrongMachine,

    /// <summary>A header's field makes no sense.</summary>
    BadHeader,

    /// <summary>There are more headers, notes or symbols than any image has.</summary>
    TooMany,

    /// <summary>A program header's range is impossible.</summary>
    BadSegment,

    /// <summary>Two segments claim the same guest memory.</summary>
    Overlap,

    /// <summary>A section header's range, link or name is impossible.</summary>
    BadSection,

    /// <summary>A note is cut off or has an impossible length.</summary>
    BadNote,

    /// <summary>A symbol or its name is impossible.</summary>
    BadSymbol,

    /// <summary>Nothing is to be loaded.</summary>
    NothingToLoad,

    /// <summary>The image has no PVH entry point.</summary>
    NoPvhEntry,

    /// <summary>The entry point lies outside what is loaded.</summary>
    BadEntry,

    /// <summary>The image and its tables do not fit into the domain's memory.</summary>
    MemoryTooSmall,

    /// <summary>The image wants memory where a domain has none.</summary>
    OutsideMemory,

    /// <summary>A command line cannot be passed on.</summary>
    BadCommandLine,

    /// <summary>The image requires a feature of Xen's that nobody knows.</summary>
    UnknownFeature,

    /// <summary>A bzImage's header or its payload's place is impossible.</summary>
    BadBzImage,

    /// <summary>A bzImage's payload is packed in a way that is not unpacked here.</summary>
    UnknownPacking,

    /// <summary>The library that unpacks a payload is not installed.</summary>
    LibraryMissing,

    /// <summary>A bzImage's payload is damaged, or is not as large as it says.</summary>
    BadPayload,
}

/// <summary>Why an image was refused: data, because images come from outside.</summary>
/// <param name="Kind">What is wrong.</param>
/// <param name="Message">One line without the image's name: the thing, its value and the remedy.</param>
internal sealed record ElfError(ElfErrorKind Kind, string Message)
{
    /// <inheritdoc/>
    public override string ToString() => Message;
}
