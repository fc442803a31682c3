using Introspect.Hypervisor.Abi;

namespace Introspect.Hypervisor.Core.Memory;

/// <summary>What a guest frame is (<c>p2m_type_t</c>, as far as the core has it).</summary>
internal enum P2mType : byte
{
    /// <summary>Nothing is mapped: accesses are a nested page fault that a device may claim.</summary>
    Invalid = 0,

    /// <summary>Read-write RAM of the domain.</summary>
    RamRw = 1,

    /// <summary>RAM that the guest may only read; writes are dropped.</summary>
    RamRo = 2,

    /// <summary>A granted page of another domain, read-write.</summary>
    GrantMapRw = 3,

    /// <summary>RAM that a fork and its ancestors have in common (<c>p2m_ram_shared</c>): who writes to it gets a copy first.</summary>
    RamShared = 4,
}

/// <summary>
/// A physmap entry in 64 bits: machine address of the page in bits 12–51, access (<see cref="MemoryAccess"/>) in
/// bits 4–7, type in bits 8–11, and in bits 0–2 the rights that follow from both (read 1, write 2, execute 4),
/// so that the CPU's TLB fill needs no table. Bit 63 allows #VE for the page; it is EPT's suppress bit turned round,
/// so that 0 is an absent entry that suppresses it.
/// </summary>
internal readonly record struct P2mEntry(ulong Raw)
{
    public const ulong Readable = 1;
    public const ulong Writable = 2;
    public const ulong Executable = 4;
    public const ulong RightsMask = 7;
    public const ulong AllowsVe = 1UL << 63;
    public const ulong AddressMask = 0x000F_FFFF_FFFF_F000;

    public P2mType Type => (P2mType)((Raw >> 8) & 15);

    public MemoryAccess Access => (MemoryAccess)((Raw >> 4) & 15);

    public ulong MachineAddress => Raw & AddressMask;

    /// <summary>What the entry is to those who ask by <c>HVMOP_get_mem_type</c>.</summary>
    public HvmMemType MemType => Type switch
    {
        P2mType.RamRw or P2mType.GrantMapRw or P2mType.RamShared => HvmMemType.RamRw,
        P2mType.RamRo => HvmMemType.RamRo,
        _ => HvmMemType.MmioDm,
    };

    public bool IsPresent => Type != P2mType.Invalid;

    /// <summary>Violations are never told to the guest itself.</summary>
    public bool SuppressesVe => (Raw & AllowsVe) == 0;

    /// <summary>The entry with #VE suppressed, as a new one has it.</summary>
    public P2mEntry Suppressed => new(Raw & ~AllowsVe);

    /// <summary>Builds an entry and its rights.</summary>
    public static P2mEntry Make(ulong machineAddress, P2mType type, MemoryAccess access)
    {
        if (type == P2mType.Invalid)
        {
            return default;
        }

        var rights = RightsOf(access);
        if (type is P2mType.RamRo or P2mType.RamShared)
        {
            rights &= ~Writable;
        }

        return new((machineAddress & AddressMask) | ((ulong)access << 4) | ((ulong)type << 8) | rights);
    }

    /// <summary>The same page with other rights.</summary>
    public P2mEntry With(MemoryAccess access) => new(Make(MachineAddress, Type, access).Raw | (Raw & AllowsVe));

    /// <summary>The same page as another kind of memory; rights and #VE stay what they were asked to be.</summary>
    public P2mEntry As(P2mType type) => new(Make(MachineAddress, type, Access).Raw | (Raw & AllowsVe));

    /// <summary>Another page in the place of this one.</summary>
    public P2mEntry At(ulong machineAddress) => new((Raw & ~AddressMask) | (machineAddress & AddressMask));

    /// <summary>The same page with #VE suppressed or not.</summary>
    public P2mEntry WithSuppressVe(bool suppress) => suppress ? Suppressed : new(Raw | AllowsVe);

    private static ulong RightsOf(MemoryAccess access) => access switch
    {
        MemoryAccess.N or MemoryAccess.N2Rwx => 0,
        MemoryAccess.R or MemoryAccess.RPw => Readable,
        MemoryAccess.W => Writable,
        MemoryAccess.Rw => Readable | Writable,
        MemoryAccess.X => Executable,
        MemoryAccess.Rx or MemoryAccess.Rx2Rw => Readable | Executable,
        MemoryAccess.Wx => Writable | Executable,
        _ => Readable | Writable | Executable,
    };
}
