using System.Runtime.InteropServices;

namespace Introspect.Hypervisor.Abi;

/// <summary><c>struct hvm_start_info</c>: what a PVH guest finds at the address in EBX.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct HvmStartInfo
{
    /// <summary><c>XEN_HVM_START_MAGIC_VALUE</c>.</summary>
    public const uint MagicValue = 0x336ec578;

    /// <summary>The version with a memory map.</summary>
    public const uint CurrentVersion = 1;

    /// <summary><c>SIF_PRIVILEGED</c>.</summary>
    public const uint FlagPrivileged = 1 << 0;

    /// <summary><c>SIF_INITDOMAIN</c>.</summary>
    public const uint FlagInitDomain = 1 << 1;

    public uint Magic;
    public uint Version;
    public uint Flags;
    public uint NrModules;
    public ulong ModlistPaddr;
    public ulong CmdlinePaddr;
    public ulong RsdpPaddr;
    public ulong MemmapPaddr;
    public uint MemmapEntries;
    private uint _reserved;
}

/// <summary><c>struct hvm_modlist_entry</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct HvmModlistEntry
{
    public ulong Paddr;
    public ulong Size;
    public ulong CmdlinePaddr;
    private ulong _reserved;
}

/// <summary><c>XEN_HVM_MEMMAP_TYPE_*</c>, ACPI's address range types.</summary>
internal enum MemmapType : uint
{
    Ram = 1,
    Reserved = 2,
    Acpi = 3,
    Nvs = 4,
    Unusable = 5,
    Disabled = 6,
    Pmem = 7,
}

/// <summary><c>struct hvm_memmap_table_entry</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct HvmMemmapEntry
{
    public ulong Addr;
    public ulong Size;
    public MemmapType Type;
    private uint _reserved;
}

/// <summary>An entry of <see cref="MemoryOp.MemoryMap"/>, as BIOS INT 0x15 E820 has it (20 bytes).</summary>
[StructLayout(LayoutKind.Sequential, Pack = 4)]
internal struct E820Entry
{
    /// <summary>Most that a domain's map may have (<c>E820MAX</c>).</summary>
    public const uint MaxEntries = 1024;

    public ulong Addr;
    public ulong Size;
    public MemmapType Type;
}
