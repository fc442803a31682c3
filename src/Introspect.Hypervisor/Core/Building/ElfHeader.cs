using System.Diagnostics.CodeAnalysis;

namespace Introspect.Hypervisor.Core.Building;

/// <summary>The file header, after it was checked by itself; its tables are checked where they are read.</summary>
internal readonly struct ElfHeader
{
    private static readonly byte[] Magic = [0x7f, (byte)'E', (byte)'L', (byte)'F'];

    public bool Is64 { get; private init; }

    public ushort Machine { get; private init; }

    /// <summary>e_entry: the entry point of other boot protocols than PVH.</summary>
    public ulong Entry { get; private init; }

    public ulong SegmentTable { get; private init; }

    public ushort SegmentEntrySize { get; private init; }

    public ushort SegmentCount { get; private init; }

    public ulong SectionTable { get; private init; }

    public ushort SectionEntrySize { get; private init; }

    public ushort SectionCount { get; private init; }

    public ushort SectionNames { get; private init; }

    public static bool TryRead(ReadOnlySpan<byte> image, out ElfHeader header, [NotNullWhen(false)] out ElfError? error)
    {
        header = default;
        error = CheckIdentity(image);
        if (error is not null)
        {
            return false;
        }

        bool is64 = image[ElfFormat.IdentClass] == ElfFormat.Class64;
        int size = ElfFormat.HeaderSize(is64);
        if (image.Length < size)
        {
            error = new ElfError(
                ElfErrorKind.Truncated,
                $"the image ends in its header: it has {image.Length} bytes of {size}; give the whole file");
            return false;
        }

        ElfReader r = new(image[..size], is64);
        header = new ElfHeader
        {
            Is64 = is64,
            Machine = r.U16(18),
            Entry = r.Word(24, 24),
            SegmentTable = r.Word(28, 32),
            SectionTable = r.Word(32, 40),
            SegmentEntrySize = r.U16(42, 54),
            SegmentCount = r.U16(44, 56),
            SectionEntrySize = r.U16(46, 58),
            SectionCount = r.U16(48, 60),
            SectionNames = r.U16(50, 62),
        };
        error = header.Check(r.U16(16), r.U32(20));
        return error is null;
    }

    private static ElfError? CheckIdentity(ReadOnlySpan<byte> image)
    {
        if (image.IsEmpty)
        {
            return new ElfError(ElfErrorKind.Empty, "the image is empty; give an ELF kernel");
        }

        if (!image.StartsWith(Magic))
        {
            return NotElf(image);
        }

        if (image.Length < ElfFormat.IdentLength)
        {
            return new ElfError(
                ElfErrorKind.Truncated,
                $"the image ends in its identification: it has {image.Length} bytes of {ElfFormat.IdentLength}; give the whole file");
        }

        byte @class = image[ElfFormat.IdentClass];
        if (@class is not (ElfFormat.Class32 or ElfFormat.Class64))
        {
            return new ElfError(
                ElfErrorKind.WrongClass,
                $"ELF class {@class} is unknown; give a 32-bit (1) or 64-bit (2) image");
        }

        byte data = image[ElfFormat.IdentData];
        if (data == ElfFormat.BigEndian)
        {
            return new ElfError(
                ElfErrorKind.BigEndian,
                "the image is big-endian (ELFDATA2MSB); give a little-endian image built for x86");
        }

        if (data != ElfFormat.LittleEndian)
        {
            return new ElfError(
                ElfErrorKind.BadHeader,
                $"ELF data encoding {data} is unknown; give a little-endian (1) image");
        }

        byte version = image[ElfFormat.IdentVersion];
        return version == 1
            ? null
            : new ElfError(ElfErrorKind.WrongVersion, $"ELF version {version} is unknown; give an image of version 1");
    }

    private static ElfError NotElf(ReadOnlySpan<byte> image)
    {
        if (BzImage.Is(image))
        {
            return new ElfError(
                ElfErrorKind.NotElf,
                "the image is a bzImage, not ELF; unpack its vmlinux (scripts/extract-vmlinux)");
        }

        string start = Convert.ToHexStringLower(image[..Math.Min(4, image.Length)]);
        return new ElfError(
            ElfErrorKind.NotElf,
            $"the image is not ELF: it starts with {start}, not 7f454c46; give an ELF kernel");
    }

    private ElfError? Check(ushort type, uint version)
    {
        if (Machine is not (ElfFormat.Machine386 or ElfFormat.MachineX86_64))
        {
            return new ElfError(
                ElfErrorKind.WrongMachine,
                $"the image is for machine {Machine} ({ElfFormat.MachineName(Machine)}); give one built for x86 (EM_386 or EM_X86_64)");
        }

        if (Is64 && Machine == ElfFormat.Machine386)
        {
            return new ElfError(
                ElfErrorKind.WrongClass,
                "the image is of 64-bit class for machine 3 (Intel 80386); give a 32-bit one, or one for EM_X86_64");
        }

        if (type is not (ElfFormat.TypeExecutable or ElfFormat.TypeShared))
        {
            return new ElfError(
                ElfErrorKind.WrongType,
                $"the image is of ELF type {type}, which is not linked to run; give an executable (type 2 or 3)");
        }

        if (version != 1)
        {
            return new ElfError(ElfErrorKind.WrongVersion, $"ELF version {version} is unknown; give an image of version 1");
        }

        int segmentSize = ElfFormat.ProgramHeaderSize(Is64);
        if (SegmentCount != 0 && SegmentEntrySize < segmentSize)
        {
            return new ElfError(
                ElfErrorKind.BadHeader,
                $"program headers of {SegmentEntrySize} bytes are too short (e_phentsize must be {segmentSize}); the image is damaged, build it anew");
        }

        int sectionSize = ElfFormat.SectionHeaderSize(Is64);
        if (SectionTable != 0 && SectionEntrySize < sectionSize)
        {
            return new ElfError(
                ElfErrorKind.BadHeader,
                $"section headers of {SectionEntrySize} bytes are too short (e_shentsize must be {sectionSize}); the image is damaged, build it anew");
        }

        return null;
    }
}
