using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Building.Acpi;
using Introspect.Hypervisor.Core.Domains;

namespace Introspect.Hypervisor.Core.Building;

/// <summary>A range of the memory map.</summary>
/// <param name="Address">Its first byte.</param>
/// <param name="Size">Its bytes.</param>
/// <param name="Type">What it is.</param>
internal readonly record struct MemoryMapEntry(ulong Address, ulong Size, MemmapType Type)
{
    /// <summary>The first address behind it.</summary>
    public ulong End => Address + Size;
}

/// <summary>Where a PVH domain's RAM lies: from 0 up to the hole below 4 GiB, the rest from 4 GiB.</summary>
internal static class GuestMemoryMap
{
    /// <summary>Where the hole begins: the lowest of the local APIC, the ACPI tables and the special pages (libxl's choice for PVH).</summary>
    public const ulong HoleStart = PvhAcpi.InfoAddress;

    /// <summary>Where RAM goes on behind the hole.</summary>
    public const ulong HoleEnd = 0x1_0000_0000;

    /// <summary>Bytes of RAM below the hole.</summary>
    public static ulong LowBytes(ulong memoryBytes) => Math.Min(memoryBytes, HoleStart);

    /// <summary>Bytes of RAM from 4 GiB.</summary>
    public static ulong HighBytes(ulong memoryBytes) => memoryBytes - LowBytes(memoryBytes);

    /// <summary>The map as the guest is told, in the order in which Xen's toolstack has it.</summary>
    public static IReadOnlyList<MemoryMapEntry> Entries(ulong memoryBytes, PvhAcpi acpi)
    {
        List<MemoryMapEntry> map =
        [
            new(0, LowBytes(memoryBytes), MemmapType.Ram),
            new(SpecialPages.FirstGfn << Gfn.PageShift, (ulong)SpecialPages.Count << Gfn.PageShift, MemmapType.Reserved),
            .. acpi.Modules.Select(module => module.MapEntry),
        ];
        if (HighBytes(memoryBytes) is var high and not 0)
        {
            map.Add(new(HoleEnd, high, MemmapType.Ram));
        }

        return map;
    }
}
