using System.Runtime.InteropServices;

namespace Introspect.Hypervisor.Abi;

/// <summary>Commands of <c>__HYPERVISOR_memory_op</c> (<c>XENMEM_*</c>).</summary>
internal static class MemoryOp
{
    public const uint IncreaseReservation = 0;
    public const uint DecreaseReservation = 1;
    public const uint MaximumRamPage = 2;
    public const uint CurrentReservation = 3;
    public const uint MaximumReservation = 4;
    public const uint PopulatePhysmap = 6;
    public const uint AddToPhysmap = 7;
    public const uint MemoryMap = 9;
    public const uint MachineMemoryMap = 10;
    public const uint Exchange = 11;
    public const uint SetMemoryMap = 13;
    public const uint MaximumGpfn = 14;
    public const uint RemoveFromPhysmap = 15;
    public const uint GetSharingFreedPages = 18;
    public const uint GetSharingSharedPages = 19;
    public const uint PagingOp = 20;
    public const uint AccessOp = 21;
    public const uint SharingOp = 22;
    public const uint AddToPhysmapBatch = 23;
    public const uint ClaimPages = 24;
    public const uint AcquireResource = 28;

    /// <summary>Bits of a command that are its number; above them a continued call keeps its place.</summary>
    public const int ExtentShift = 6;
}

/// <summary>Operations of <see cref="MemoryOp.AccessOp"/> (<c>XENMEM_access_op_*</c>).</summary>
internal static class MemAccessOperation
{
    public const byte SetAccess = 0;
    public const byte GetAccess = 1;
    public const byte SetAccessMulti = 4;

    /// <summary>The pfn that means the default for new pages.</summary>
    public const ulong DefaultPfn = ~0UL;
}

/// <summary>Operations of <see cref="MemoryOp.SharingOp"/> (<c>XENMEM_sharing_op_*</c>).</summary>
internal static class MemSharingOperation
{
    public const byte NominateGfn = 0;
    public const byte Share = 2;
    public const byte AddPhysmap = 6;
    public const byte Audit = 7;
    public const byte RangeShare = 8;
    public const byte Fork = 9;
    public const byte ForkReset = 10;

    /// <summary>The core's own: tells a fork's parent, which Xen tells nobody; <see cref="SpecialDomain.Invalid"/> where it is no fork.</summary>
    public const byte CoreForkParent = 0xC0;
}

/// <summary>Where <see cref="MemoryOp.AddToPhysmap"/> takes its page from (<c>XENMAPSPACE_*</c>).</summary>
internal static class PhysMapSpace
{
    public const uint SharedInfo = 0;
    public const uint GrantTable = 1;
    public const uint Gmfn = 2;
    public const uint GmfnRange = 3;
    public const uint GmfnForeign = 4;

    /// <summary>Index bit of the grant table's status frames.</summary>
    public const ulong GrantTableStatus = 0x80000000;
}

/// <summary><c>struct xen_memory_reservation</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct MemoryReservation
{
    public ulong ExtentStart;
    public ulong NrExtents;
    public uint ExtentOrder;
    public uint MemFlags;
    public ushort Domid;
}

/// <summary><c>struct xen_memory_reservation</c> as a 32-bit guest has it.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct CompatMemoryReservation
{
    public uint ExtentStart;
    public uint NrExtents;
    public uint ExtentOrder;
    public uint MemFlags;
    public ushort Domid;
}

/// <summary><c>struct xen_memory_domain</c>: the argument of maximum_gpfn and the like.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct MemoryDomain
{
    public ushort Domid;
}

/// <summary><c>struct xen_add_to_physmap</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct AddToPhysmap
{
    public ushort Domid;
    public ushort Size;
    public uint Space;
    public ulong Index;
    public ulong Gpfn;
}

/// <summary><c>struct xen_add_to_physmap</c> as a 32-bit guest has it.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct CompatAddToPhysmap
{
    public ushort Domid;
    public ushort Size;
    public uint Space;
    public uint Index;
    public uint Gpfn;
}

/// <summary><c>struct xen_add_to_physmap_batch</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct AddToPhysmapBatch
{
    public ushort Domid;
    public ushort Space;
    public ushort Size;

    /// <summary><c>u.foreign_domid</c>.</summary>
    public ushort ForeignDomid;
    public ulong Indexes;
    public ulong Gpfns;
    public ulong Errors;
}

/// <summary><c>struct xen_remove_from_physmap</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct RemoveFromPhysmap
{
    public ushort Domid;
    private ushort _pad0;
    private uint _pad1;
    public ulong Gpfn;
}

/// <summary><c>struct xen_remove_from_physmap</c> as a 32-bit guest has it.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct CompatRemoveFromPhysmap
{
    public ushort Domid;
    private ushort _pad;
    public uint Gpfn;
}

/// <summary><c>struct xen_memory_map</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct MemoryMap
{
    public uint NrEntries;
    private uint _pad;
    public ulong Buffer;
}

/// <summary><c>struct xen_foreign_memory_map</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct ForeignMemoryMap
{
    public ushort Domid;
    private ushort _pad0;
    private uint _pad1;
    public MemoryMap Map;
}

/// <summary><c>struct xen_mem_access_op</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct MemAccessOp
{
    public byte Op;
    public byte Access;
    public ushort Domid;
    public uint Nr;
    public ulong Pfn;
    public ulong PfnList;
    public ulong AccessList;
}

/// <summary><c>struct xen_mem_sharing_op</c>, as far as forks go.</summary>
[StructLayout(LayoutKind.Explicit, Size = 48)]
internal struct MemSharingOp
{
    /// <summary><c>XENMEM_FORK_WITH_IOMMU_ALLOWED</c>.</summary>
    public const ushort ForkWithIommuAllowed = 1 << 0;

    /// <summary><c>XENMEM_FORK_BLOCK_INTERRUPTS</c>.</summary>
    public const ushort ForkBlockInterrupts = 1 << 1;

    /// <summary><c>XENMEM_FORK_RESET_STATE</c>.</summary>
    public const ushort ForkResetState = 1 << 2;

    /// <summary><c>XENMEM_FORK_RESET_MEMORY</c>.</summary>
    public const ushort ForkResetMemory = 1 << 3;

    [FieldOffset(0)] public byte Op;
    [FieldOffset(2)] public ushort Domain;

    /// <summary><c>u.fork.parent_domain</c>.</summary>
    [FieldOffset(8)] public ushort ForkParent;

    /// <summary><c>u.fork.flags</c>.</summary>
    [FieldOffset(10)] public ushort ForkFlags;

    /// <summary><c>u.fork.pad</c>, which must be 0.</summary>
    [FieldOffset(12)] public uint ForkPad;
}
