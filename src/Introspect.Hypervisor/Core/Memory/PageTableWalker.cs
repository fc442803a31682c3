using System.Buffers.Binary;

namespace Introspect.Hypervisor.Core.Memory;

/// <summary>Where a walk reads a guest's page tables from.</summary>
internal interface IPhysicalReader
{
    /// <summary>Reads guest-physical memory in one page.</summary>
    /// <returns>False when the page is not there.</returns>
    bool TryRead(ulong address, Span<byte> destination);
}

/// <summary>
/// Walks a guest's page tables as the processor does, without its rights: what is present is found, whoever may
/// touch it. At most five tables are read, whatever they hold.
/// </summary>
internal static class PageTableWalker
{
    private const ulong Present = 1;
    private const ulong LargePage = 1 << 7;
    private const ulong TableMask = 0x000f_ffff_ffff_f000;
    private const int PageShift = 12;

    /// <summary>Translates a linear address.</summary>
    /// <param name="memory">The guest's physical memory.</param>
    /// <param name="space">The address space.</param>
    /// <param name="linear">Linear address.</param>
    /// <param name="physical">Guest-physical address.</param>
    /// <returns>False when it is not mapped, not canonical, or a table is not in memory.</returns>
    public static bool TryTranslate(IPhysicalReader memory, in AddressSpace space, ulong linear, out ulong physical)
    {
        physical = 0;
        switch (space.Mode)
        {
            case PagingMode.None:
                physical = linear;
                return linear <= uint.MaxValue;
            case PagingMode.Legacy32:
                return linear <= uint.MaxValue && Walk32(memory, space, (uint)linear, out physical);
            case PagingMode.Pae:
                return linear <= uint.MaxValue && WalkPae(memory, space.Root, linear, out physical);
            case PagingMode.FourLevel:
                return IsCanonical(linear, 48) && WalkLong(memory, space.Root & TableMask, 4, linear, out physical);
            case PagingMode.FiveLevel:
                return IsCanonical(linear, 57) && WalkLong(memory, space.Root & TableMask, 5, linear, out physical);
            default:
                return false;
        }
    }

    // The bits from the topmost translated one on are all equal.
    private static bool IsCanonical(ulong linear, int bits) => (long)(linear << (64 - bits)) >> (64 - bits) == (long)linear;

    private static bool Walk32(IPhysicalReader memory, in AddressSpace space, uint linear, out ulong physical)
    {
        physical = 0;
        if (!TryRead32(memory, (space.Root & 0xffff_f000) + ((linear >> 22) * 4), out var directory) || (directory & Present) == 0)
        {
            return false;
        }

        if ((directory & LargePage) != 0 && space.PageSizeExtension)
        {
            // PSE-36: bits 13 to 20 are address bits 32 to 39.
            physical = (directory & 0xffc0_0000) | ((ulong)((directory >> 13) & 0xff) << 32) | (linear & 0x003f_ffff);
            return true;
        }

        if (!TryRead32(memory, (directory & 0xffff_f000) + (((linear >> 12) & 0x3ff) * 4), out var table) || (table & Present) == 0)
        {
            return false;
        }

        physical = (table & 0xffff_f000) | (linear & 0xfff);
        return true;
    }

    // The four entries of the top table are 32-byte aligned, and have no large pages.
    private static bool WalkPae(IPhysicalReader memory, ulong root, ulong linear, out ulong physical)
    {
        physical = 0;
        return TryRead64(memory, (root & 0xffff_ffe0) + ((linear >> 30) * 8), out var top)
            && (top & Present) != 0
            && WalkLong(memory, top & TableMask, 2, linear, out physical);
    }

    private static bool WalkLong(IPhysicalReader memory, ulong table, int levels, ulong linear, out ulong physical)
    {
        physical = 0;
        for (var level = levels; level >= 1; level--)
        {
            var shift = PageShift + ((level - 1) * 9);
            if (!TryRead64(memory, table + (((linear >> shift) & 0x1ff) * 8), out var entry) || (entry & Present) == 0)
            {
                return false;
            }

            var isLarge = level > 1 && (entry & LargePage) != 0;
            if (isLarge && level > 3)
            {
                // Reserved there: the processor faults.
                return false;
            }

            if (level == 1 || isLarge)
            {
                var offset = (1UL << shift) - 1;
                physical = (entry & TableMask & ~offset) | (linear & offset);
                return true;
            }

            table = entry & TableMask;
        }

        return false;
    }

    private static bool TryRead32(IPhysicalReader memory, ulong address, out uint value)
    {
        Span<byte> bytes = stackalloc byte[sizeof(uint)];
        var there = memory.TryRead(address, bytes);
        value = BinaryPrimitives.ReadUInt32LittleEndian(bytes);
        return there;
    }

    private static bool TryRead64(IPhysicalReader memory, ulong address, out ulong value)
    {
        Span<byte> bytes = stackalloc byte[sizeof(ulong)];
        var there = memory.TryRead(address, bytes);
        value = BinaryPrimitives.ReadUInt64LittleEndian(bytes);
        return there;
    }
}
