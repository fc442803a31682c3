namespace Introspect.Hypervisor.Core.Building;

/// <summary>Numbers of the ELF format (System V gABI) and of Xen's notes (<c>xen/elfnote.h</c>).</summary>
internal static class ElfFormat
{
    public const int IdentLength = 16;
    public const int IdentClass = 4;
    public const int IdentData = 5;
    public const int IdentVersion = 6;

    public const byte Class32 = 1;
    public const byte Class64 = 2;
    public const byte LittleEndian = 1;
    public const byte BigEndian = 2;

    public const ushort TypeExecutable = 2;
    public const ushort TypeShared = 3;

    public const ushort Machine386 = 3;
    public const ushort MachineX86_64 = 62;

    public const uint SegmentLoad = 1;
    public const uint SegmentNote = 4;

    /// <summary><c>PF_R | PF_W | PF_X</c>.</summary>
    public const uint SegmentAccess = 7;

    public const uint SectionNull = 0;
    public const uint SectionProgbits = 1;
    public const uint SectionSymtab = 2;
    public const uint SectionStrtab = 3;
    public const uint SectionNote = 7;
    public const uint SectionNobits = 8;

    /// <summary><c>PN_XNUM</c>: the number of program headers stands elsewhere.</summary>
    public const ushort ProgramHeadersElsewhere = 0xffff;

    /// <summary><c>SHN_XINDEX</c>: the section index stands elsewhere.</summary>
    public const ushort SectionIndexElsewhere = 0xffff;

    public const ushort SectionUndefined = 0;

    /// <summary><c>SHN_ABS</c>: the symbol's value is a number, not a place.</summary>
    public const ushort SectionAbsolute = 0xfff1;

    /// <summary><c>SHN_COMMON</c>: the symbol has no place yet.</summary>
    public const ushort SectionCommon = 0xfff2;

    public static int HeaderSize(bool is64) => is64 ? 64 : 52;

    public static int ProgramHeaderSize(bool is64) => is64 ? 56 : 32;

    public static int SectionHeaderSize(bool is64) => is64 ? 64 : 40;

    public static int SymbolSize(bool is64) => is64 ? 24 : 16;

    /// <summary>A machine's name for people.</summary>
    public static string MachineName(ushort machine) => machine switch
    {
        0 => "no machine",
        2 => "SPARC",
        Machine386 => "Intel 80386",
        4 => "Motorola 68000",
        6 => "Intel 80486",
        8 => "MIPS",
        20 => "PowerPC",
        21 => "PowerPC 64",
        22 => "IBM S/390",
        40 => "Arm",
        43 => "SPARC V9",
        50 => "Intel IA-64",
        MachineX86_64 => "AMD x86-64",
        183 => "AArch64",
        243 => "RISC-V",
        247 => "BPF",
        258 => "LoongArch",
        _ => "unknown",
    };
}

/// <summary>Types of the notes that are named "Xen" (<c>XEN_ELFNOTE_*</c>).</summary>
internal enum XenNoteType : uint
{
    Info = 0,
    Entry = 1,
    HypercallPage = 2,
    VirtBase = 3,
    PaddrOffset = 4,
    XenVersion = 5,
    GuestOs = 6,
    GuestVersion = 7,
    Loader = 8,
    PaeMode = 9,
    Features = 10,
    BsdSymtab = 11,
    HvStartLow = 12,
    L1MfnValid = 13,
    SuspendCancel = 14,
    InitP2m = 15,
    ModStartPfn = 16,
    SupportedFeatures = 17,

    /// <summary>The 32-bit entry point of the PVH boot protocol, a physical address.</summary>
    Phys32Entry = 18,

    /// <summary>The image may be loaded elsewhere: alignment, lowest and highest address.</summary>
    Phys32Reloc = 19,
}
